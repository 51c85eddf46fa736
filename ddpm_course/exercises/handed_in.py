"""Notebooks that learners hand in: which cell answers an exercise, and what is odd about it."""

import ast
import re
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from ddpm_course.exercises.checking import does_nothing

TELLING = {
    *("exercises", "solution", "check", "checking", "source", "inspect", "gc", "sys", "os"),
    *("importlib", "builtins", "getattr", "setattr", "globals", "eval", "exec", "__import__"),
    *("get_ipython", "subprocess"),
}
"""Names that an honest answer has no need of."""


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


def parse(source: str) -> ast.Module | None:
    """As Python, `%` and `!` lines included, or None if it is not."""
    plain = re.sub(r"^%%.*\n", "", source.lstrip())  # `%%time` stands above plain Python
    try:
        return ast.parse(TransformerManager().transform_cell(plain))
    except (SyntaxError, ValueError, RecursionError):
        return None


def defines(tree: ast.Module | None, name: str) -> list[ast.stmt]:
    """The statements that make `name`: a function, or an assignment as of a lambda."""

    def is_one(line: ast.stmt) -> bool:
        if isinstance(line, ast.Assign) and not ast.unparse(line.value).startswith("check("):
            return name in map(ast.unparse, line.targets)
        return getattr(line, "name", None) == name

    return list(filter(is_one, tree.body if tree else []))


def answer_to(handed_in: NotebookNode, name: str) -> str:
    """The last cell that defines the function and is no stub, below what else has the exercise's
    tag, as where a cell was split; "" if there is none.
    """
    beside: list[str] = []
    attempts: list[str] = []
    stubs: list[str] = []
    for cell in handed_in.cells:
        if cell.cell_type != "code":
            continue
        tagged, tree = exercise_name(cell) == name, parse(cell.source)
        functions = [d for d in defines(tree, name) if tagged or isinstance(d, ast.FunctionDef)]
        if functions:
            stub = isinstance(functions[-1], ast.FunctionDef) and does_nothing(functions[-1])
            (stubs if stub else attempts).append(cell.source)
        elif tagged:
            (beside if tree else attempts).append(cell.source)
    return "\n\n".join([*beside, *(attempts or stubs)[-1:]])


def stands_elsewhere(name: str, handed_in: NotebookNode) -> bool:
    """Whether some cell defines, imports or assigns that name."""
    code = "\n".join(c.source for c in handed_in.cells if c.cell_type == "code")
    return bool(re.search(rf"^(def|import|from .* import) .*\b{name}\b|^{name} =", code, re.M))


def look_at(answer: str, solution: str, imports: str) -> tuple[str, ...]:
    """What of the package or of `TELLING` the answer uses though the solution does not, and whether
    it is the solution word for word, if that has more than two statements.
    """
    theirs, ours = parse(answer), ast.parse(solution)
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
    odd = sorted(name for name in found if name.split(".")[0] in package | TELLING)
    if len(_body(ours)) > 2 and _body(ours) in map(_body, theirs.body):
        odd.append("our solution word for word")
    return tuple(odd)


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
