"""The notebooks for tests: where they are, their exercises, and how to solve and run them."""

import importlib
import os
from pathlib import Path

from nbclient import NotebookClient

from ddpm_course.exercises.grading import exercise_name

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
NOTEBOOKS = {
    name: importlib.import_module(f"ddpm_course.exercises.{name}").exercises
    for name in (path.stem[3:] for path in PATHS)
}
"""The exercises of each notebook, by its name without the number."""


def tags(cell):
    return cell.metadata.get("tags", [])


def solved(notebook, exercises):
    """The notebook with every stub replaced by our solution."""
    for cell in notebook.cells:
        if name := exercise_name(cell):
            cell.source = f"{exercises.source(name)}\n\n\n{name} = check({name})"
    return notebook


def run(notebook, **environment):
    """Execute from top to bottom in the notebooks' folder. Raises at the first error."""
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env=os.environ | environment)
    return notebook
