"""Grades for notebooks that learners hand in: their answers, run between the teacher's own cells.

Of what is handed in, only the cells that answer an exercise are used; imports and checks come from
the notebook that was given out, so an edited check or output counts for nothing. The answers run in
a Python process of their own, and there a learner who sets out to deceive can: `Grade.look_at` and
`Grade.answer` are for the teacher to read.
"""

import ast
import contextlib
import importlib
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from ddpm_course.exercises.handed_in import (
    answer_to,
    defines,
    exercise_names,
    look_at,
    parse,
    stands_elsewhere,
)

IMPORT_SECONDS = 600


@dataclass(frozen=True)
class Grade:
    exercise: str
    mark: str
    """correct, wrong or not attempted."""
    why: str
    """The check's sentence, or what kept the answer from being checked."""
    look_at: tuple[str, ...] = ()
    """What is odd about a correct answer, as `handed_in.look_at` says."""
    answer: str = ""


def grade(handed_in: NotebookNode, given: NotebookNode, timeout: int = 60) -> list[Grade]:
    """Grade every exercise of the notebook that was given out.

    Each answer meets our solutions of the others. One that runs for more than `timeout` seconds,
    or ends its Python process, is wrong; those after it are checked in a new process.

    Raises ValueError if `given` has no exercises of this course, or its imports fail.
    """
    imports, module = _setup(given)
    solutions = importlib.import_module(module).exercises
    answers = {name: answer_to(handed_in, name) for name in exercise_names(given)}
    marks = {name: unfit for name, text in answers.items() if (unfit := _unfit(name, text))}
    while left := {name: text for name, text in answers.items() if name not in marks}:
        marks |= _run(left, imports, module, timeout)
    grades = []
    for name, answer in answers.items():
        mark, why = marks[name]
        stray = re.search(r"name '(\w+)' is not defined", why)
        if stray and stands_elsewhere(stray[1], handed_in):
            why += f". Another cell has {stray[1]}: imports and helpers belong into the answer's."
        odd = look_at(answer, solutions.source(name), imports) if mark == "correct" else ()
        grades.append(Grade(name, mark, why, odd, answer))
    return grades


def verdict_of(answer: Callable, name: str, module: str) -> tuple[str, str]:
    """What the check says of an answer, whatever that prints. Runs in the learner's process."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return importlib.import_module(module).exercises.verdict(answer, name)[:2]


def _setup(given: NotebookNode) -> tuple[str, str]:
    """The notebook's imports, and the module that holds its exercises."""
    lines = [
        line
        for cell in given.cells
        if cell.cell_type == "code"
        for line in (parse(cell.source) or ast.Module([], [])).body
        if isinstance(line, ast.Import | ast.ImportFrom)
    ]
    modules = [str(line.module) for line in lines if isinstance(line, ast.ImportFrom)]
    ours = [name for name in modules if name.startswith("ddpm_course.exercises.")]
    if not ours or not exercise_names(given):
        raise ValueError("the notebook that was given out has no exercises of this course.")
    return "\n".join(map(ast.unparse, lines)), ours[0]


def _unfit(name: str, answer: str) -> tuple[str, str] | None:
    """The mark of what need not be run."""
    if not answer:
        return "not attempted", "the notebook has no cell for it."
    tree = parse(answer)
    if tree and not defines(tree, name):
        return "not attempted", f"its cell defines no {name}."
    return None


def _run(
    answers: dict[str, str], imports: str, module: str, timeout: int
) -> dict[str, tuple[str, str]]:
    """Marks of the answers up to the first that does not come to an end."""
    references = (
        f"from {module} import exercises as _ours\n"
        "globals().update({name: ours.solution for name, ours in _ours.by_name.items()})\n"
        "check = lambda f: f"
    )
    cells = [f"{imports}\n{references}"]
    for name, answer in answers.items():
        grading = f"__import__({__name__!r}, fromlist='_')"
        cells += [answer, f"{grading}.verdict_of({name}, {name!r}, {module!r})", references]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: IMPORT_SECONDS if cell is notebook.cells[0] else timeout,
        allow_errors=True,
        shutdown_kernel="immediate",
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
    )
    stopped = "its check gave no verdict."  # as where an answer meddles with what is displayed
    with TemporaryDirectory() as folder:
        try:
            client.execute(cwd=folder)
        except CellTimeoutError:
            stopped = f"it ran for more than {timeout} s."
        except DeadKernelError:
            stopped = "it ended the Python process."
    if failed := _error(notebook.cells[0]):
        raise ValueError(f"the imports of the notebook that was given out fail: {failed}")
    marks = {}
    for k, name in enumerate(answers):
        mark = _outcome(notebook.cells[1 + 3 * k], notebook.cells[2 + 3 * k])
        marks[name] = mark or ("wrong", stopped)
        if not mark:
            break
    return marks


def _error(cell: NotebookNode) -> str:
    for output in cell.outputs:
        if output.output_type == "error":
            said = re.sub(r"\(\d+\.py, (line \d+)\)", r"(\1)", f"{output.ename}: {output.evalue}")
            return textwrap.shorten(said, 160, placeholder=" …")
    return ""


def _outcome(answer: NotebookNode, verdict: NotebookNode) -> tuple[str, str] | None:
    """Mark and reason, or None if the check has not come to an end. An error in the answer's cell
    counts only if it kept the function from being defined.
    """
    if failed := _error(verdict):
        return "wrong", f"it stopped with {failed}"
    for output in verdict.outputs:
        if output.output_type == "execute_result":
            try:
                mark, why = ast.literal_eval(output.data["text/plain"])
            except (KeyError, TypeError, ValueError, SyntaxError):
                return None
            if mark == "not attempted" and (failed := _error(answer)):
                return "wrong", f"it stopped with {failed}"
            return mark, why
    return None
