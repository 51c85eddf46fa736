"""How this user calls the command line, for sentences that name a way out."""

import os


def command(arguments: str) -> str:
    """The command with these arguments, to be pasted."""
    return f"{'uv run ' if 'UV' in os.environ else ''}ddpm-course {arguments}"
