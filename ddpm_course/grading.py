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
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from ddpm_course.exercises.checking import does_nothing

IMPORT_SECONDS = 600
TELLING = {
    *("exercises", "solution", "check", "checking", "source", "inspect", "gc", "sys", "os"),
    *("importlib", "builtins", "getattr", "setattr", "globals", "eval", "exec", "__import__"),
    *("get_ipython", "subprocess"),
}
"""Names that an honest answer has no need of."""


@dataclass(frozen=True)
class Grade:
    exercise: str
    mark: str
    """correct, wrong or not attempted."""
    why: str
    """The check's sentence, or what kept the answer from being checked."""
    look_at: tuple[str, ...] = ()
    """Of a correct answer: what of the package or of `TELLING` it uses though our solution does
    not, and whether it is our solution word for word.
    """
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
    return [name for cell in notebook.cells if (name := exercise_name(cell))]


def grade(handed_in: NotebookNode, given: NotebookNode, timeout: int = 60) -> list[Grade]:
    """Grade every exercise of the notebook that was given out.

    Each answer meets our solutions of the others. One that runs for more than `timeout` seconds,
    or ends its Python process, is wrong; those after it are checked in a new process.

    Raises ValueError if `given` has no exercises of this course, or its imports fail.
    """
    imports, module = _setup(given)
    solutions = importlib.import_module(module).exercises
    answers = {name: _answer(handed_in, name) for name in exercise_names(given)}
    marks = {name: unfit for name, text in answers.items() if (unfit := _unfit(name, text))}
    while left := {name: text for name, text in answers.items() if name not in marks}:
        marks |= _run(left, imports, module, timeout)
    grades = []
    for name, answer in answers.items():
        mark, why = marks[name]
        stray = re.search(r"name '(\w+)' is not defined", why)
        if stray and _stands_elsewhere(stray[1], handed_in):
            why += f". Another cell has {stray[1]}: imports and helpers belong into the answer's."
        look_at = _look_at(answer, solutions.source(name), imports) if mark == "correct" else ()
        grades.append(Grade(name, mark, why, look_at, answer))
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
        for line in (_parse(cell.source) or ast.Module([], [])).body
        if isinstance(line, ast.Import | ast.ImportFrom)
    ]
    modules = [str(line.module) for line in lines if isinstance(line, ast.ImportFrom)]
    ours = [name for name in modules if name.startswith("ddpm_course.exercises.")]
    if not ours or not exercise_names(given):
        raise ValueError("the notebook that was given out has no exercises of this course.")
    return "\n".join(map(ast.unparse, lines)), ours[0]


def _parse(source: str) -> ast.Module | None:
    """As Python, `%` and `!` lines included, or None if it is not."""
    plain = re.sub(r"^%%.*\n", "", source.lstrip())  # `%%time` stands above plain Python
    try:
        return ast.parse(TransformerManager().transform_cell(plain))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _defines(tree: ast.Module | None, name: str) -> list[ast.stmt]:
    """The statements that make `name`: a function, or an assignment as of a lambda."""

    def is_one(line: ast.stmt) -> bool:
        if isinstance(line, ast.Assign) and not ast.unparse(line.value).startswith("check("):
            return name in map(ast.unparse, line.targets)
        return getattr(line, "name", None) == name

    return list(filter(is_one, tree.body if tree else []))


def _answer(handed_in: NotebookNode, name: str) -> str:
    """The last cell that defines the function and is no stub, below what else has the exercise's
    tag, as where a cell was split; "" if there is none.
    """
    beside: list[str] = []
    attempts: list[str] = []
    stubs: list[str] = []
    for cell in handed_in.cells:
        if cell.cell_type != "code":
            continue
        tagged, tree = exercise_name(cell) == name, _parse(cell.source)
        functions = [d for d in _defines(tree, name) if tagged or isinstance(d, ast.FunctionDef)]
        if functions:
            stub = isinstance(functions[-1], ast.FunctionDef) and does_nothing(functions[-1])
            (stubs if stub else attempts).append(cell.source)
        elif tagged:
            (beside if tree else attempts).append(cell.source)
    return "\n\n".join([*beside, *(attempts or stubs)[-1:]])


def _unfit(name: str, answer: str) -> tuple[str, str] | None:
    """The mark of what need not be run."""
    if not answer:
        return "not attempted", "the notebook has no cell for it."
    tree = _parse(answer)
    if tree and not _defines(tree, name):
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
    stopped = ""
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
            mark, why = ast.literal_eval(output.data["text/plain"])
            if mark == "not attempted" and (failed := _error(answer)):
                return "wrong", f"it stopped with {failed}"
            return mark, why
    return None


def _stands_elsewhere(name: str, handed_in: NotebookNode) -> bool:
    code = "\n".join(c.source for c in handed_in.cells if c.cell_type == "code")
    return bool(re.search(rf"^(def|import|from .* import) .*\b{name}\b|^{name} =", code, re.M))


def _look_at(answer: str, solution: str, imports: str) -> tuple[str, ...]:
    theirs, ours = _parse(answer), ast.parse(solution)
    if theirs is None:
        return ("not plain Python",)
    package = {
        alias.asname or alias.name.split(".")[0]
        for line in ast.walk(ast.parse(f"{imports}\n{ast.unparse(theirs)}"))
        if isinstance(line, ast.Import | ast.ImportFrom)
        for alias in line.names
        if "ddpm_course" in (getattr(line, "module", None) or alias.name)
    }
    found = _names(theirs) - _names(ours)
    look_at = sorted(name for name in found if name.split(".")[0] in package | TELLING)
    if len(_body(ours)) > 2 and _body(ours) in map(_body, theirs.body):
        look_at.append("our solution word for word")
    return tuple(look_at)


def _body(node: ast.AST) -> list[str]:
    """A function's statements without its docstring. A module's are those of its function."""
    if isinstance(node, ast.Module):
        return _body(node.body[0])
    lines = node.body if isinstance(node, ast.FunctionDef) else []
    return [ast.dump(line) for line in lines if not isinstance(line, ast.Expr)]


def _names(tree: ast.Module) -> set[str]:
    """Names used inside functions, with one attribute where there is one, as `dc.q_sample`; and
    those imported anywhere. Annotations do not count.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]
            for inner in (inner for line in body for inner in ast.walk(line)):
                if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
                    found.add(f"{inner.value.id}.{inner.attr}")
                elif isinstance(inner, ast.Name):
                    found.add(inner.id)
    return found | ({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & TELLING - {"check"})
