"""The notebooks as tests see them: solved, and run."""

import os
from pathlib import Path

from nbclient import NotebookClient

from ddpm_course.exercises.grading import exercise_name

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))


def tags(cell):
    return cell.metadata.get("tags", [])


def solved(notebook, exercises):
    """A copy with every stub replaced by its solution."""
    for cell in notebook.cells:
        if name := exercise_name(cell):
            cell.source = f"{exercises.source(name)}\n\n\n{name} = check({name})"
    return notebook


def run(notebook, **environment):
    """Execute from top to bottom in the notebooks' folder; raises at the first error."""
    client = NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env=os.environ | environment)
    return notebook
