"""How an exercise is checked.

`my_function = check(my_function)` prints "not attempted yet", what is wrong, or "correct". It
returns your function if it is right, else the reference, so that the cells below always run.

An exercise is a solution with probes and slips. Probes are arguments to try: your function must
agree with the solution on all of them. Slips are plausible mistakes, each written as a change of
the solution's own source with the sentence that helps. If your function does the same as a slip on
every probe, you read that sentence.
"""

import ast
import inspect
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Number
from typing import Any, Literal, NamedTuple

import torch
from IPython.display import Markdown, display
from torch import Tensor, nn

from ddpm_course.exercises.slips import Slip, changed, common_slips, read_slips, source_of
from ddpm_course.schedules import NoiseSchedule


class Wrong(AssertionError):
    """An answer that is not right; the message says why in words."""


@dataclass(frozen=True)
class Exercise:
    solution: Callable
    hint: str
    probes: Callable[[], list[tuple]] | None
    """Makes the arguments to try, equal ones at every call."""
    slips: list[Slip]
    through: Callable[[Callable], Callable] | None
    """Turns an answer into the function that is called with the probes, if that is another."""
    test: Callable[[Callable], None] | None
    """Raises `Wrong` for what probes can't show, such as how often something is drawn."""
    tolerance: float


class Verdict(NamedTuple):
    mark: Literal["correct", "wrong", "not attempted"]
    why: str
    use: Callable
    """What the cells below work with: the learner's function, or the solution."""


class Exercises:
    """The exercises of one notebook, by the name of the function to write."""

    def __init__(self) -> None:
        self.by_name: dict[str, Exercise] = {}

    def add(
        self,
        hint: str,
        probes: Callable[[], list[tuple]] | None = None,
        slips: str = "",
        *,
        through: Callable[[Callable], Callable] | None = None,
        test: Callable[[Callable], None] | None = None,
        tolerance: float = 1e-5,
    ) -> Callable[[Callable], Callable]:
        """Decorate the solution. The parts are those of `Exercise`; `slips` as in `read_slips`."""

        def register(solution: Callable) -> Callable:
            self.by_name[solution.__name__] = Exercise(
                solution, hint, probes, read_slips(slips), through, test, tolerance
            )
            return solution

        return register

    def check(self, f: Callable) -> Callable:
        """Print a verdict on f and return f, or the solution if f is missing or wrong."""
        name = getattr(f, "__name__", "")
        if name not in self.by_name:  # a lambda, a partial or an object: by the cell's variable
            cell = sys._getframe(1).f_globals
            name = next((n for n in self.by_name if cell.get(n) is f), name)
        mark, why, use = self.verdict(f, name)
        if mark == "correct":
            print(f"✓ {name}: correct")
        else:
            sign = "○" if mark == "not attempted" else "✗"
            print(f"{sign} {name}: {why}\n  The cells below use the reference version.")
        return use

    def verdict(self, f: Callable, name: str) -> Verdict:
        """What `check` says about f as an answer to the exercise of that name."""
        exercise = self._named(name)
        if f is exercise.solution:
            why = (
                "that name holds the reference version since the last check; run the whole cell "
                "to check yours."
            )
            return Verdict("not attempted", why, f)
        if is_stub(f):
            return Verdict("not attempted", "not attempted yet.", exercise.solution)
        try:
            judge(f, exercise)
        except Wrong as wrong:
            return Verdict("wrong", str(wrong), exercise.solution)
        return Verdict("correct", "", f)

    def hint(self, name: str) -> None:
        """Show one hint."""
        display(Markdown(f"**Hint.** {self._named(name).hint}"))

    def solution(self, name: str) -> None:
        """Show the solution as code, unless DDPM_SOLUTIONS=hidden is in the environment."""
        shown = f"```python\n{self.source(name)}\n```"
        if os.environ.get("DDPM_SOLUTIONS") == "hidden":
            shown = f"Solutions are hidden in this class. There is a hint: `hint({name!r})`."
        display(Markdown(shown))

    def source(self, name: str) -> str:
        """The solution as text: the function without its decorator."""
        return source_of(self._named(name).solution)

    def _named(self, name: str) -> Exercise:
        if name not in self.by_name:
            raise ValueError(
                f"There is no exercise {name!r} here: choose one of {', '.join(self.by_name)}."
            )
        return self.by_name[name]


def is_stub(f: Callable) -> bool:
    """Whether f's body is only a docstring, `...`, `pass` or a raise. False without a source."""
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
    except (OSError, TypeError, SyntaxError):  # below `%%time`, or not a function, or a lambda
        return False
    return isinstance(function, ast.FunctionDef) and all(
        isinstance(line, ast.Pass | ast.Raise)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in function.body
    )


def judge(f: Callable, exercise: Exercise) -> None:
    """Raise `Wrong`, with the best sentence there is, unless f is right."""
    watched = watch(f, exercise)
    if exercise.probes:
        got, again = outcomes(watched, exercise), outcomes(watched, exercise)
        for wrong in (outcome for outcome in got if isinstance(outcome, Wrong)):
            raise wrong
        wanted = outcomes(exercise.solution, exercise)
        if not alike(got, wanted, exercise.tolerance):
            diagnose(got, again, wanted, exercise, f)
        require_dtypes(got, wanted)
    if exercise.test:
        try:
            exercise.test(watched)
        except Wrong:
            raise
        except Exception as error:
            raise Wrong(crash(error, f)) from error


def diagnose(got: list, again: list, wanted: list, exercise: Exercise, f: Callable) -> None:
    """Raise `Wrong` about answers that differ from those wanted."""
    if not alike(got, again, exercise.tolerance):
        noise = "noise" in inspect.signature(exercise.solution).parameters
        end = "Use the `noise` you're given" if noise else "Everything you need is in the arguments"
        raise Wrong(f"Called twice with the same arguments, it gives two results. {end}.")
    for change, sentence in exercise.slips:
        slipped = outcomes(changed(exercise.solution, change), exercise)
        require(not alike(got, slipped, exercise.tolerance), sentence)
    for function, sentence in common_slips(exercise.solution):
        slipped = outcomes(function, exercise)
        fits = not any(isinstance(r, Exception) and type(r) is not IndexError for r in slipped)
        require(not (fits and alike(got, slipped, exercise.tolerance)), sentence)
    factor = common_factor(got, wanted)
    if factor and not close(factor, 1.0, 1e-3):
        raise Wrong(f"Every value is {factor:.4g} times what it should be.")
    cases = [(alike(g, w, exercise.tolerance), g, w) for g, w in zip(got, wanted, strict=True)]
    first = next(k for k, (right, _, _) in enumerate(cases) if not right)
    where, (_, result, right_one) = describe(exercise, first), cases[first]
    if where and any(right for right, _, _ in cases):
        where = f"it's right in other cases, but not {where.strip()}: "
    elif isinstance(result, Exception):
        where = ""
    if isinstance(result, Exception):
        raise Wrong(where + crash(result, f))
    raise Wrong(where + difference(result, right_one, exercise.tolerance))


def watch(f: Callable, exercise: Exercise) -> Callable:
    """f, but it is `Wrong` to write into an argument, to call a network whole that f is to rebuild
    from its parts, and to return nothing.
    """
    names = list(inspect.signature(exercise.solution).parameters)

    def watched(*given: Any) -> Any:
        before = [snapshot(value) for value in given]
        hooks = [
            value.register_forward_pre_hook(refuse_whole)
            for value in given
            if isinstance(value, nn.Module) and any(True for _ in value.children())
        ]
        try:
            answer = f(*given)
        finally:
            for hook in hooks:
                hook.remove()
        for name, was, value in zip(names, before, given, strict=True):
            if not all(map(same, was, snapshot(value))):
                table = " The schedule is shared by every cell." if name == "schedule" else ""
                raise Wrong(
                    f"you write into {name}, which the caller needs.{table} Make a new tensor, as "
                    f"in `y = 2 * x` instead of `x *= 2`."
                )
        if answer is None:
            raise Wrong("it returned None: does the function end with `return`?")
        return answer

    return watched


def refuse_whole(network: nn.Module, _: Any) -> None:
    raise Wrong(
        f"you call the {type(network).__name__} as a whole. Build the answer from its parts "
        "instead."
    )


def snapshot(value: Any) -> list[Tensor]:
    """Copies of the tensors in an argument that an answer must not write into."""
    if isinstance(value, NoiseSchedule):
        return [value.alphas_cumprod.clone(), value.betas.clone()]
    if isinstance(value, list | tuple):
        return [copy for item in value for copy in snapshot(item)]
    return [value.detach().clone()] if isinstance(value, Tensor) else []


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def outcomes(f: Callable, exercise: Exercise) -> list:
    """What f returns for each probe, or the exception that it raises."""
    results: list = []
    called = exercise.through(f) if exercise.through else f
    for given in exercise.probes() if exercise.probes else ():
        try:
            results.append(called(*given))
        except Exception as error:
            results.append(error)
    return results


def alike(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two outcomes are the same: equal errors, or numbers that agree."""
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b) and _words(a) == _words(b)
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = list(a.values()), list(b.values())
    if isinstance(b, list | tuple):
        fits = isinstance(a, list | tuple) and len(a) == len(b)
        return fits and all(alike(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(b, Tensor):
        return isinstance(a, Tensor) and close(a, b, tolerance)
    if not (is_number(a) and is_number(b)):
        return type(a) is type(b)
    return a == b if type(b) is int else close(a, b, tolerance)


def _words(error: Exception) -> str:
    return re.sub(r"\d+", "#", str(error))


def is_number(value: Any) -> bool:
    return isinstance(value, Number) or (isinstance(value, Tensor) and value.ndim == 0)


def close(got: Any, wanted: Any, tolerance: float = 1e-5) -> bool:
    """Whether shape and values agree, to a relative or absolute `tolerance`; NaN equals NaN."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    agree = got.shape == wanted.shape
    return agree and torch.allclose(got, wanted, tolerance, tolerance, equal_nan=True)


def common_factor(got: list, wanted: list) -> float:
    """What all results are too large by, or 0 if there is no such factor."""
    pairs = list(zip(got, wanted, strict=True))
    if not all(isinstance(g, Tensor) and isinstance(w, Tensor) for g, w in pairs):
        return 0.0
    if not all(g.shape == w.shape for g, w in pairs):
        return 0.0
    first, second = (torch.cat([v.double().flatten() for v in side]) for side in (got, wanted))
    k = int(second.abs().argmax())
    factor = (first[k] / second[k]).item()
    return factor if close(first, factor * second) else 0.0


def describe(exercise: Exercise, k: int) -> str:
    """What is special about the k-th probe, as "for t = 4"."""
    probes = exercise.probes() if exercise.probes else []
    names = list(inspect.signature(exercise.solution).parameters)
    if exercise.through or len(probes) == 1:
        return ""
    numbers = [
        f"{name} = {value:g}"
        for name, value, others in zip(names, probes[k], zip(*probes, strict=True), strict=False)
        if isinstance(value, int | float) and any(other != value for other in others)
    ]
    if not numbers and isinstance(probes[k][0], Tensor):
        numbers = [f"the shape {tuple(probes[k][0].shape)} in {probes[k][0].dtype}"]
    return f"for {', '.join(numbers)} " if numbers else ""


def difference(got: Any, wanted: Any, tolerance: float) -> str:
    """How a result differs from the one wanted, in words."""
    if isinstance(wanted, dict):
        name = next(name for name in wanted if not alike(got[name], wanted[name], tolerance))
        return f"{name}: {difference(got[name], wanted[name], tolerance)}"
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple):
        if len(got) != len(wanted):
            return f"{len(wanted)} results are expected, and it returned {len(got)}."
        pairs = list(zip(got, wanted, strict=True))
        k = next(k for k, (one, other) in enumerate(pairs) if not alike(one, other, tolerance))
        return f"in place {k + 1} of the results, {difference(*pairs[k], tolerance)}"
    numbers = isinstance(got, Tensor | Number) and isinstance(wanted, Tensor | Number)
    if not numbers or (isinstance(wanted, Tensor) and not isinstance(got, Tensor)):
        return f"it returned a {kind(got)}, and a {kind(wanted)} is expected."
    one, other = torch.as_tensor(got), torch.as_tensor(wanted)
    if one.shape != other.shape:
        expected = tuple(other.shape) if other.ndim else "one number"
        return f"the result has shape {tuple(one.shape)}, and {expected} is expected."
    one, other = one.double().flatten(), other.double().flatten()
    if not bool(one.isfinite().all()) and bool(other.isfinite().all()):
        return (
            "the result holds NaN or infinity. Does an `exp` or a division leave the range of "
            "floats?"
        )
    k = int((one - other).abs().nan_to_num(torch.inf).argmax())
    which = f"value {k} is" if len(one) > 1 else "it returns"
    return f"{which} {one[k]:.4g} where {other[k]:.4g} is right."


def kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return "torch tensor"
    return "whole number (int)" if type(value) is int else type(value).__name__


def require_dtypes(got: Any, wanted: Any) -> None:
    """`Wrong` if right values come in another dtype than the solution's, or an int as a float."""
    if isinstance(wanted, dict):
        got, wanted = list(got.values()), list(wanted.values())
    if isinstance(wanted, list | tuple):
        for one, other in zip(got, wanted, strict=True):
            require_dtypes(one, other)
    elif isinstance(wanted, Tensor) and got.dtype != wanted.dtype:
        here, there = (str(value.dtype).removeprefix("torch.") for value in (got, wanted))
        raise Wrong(
            f"the values are right, but they come as {here} instead of {there}. Convert tables "
            "with `.to(x.dtype)`, and give `dtype=` to new tensors."
        )
    elif type(wanted) is int and isinstance(got, float | Tensor):
        raise Wrong(f"it returned a {kind(got)}. This is a count, so return an int.")


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
}
"""What to add where an error's own words leave a beginner alone."""


def require(truth: bool, otherwise: str) -> None:
    """Raise `Wrong` with that sentence unless it is true."""
    if not truth:
        raise Wrong(otherwise)


def tensor_of(answer: Any, shape: tuple[int, ...]) -> Tensor:
    """The answer, if it is a tensor of that shape and finite; else `Wrong` says what it is."""
    require(isinstance(answer, Tensor), f"it returned a {kind(answer)}, not a torch tensor.")
    got = tuple(answer.shape)
    require(got == shape, f"the result has shape {got}; {shape} was expected.")
    require(bool(torch.isfinite(answer).all()), "the result holds NaN or infinity.")
    return answer


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers that depend on the seed alone."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)
