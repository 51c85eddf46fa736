"""Grades for notebooks that learners hand in: their answers, run between the teacher's own cells.

Of what is handed in, only the cells that answer an exercise are used; imports and checks come from
the notebook that was given out. So neither an edited check nor an edited output counts. The answers
run in a kernel of their own, but run they do: a learner who sets out to deceive can, and what a
`Grade` lists under `borrowed` is for the teacher to read.
"""

import ast
import importlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

IMPORT_SECONDS = 600
MARKS = ("correct", "wrong", "not attempted")
TELLING = {
    *("exercises", "solution", "check", "checking", "source", "inspect", "gc", "sys", "os"),
    *("importlib", "builtins", "getattr", "setattr", "globals", "eval", "exec", "__import__"),
}
"""Names that an honest answer has no need of."""


@dataclass(frozen=True)
class Grade:
    """The mark of one answer, a member of `MARKS`; the check's sentence; and what of the package or
    of `TELLING` the answer uses though our solution does not.
    """

    exercise: str
    mark: str
    why: str
    borrowed: tuple[str, ...]


def read_notebook(path: str | Path) -> NotebookNode:
    """Raises ValueError if the file is no notebook, OSError if it cannot be read."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as e:
        raise ValueError(f"{path} is not a Jupyter notebook.") from e


def exercise_name(cell: NotebookNode) -> str | None:
    """The exercise that a cell is for, by its tag."""
    tags = cell.metadata.get("tags", [])
    return next((tag.split(":", 1)[1] for tag in tags if tag.startswith("exercise:")), None)


def grade(handed_in: NotebookNode, given: NotebookNode, timeout: int = 60) -> list[Grade]:
    """Grade every exercise of the notebook that was given out.

    Args:
        handed_in: a learner's copy of it.
        given: the notebook as it was given out, with any of its exercises taken out.
        timeout: seconds for one cell.

    Raises ValueError if `given` has no exercises of this course.
    """
    imports, module = _setup(given)
    stubs = {name: cell.source for cell in given.cells if (name := exercise_name(cell))}
    answers = {name: _answer(handed_in, name) for name in stubs}
    cells = [imports]
    for name, stub in stubs.items():
        cells += [
            _definition(stub),  # stands where the answer cannot be run
            _definition(answers[name]),
            f"_verdict = __import__('{module}', fromlist='_').exercises.verdict({name})\n"
            f"{name} = _verdict.use\n(_verdict.mark, _verdict.why)",
        ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in cells], metadata=given.metadata
    )
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: IMPORT_SECONDS if cell is notebook.cells[0] else timeout,
        interrupt_on_timeout=True,
        allow_errors=True,
        extra_arguments=["--log-level=ERROR"],
    )
    # An answer that ends the kernel leaves cells without output, which is told below.
    with TemporaryDirectory() as folder, suppress(DeadKernelError):
        client.execute(cwd=folder)
    solutions = importlib.import_module(module).exercises
    return [
        Grade(
            name,
            *_outcome(notebook.cells[2 + 3 * k], notebook.cells[3 + 3 * k], timeout),
            _borrowed(answers[name], solutions.source(name), imports),
        )
        for k, name in enumerate(stubs)
    ]


def _setup(given: NotebookNode) -> tuple[str, str]:
    """The notebook's imports, and the module that holds its exercises."""
    trees = [_parse(cell.source) for cell in given.cells if cell.cell_type == "code"]
    lines = [
        line
        for tree in trees
        for line in tree.body
        if isinstance(line, ast.Import | ast.ImportFrom)
    ]
    for line in lines:
        if isinstance(line, ast.ImportFrom) and (line.module or "").startswith(
            "ddpm_course.exercises."
        ):
            return "\n".join(map(ast.unparse, lines)), str(line.module)
    raise ValueError("the notebook that was given out imports no exercises of this course.")


def _parse(source: str) -> ast.Module:
    """As Python, or as nothing where it is none, as `!pip` is."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def _answer(handed_in: NotebookNode, name: str) -> str:
    """The cell with the exercise's tag, else the last that defines the function, else nothing."""
    code = [cell for cell in handed_in.cells if cell.cell_type == "code"]
    tagged = [cell.source for cell in code if exercise_name(cell) == name]
    defining = [
        cell.source
        for cell in code
        if any(getattr(line, "name", None) == name for line in _parse(cell.source).body)
    ]
    return [*tagged, *defining[::-1], ""][0]


def _definition(source: str) -> str:
    """The cell without its call of `check`, which is made afterwards."""
    lines = source.splitlines()
    for line in reversed(_parse(source).body):
        called = getattr(getattr(line, "value", None), "func", None)
        if isinstance(called, ast.Name) and called.id == "check":
            del lines[line.lineno - 1 : line.end_lineno]
    return "\n".join(lines)


def _outcome(answer: NotebookNode, verdict: NotebookNode, timeout: int) -> tuple[str, str]:
    for cell in (answer, verdict):
        for output in cell.outputs:
            if output.output_type == "error" and output.ename == "KeyboardInterrupt":
                return "wrong", f"it ran for more than {timeout} s."
            if output.output_type == "error":
                return "wrong", f"it stopped with {output.ename}: {output.evalue}"
    for output in verdict.outputs:
        if output.output_type == "execute_result":
            mark, why = ast.literal_eval(output.data["text/plain"])
            return mark, why
    return "wrong", "it, or an answer above it, ended the Python process."


def _borrowed(answer: str, solution: str, imports: str) -> tuple[str, ...]:
    """What of the package, or of `TELLING`, an answer names and the solution does not."""
    ours = {
        alias.asname or alias.name.split(".")[0]
        for line in ast.walk(_parse(f"{imports}\n{answer}"))
        if isinstance(line, ast.Import | ast.ImportFrom)
        for alias in line.names
        if "ddpm_course" in (getattr(line, "module", None) or alias.name)
    }
    answered, solved = (_names(_parse(_definition(text))) for text in (answer, solution))
    return tuple(sorted(n for n in answered - solved if n.split(".")[0] in ours | TELLING))


def _names(tree: ast.Module) -> set[str]:
    """Names that are read or imported, with one attribute where there is one, as `dc.q_sample`."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found = (found - {node.value.id}) | {f"{node.value.id}.{node.attr}"}
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found
