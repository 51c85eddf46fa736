"""Grades for notebooks that learners hand in: each answer runs alone, between our own cells.

Only the cells that answer an exercise are used; imports and checks come from the notebook that was
given out, so an edited check or output counts for nothing. Answers are programs: a learner who sets
out to deceive can, so `Grade.answer` is for you to read.
"""

import ast
import importlib
import multiprocessing
import os
import re
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode

from ddpm_course.exercises.results import crash

IMPORT_SECONDS = 600
# A server that has imported torch starts the process of an answer in milliseconds; Windows has none
_processes: Any = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
_processes.set_forkserver_preload([__name__, "ddpm_course.lab", "ddpm_course.exercises.break_it"])


@dataclass(frozen=True)
class Grade:
    exercise: str
    mark: str
    """correct, wrong or not attempted."""
    why: str
    """The check's sentence, or what kept the answer from being checked."""
    answer: str = ""


def read_notebook(path: str | Path) -> NotebookNode:
    """Raises ValueError if the file is no notebook, OSError if it cannot be read."""
    content = Path(path).read_bytes()
    try:
        return nbformat.reads(content.decode("utf-8-sig"), as_version=4)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a Jupyter notebook.") from error


def exercise_name(cell: NotebookNode) -> str | None:
    """The exercise that a cell is for, by its tag."""
    tags = cell.metadata.get("tags") or []
    return next((tag.split(":", 1)[1] for tag in tags if tag.startswith("exercise:")), None)


def exercise_names(notebook: NotebookNode) -> list[str]:
    """The exercises that a notebook has cells for."""
    return [name for cell in notebook.cells if (name := exercise_name(cell))]


def grade(handed_in: NotebookNode, given: NotebookNode, timeout: int = 60) -> list[Grade]:
    """Grade every exercise of the notebook that was given out.

    Each answer runs in a process of its own, with our solutions of the other exercises around it.
    It is wrong if it takes more than `timeout` seconds or ends its process.

    Raises ValueError if `given` has no exercises of this course, or its imports fail.
    """
    imports, module = _setup(given)
    grades = []
    for name in exercise_names(given):
        cells = _answer_to(handed_in, name)
        mark, why = "not attempted", "the notebook has no cell for it."
        if cells:
            mark, why = _run(cells, name, imports, module, timeout)
        if re.search(r"name '\w+' is not defined", why):
            why += ". Imports and helpers belong in the answer's own cell."
        grades.append(Grade(name, mark, why, "\n\n".join(cells)))
    return grades


def _setup(given: NotebookNode) -> tuple[str, str]:
    """The notebook's imports, and the module that holds its exercises."""
    code = [cell.source for cell in given.cells if cell.cell_type == "code"]
    lines = [
        line
        for source in code
        for line in ast.parse(TransformerManager().transform_cell(source)).body
        if isinstance(line, ast.Import | ast.ImportFrom)
    ]
    modules = [str(line.module) for line in lines if isinstance(line, ast.ImportFrom)]
    ours = [name for name in modules if name.startswith("ddpm_course.exercises.")]
    if not ours or not exercise_names(given):
        raise ValueError("the notebook that was given out has no exercises of this course.")
    return "\n".join(map(ast.unparse, lines)), ours[0]


def _answer_to(handed_in: NotebookNode, name: str) -> list[str]:
    """The cells that have the exercise's tag or define its function, in their order."""
    definition = re.compile(rf"^def {name}\(", re.M)
    return [
        cell.source
        for cell in handed_in.cells
        if cell.cell_type == "code"
        and (exercise_name(cell) == name or definition.search(cell.source))
    ]


def _run(cells: list[str], name: str, imports: str, module: str, timeout: int) -> tuple[str, str]:
    """Mark and reason of one answer, from a process of its own."""
    ours, theirs = _processes.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        process = _processes.Process(
            target=_check_answer, args=(theirs, folder, cells, name, imports, module)
        )
        process.start()
        theirs.close()
        try:
            failed = ours.recv() if ours.poll(IMPORT_SECONDS) else "they do not end"
        except EOFError:
            failed = "they end the Python process"
        try:
            if failed:
                raise ValueError(f"the imports of the notebook that was given out fail: {failed}.")
            if not ours.poll(timeout):
                return "wrong", f"it ran for more than {timeout} s."
            return ours.recv()
        except EOFError:
            return "wrong", "it ended the Python process."
        finally:
            process.kill()
            process.join()


def _check_answer(
    results: Connection, folder: str, cells: list[str], name: str, imports: str, module: str
) -> None:
    """Send what is wrong with the imports, if anything, and then mark and reason."""
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # whatever the answer prints
        os.dup2(nowhere, stream)
    exercises = importlib.import_module(module).exercises
    shell = InteractiveShell.instance()
    failed = shell.run_cell(imports).error_in_exec
    results.send(f"{type(failed).__name__}: {failed}" if failed else "")
    references = {other: e.solution for other, e in exercises.by_name.items() if other != name}
    shell.push(references | {"check": lambda f, name="": f})
    outcomes = [shell.run_cell(cell) for cell in cells]
    errors = [error for o in outcomes if (error := o.error_before_exec or o.error_in_exec)]
    answer = shell.user_ns.get(name)
    mark, why = "not attempted", f"its cell defines no {name}."
    if answer is not None:
        mark, why, _ = exercises.verdict(answer, name)
    if mark == "not attempted" and errors:
        mark, why = "wrong", crash(errors[0], answer)
    results.send((mark, why))
