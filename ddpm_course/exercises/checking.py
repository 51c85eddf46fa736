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
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from IPython.display import Markdown, display
from torch import Tensor, nn

from ddpm_course.exercises.results import Wrong, alike, crash, difference, factor_between, require
from ddpm_course.exercises.slips import Slip, changed, common_slips, read_slips, source_of
from ddpm_course.schedules import NoiseSchedule


@dataclass(frozen=True)
class Exercise:
    solution: Callable
    hint: str
    probes: Callable[[], list[tuple]]
    """Makes the arguments to try, equal ones at every call."""
    slips: list[Slip]
    through: Callable[[Callable], Callable]
    """Turns an answer into the function that is called with the probes, if that is another."""
    test: Callable[[Callable], None] | None
    """Raises `Wrong` for what probes can't show, such as how often a value is sampled."""
    tolerance: float

    @property
    def parameters(self) -> list[str]:
        return list(inspect.signature(self.solution).parameters)

    @cached_property
    def wanted(self) -> list:
        return self.outcomes(self.solution)

    def outcomes(self, f: Callable) -> list:
        """What f returns for each probe, or the exception that it raises."""
        results: list = []
        called = self.through(f)
        for given in self.probes():
            try:
                results.append(called(*given))
            except Exception as error:
                results.append(error)
        return results


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
        probes: Callable[[], list[tuple]] = list,
        slips: str = "",
        *,
        through: Callable[[Callable], Callable] = lambda f: f,
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

    def check(self, f: Callable, name: str = "") -> Callable:
        """Print a verdict on f and return f, or the solution if f is missing or wrong.

        Without `name` the exercise is the one that f, or the cell's variable for it, is named
        after. Raises ValueError if there is no such exercise.
        """
        name = name or getattr(f, "__name__", "")
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
            names = ", ".join(self.by_name)
            raise ValueError(
                f"There is no exercise {name!r} here: choose one of {names}. For a function of "
                "another name write `check(f, name)`."
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
    require_parameters(f, exercise)
    watched = watch(f, exercise)
    got = exercise.outcomes(watched)
    for wrong in (outcome for outcome in got if isinstance(outcome, Wrong)):
        raise wrong
    intact = not any(isinstance(right, Exception) for right in exercise.wanted)
    require(intact, "the reference version fails now. Restart, and leave the package as it is.")
    differences = [
        difference(result, right, exercise.tolerance)
        for result, right in zip(got, exercise.wanted, strict=True)
    ]
    if not alike(got, exercise.wanted, exercise.tolerance):
        require_determined(got, exercise.outcomes(watched), exercise)
        diagnose(got, exercise)
    if any(differences):
        raise Wrong(where_and_how(got, differences, exercise, f))
    if exercise.test:
        try:
            exercise.test(watched)
        except Wrong:
            raise
        except Exception as error:
            raise Wrong(crash(error, f)) from error


def require_parameters(f: Callable, exercise: Exercise) -> None:
    """Raise `Wrong` if a call by keyword, as some cells make it, would not reach f's parameters."""
    try:
        inspect.signature(f).bind(**dict.fromkeys(exercise.parameters))
    except ValueError:  # a function that was compiled has no signature
        return
    except TypeError as error:
        if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(f).parameters.values()):
            return
        names = ", ".join(exercise.parameters)
        raise Wrong(f"name its parameters ({names}), because cells call it by them.") from error


def watch(f: Callable, exercise: Exercise) -> Callable:
    """f, but it is `Wrong` to write into an argument, to call a network whole that f is to rebuild
    from its parts, and to return nothing.
    """

    def watched(*given: Any) -> Any:
        before = [tensors_of(value, copy=True) for value in given]
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
        for name, was, value in zip(exercise.parameters, before, given, strict=True):
            table = " The schedule is shared by every cell." if name == "schedule" else ""
            require(
                all(map(torch.equal, was, tensors_of(value))),
                f"you write into {name}, which the caller needs.{table} Make a new tensor, as in "
                "`y = 2 * x` instead of `x *= 2`.",
            )
        require(answer is not None, "it returned None: does the function end with `return`?")
        return answer

    return watched


def refuse_whole(network: nn.Module, _: Any) -> None:
    raise Wrong(
        f"you call the {type(network).__name__} as a whole. Build the answer from its parts "
        "instead."
    )


TABLES = [name for name, of in vars(NoiseSchedule).items() if isinstance(of, cached_property)]


def tensors_of(value: Any, copy: bool = False) -> list[Tensor]:
    """The tensors in an argument that an answer must not write into."""
    if isinstance(value, NoiseSchedule):
        value = [value.alphas_cumprod, *(getattr(value, name) for name in TABLES)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_of(item, copy)]
    if not isinstance(value, Tensor):
        return []
    return [value.detach().clone() if copy else value]


def require_determined(got: list, again: list, exercise: Exercise) -> None:
    noise = "noise" in exercise.parameters
    end = "Use the `noise` you're given" if noise else "Everything you need is in the arguments"
    require(
        alike(got, again, exercise.tolerance),
        f"Called twice with the same arguments, it gives two results. {end}.",
    )


def diagnose(got: list, exercise: Exercise) -> None:
    """Raise `Wrong` with the sentence of the mistake that gives the same results, if there is one.

    An exercise's own slips come first, then the mistakes that are possible in any exercise.
    """
    for change, sentence in exercise.slips:
        slipped = exercise.outcomes(changed(exercise.solution, change))
        require(not alike(got, slipped, exercise.tolerance), sentence)
    for function, sentence in common_slips(exercise.solution):
        slipped = exercise.outcomes(function)
        crashes = any(isinstance(r, Exception) and type(r) is not IndexError for r in slipped)
        require(crashes or not alike(got, slipped, exercise.tolerance), sentence)
    factor = factor_between(got, exercise.wanted)
    if factor:
        raise Wrong(f"Every value is {factor:.4g} times what it should be.")


def where_and_how(got: list, differences: list[str], exercise: Exercise, f: Callable) -> str:
    """The first wrong result, and what is special about its probe."""
    k = next(k for k, how in enumerate(differences) if how)
    how = crash(got[k], f) if isinstance(got[k], Exception) else differences[k]
    where = special(exercise, k)
    if not where:
        return how
    if not all(differences):
        return f"it's right in other cases, but not for {where}: {how}"
    return how if isinstance(got[k], Exception) else f"for {where}: {how}"


def special(exercise: Exercise, k: int) -> str:
    """What sets the k-th probe apart, as "t = 4", or ""."""
    probes = exercise.probes()
    if len(probes) == 1:
        return ""
    numbers = [
        f"{name} = {value:g}"
        for name, value, others in zip(
            exercise.parameters, probes[k], zip(*probes, strict=True), strict=False
        )
        if isinstance(value, int | float) and any(other != value for other in others)
    ]
    first = probes[k][0]
    if not numbers and isinstance(first, Tensor):
        numbers = [f"the shape {tuple(first.shape)} in {first.dtype}"]
    return ", ".join(numbers)
