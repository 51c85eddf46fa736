"""Results of runs that are too long for a notebook, as the benchmarks recorded them."""

import json
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
"""The folder of the clone, if the package is installed from one (as `uv sync` does)."""


def recorded(name: str) -> dict[str, Any]:
    """The table benchmarks/results/NAME.json that a benchmark has written. Prints which command
    made it, when and on what.

    Raises FileNotFoundError if neither the notebook nor the package is inside a clone.
    """
    for root in (Path(".."), CLONE):
        if (path := root / "benchmarks" / "results" / f"{name}.json").is_file():
            break
    else:
        raise FileNotFoundError(
            f"The recorded table {name} comes with a clone of the course: run this notebook there."
        )
    table = json.loads(path.read_text(encoding="utf-8"))
    print(f"recorded: {table['command']}")
    print(f"{table['date']}, commit {table['commit']}, {table['device']}")
    return table
