"""Plants a fault: changes a piece of the package's source for a while, without a second copy of it.

Inside `changed` the function itself runs the changed source, wherever it was imported to. Notebook
09 plants its bugs this way and repairs them.
"""

import ast
import functools
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any, NamedTuple


class Change(NamedTuple):
    """Replaces a piece of a function's source.

    Attributes:
        where: the function, as in "samplers.ddim" or "training.ema.EMA.update".
        before: a piece that occurs exactly once in its source.
        after: what replaces it.
    """

    where: str
    before: str
    after: str


@contextmanager
def changed(*changes: Change) -> Iterator[None]:
    """A context in which the changes are made, one after the other; afterwards they are undone.

    Raises ValueError for a function that is missing, changed already or a closure, for a `before`
    that doesn't occur exactly once, and for an `after` that is no valid Python or would change the
    parameters.
    """
    codes = {}
    for where in dict.fromkeys(change.where for change in changes):
        if _original(where).function.__code__ is not _original(where).code:
            raise ValueError(f"{where} is changed already: pass all changes at once.")
        mine = [change for change in changes if change.where == where]
        codes[where] = _compiled(where, source(where, *mine))
    try:
        for where, code in codes.items():
            _original(where).function.__code__ = code
        yield
    finally:
        for where in codes:
            _original(where).function.__code__ = _original(where).code


def source(where: str, *changes: Change) -> str:
    """The source of a function with the changes made in it. Raises as `changed` does."""
    text = _original(where).source
    for _, before, after in changes:
        if (times := text.count(before)) != 1:
            raise ValueError(
                f"`{before}` occurs {times} times in {where}: name a piece that occurs once."
            )
        text = text.replace(before, after)
    return text


class _Original(NamedTuple):
    function: Any  # a FunctionType, which mypy would take for a method of this class
    source: str
    code: CodeType


@functools.cache  # before the first change: a changed function no longer knows its own source
def _original(where: str) -> _Original:
    try:
        found = pkgutil.resolve_name(f"ddpm_course.{where}")
    except (ImportError, AttributeError, ValueError):
        found = None
    function = inspect.unwrap(found) if callable(found) else None
    if not isinstance(function, FunctionType):
        raise ValueError(f"The package has no function {where}.")
    if function.__code__.co_freevars:
        raise ValueError(f"{where} is a closure and can't be changed alone.")
    return _Original(function, textwrap.dedent(inspect.getsource(function)), function.__code__)


def _compiled(where: str, text: str) -> CodeType:
    """The code object of the function in `text`. Nothing runs: compiling the text as a module makes
    the function's code one of the module's constants.
    """
    try:
        module = compile(text, f"<{where}, changed>", "exec")
    except SyntaxError as error:
        raise ValueError(f"{where} would be no valid Python: {error.msg}.") from error
    if _parameters(text) != _parameters(_original(where).source):
        raise ValueError(f"A change may not touch the parameters of {where}, only its body.")
    name = where.rsplit(".", 1)[-1]
    constants = (value for value in module.co_consts if isinstance(value, CodeType))
    return next(code for code in constants if code.co_name == name)


def _parameters(text: str) -> str:
    [function] = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef)
    return ast.dump(function.args)
