"""One piece of the package's source, changed for a while: a planted fault without a second copy.

Inside `changed` the function itself runs the changed source, wherever it has been imported to;
afterwards it is as it was. The notebook on faults plants its bugs this way, and repairs them.
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
    """`where` names a function, as in "samplers.ddim" or "training.ema.EMA.update"; `before` is a
    piece that stands in its source once; `after` stands there instead.
    """

    where: str
    before: str
    after: str


@contextmanager
def changed(*changes: Change) -> Iterator[None]:
    """Runs what stands below with the changes made, one after the other.

    Raises ValueError for a function that is not there, is changed already or uses variables from
    around it, a `before` that does not stand in it exactly once, and an `after` that is no Python
    or would change the parameters.
    """
    codes = {}
    for where in dict.fromkeys(change.where for change in changes):
        if _original(where).function.__code__ is not _original(where).code:
            raise ValueError(f"{where} is changed already: hand all changes over at once.")
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
    """The source of a function with the changes made in it; raises as `changed` does."""
    text = _original(where).source
    for _, before, after in changes:
        if (times := text.count(before)) != 1:
            raise ValueError(
                f"`{before}` stands {times} times in {where}: name a piece that stands there once."
            )
        text = text.replace(before, after)
    return text


class _Original(NamedTuple):
    function: Any  # a FunctionType, which mypy would take for a method of this class
    source: str
    code: CodeType


@functools.cache  # once, while it is healthy: afterwards a function no longer knows its own source
def _original(where: str) -> _Original:
    try:
        found = pkgutil.resolve_name(f"ddpm_course.{where}")
    except (ImportError, AttributeError, ValueError):
        found = None
    function = inspect.unwrap(found) if callable(found) else None
    if not isinstance(function, FunctionType):
        raise ValueError(f"There is no function {where} in the package.")
    if function.__code__.co_freevars:
        raise ValueError(f"{where} uses variables from around it, and cannot be changed alone.")
    return _Original(function, textwrap.dedent(inspect.getsource(function)), function.__code__)


def _compiled(where: str, text: str) -> CodeType:
    """The code object of the function in `text`. Nothing is run: it is a constant of the module
    that the text would be.
    """
    try:
        module = compile(text, f"<{where}, changed>", "exec")
    except SyntaxError as error:
        raise ValueError(f"{where} would be no Python: {error.msg}.") from error
    if _parameters(text) != _parameters(_original(where).source):
        raise ValueError(f"A change lies in the body of {where}: its parameters stay as they are.")
    name = where.rsplit(".", 1)[-1]
    parts = (part for part in module.co_consts if isinstance(part, CodeType))
    return next(part for part in parts if part.co_name == name)


def _parameters(text: str) -> str:
    [function] = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef)
    return ast.dump(function.args)
