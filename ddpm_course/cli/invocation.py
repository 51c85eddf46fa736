"""How this user calls the command line, for sentences that name a way out."""

import os
from subprocess import list2cmdline


def command(*arguments: object) -> str:
    """The command with these arguments, to be pasted: what has spaces in it comes in quotes."""
    called = ["uv", "run"] if "UV" in os.environ else []
    return list2cmdline([*called, "ddpm-course", *map(str, arguments)])
