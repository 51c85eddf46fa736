"""Results of an answer: compared with those wanted, and their difference in words."""

import re
import textwrap
import traceback
from collections.abc import Callable
from numbers import Integral, Number
from typing import Any

import torch
from torch import Tensor


class Wrong(AssertionError):
    """An answer that is not right; the message says why in words."""


def require(truth: bool, otherwise: str) -> None:
    """Raise `Wrong` with that sentence unless it is true."""
    if not truth:
        raise Wrong(otherwise)


def difference(got: Any, wanted: Any, tolerance: float = 1e-5, *, dtypes: bool = True) -> str:
    """How a result differs from the one wanted, in words; "" if it doesn't.

    Types and shapes are judged before values, and values before dtypes.
    """
    if isinstance(got, Exception) or isinstance(wanted, Exception):
        return "" if type(got) is type(wanted) and _words(got) == _words(wanted) else "an error"
    if isinstance(wanted, dict):
        for name in wanted:
            if how := difference(got[name], wanted[name], tolerance, dtypes=dtypes):
                return f"{name}: {how}"
        return ""
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple):
        if len(got) != len(wanted):
            return f"{len(wanted)} results are expected, and it returned {len(got)}."
        for k, (one, other) in enumerate(zip(got, wanted, strict=True)):
            if how := difference(one, other, tolerance, dtypes=dtypes):
                return f"in place {k + 1} of the results, {how}"
        return ""
    comparable = Tensor if isinstance(wanted, Tensor) else Tensor | Number
    if not isinstance(got, comparable) or not isinstance(wanted, Tensor | Number):
        same_kind = type(got) is type(wanted)
        return "" if same_kind else f"it returned a {kind(got)}, and a {kind(wanted)} is expected."
    one, other = torch.as_tensor(got), torch.as_tensor(wanted)
    if one.shape != other.shape:
        expected = tuple(other.shape) if other.ndim else "one number"
        return f"the result has shape {tuple(one.shape)}, and {expected} is expected."
    if not close(one, other, 0 if isinstance(wanted, int) else tolerance):
        return _unequal(one.double().flatten(), other.double().flatten())
    if not dtypes:
        return ""
    if isinstance(wanted, int) and not isinstance(got, Integral):
        return f"it returned a {kind(got)}. This is a whole number, so return an int."
    if isinstance(wanted, Tensor) and one.dtype != other.dtype:
        here, there = (str(value.dtype).removeprefix("torch.") for value in (one, other))
        return (
            f"the values are right, but they come as {here} instead of {there}. Convert tables "
            "with `.to(x.dtype)`, and give `dtype=` to new tensors."
        )
    return ""


def _unequal(one: Tensor, other: Tensor) -> str:
    if not bool(one.isfinite().all()) and bool(other.isfinite().all()):
        return (
            "the result holds NaN or infinity. Does an `exp` or a division leave the range of "
            "floats?"
        )
    k = int((one - other).abs().nan_to_num(torch.inf).argmax())
    which = f"value {k} is" if len(one) > 1 else "it returns"
    return f"{which} {one[k]:.5g} where {other[k]:.5g} is right."


def _words(error: Exception) -> str:
    return re.sub(r"\d+", "#", str(error))


def alike(a: Any, b: Any, tolerance: float = 1e-5) -> bool:
    """Whether two outcomes are equal errors, or agree in all but their dtypes."""
    return not difference(a, b, tolerance, dtypes=False)


def close(got: Any, wanted: Any, tolerance: float = 1e-5) -> bool:
    """Whether shape and values agree, to a relative or absolute `tolerance`; NaN equals NaN."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    agree = got.shape == wanted.shape
    return agree and torch.allclose(got, wanted, tolerance, tolerance, equal_nan=True)


def factor_between(got: list, wanted: list) -> float:
    """The one factor, other than 1, between all results and those wanted, or 0."""
    pairs = list(zip(got, wanted, strict=True))
    if not all(isinstance(g, Tensor) and isinstance(w, Tensor) for g, w in pairs):
        return 0.0
    if not all(g.shape == w.shape for g, w in pairs):
        return 0.0
    first, second = (torch.cat([v.double().flatten() for v in side]) for side in (got, wanted))
    k = int(second.abs().argmax())
    factor = (first[k] / second[k]).item()
    return factor if close(first, factor * second) and not close(factor, 1.0, 1e-3) else 0.0


def is_number(value: Any) -> bool:
    return isinstance(value, Number) or (isinstance(value, Tensor) and value.ndim == 0)


def kind(value: Any) -> str:
    """What to call a value's type: "torch tensor", "float"."""
    if isinstance(value, Tensor):
        return "torch tensor"
    return "whole number (int)" if type(value) is int else type(value).__name__


def tensor_of(answer: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.int64) -> Tensor:
    """The answer, if it is a tensor of that shape and dtype; else `Wrong` says what it is."""
    require(isinstance(answer, Tensor), f"it returned a {kind(answer)}, not a torch tensor.")
    got = tuple(answer.shape)
    require(got == shape, f"the result has shape {got}; {shape} was expected.")
    require(answer.dtype == dtype, f"the result is {answer.dtype}; {dtype} was expected.")
    return answer


def crash(error: Exception, f: Callable) -> str:
    """What to say about an answer that raised an exception."""
    said = textwrap.shorten((str(error).splitlines() or [""])[0], 160, placeholder=" …")
    aid = next((aid for words, aid in AIDS.items() if words in said), "")
    file = getattr(getattr(f, "__code__", None), "co_filename", "")
    inside = [step for step in traceback.extract_tb(error.__traceback__) if step.filename == file]
    line = f" (in `{inside[-1].line}`)" if inside and inside[-1].line else ""
    return f"it stopped with {type(error).__name__}: {said}{line}{aid}"


AIDS = {
    "can be converted to Python scalars": ". For tensors use torch's functions, such as "
    "`torch.sqrt`, instead of those of `math`.",
    "'float' object has no attribute": ". That one is a plain number: use `math`, or `** 0.5`.",
    "not tuple": ". Some function here returns two things: unpack both, as in `a, b = f(x)`.",
    "size of tensor": ". The shapes don't line up: one number per image needs the shape "
    "[B, 1, 1, 1], for example with `.view(-1, 1, 1, 1)`.",
    "too many indices": ". That one has fewer dimensions than you index: it may be one number for "
    "all values.",
}
"""What to add where an error's own words leave a beginner alone."""


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers that depend on the seed alone."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)
