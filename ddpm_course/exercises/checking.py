"""How an exercise is checked: the learner's function goes in, one that works comes out.

`my_function = check(my_function)` prints "not attempted yet", what is wrong in words, or
"correct", and hands back the learner's function if it is right, else the reference, so that the
cells below always run.
"""

import ast
import functools
import inspect
import os
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from IPython.display import Markdown, display
from torch import Tensor, nn


class Wrong(AssertionError):
    """An answer that is not right; the message says why in words."""


@dataclass(frozen=True)
class Exercise:
    solution: Callable
    test: Callable[[Callable], None]
    hint: str


class Verdict(NamedTuple):
    mark: Literal["correct", "wrong", "not attempted"]
    why: str
    use: Callable
    """What the cells below work with: the learner's function, or the solution."""


class Exercises:
    """The exercises of one notebook, by the name of the function to write."""

    def __init__(self) -> None:
        self.by_name: dict[str, Exercise] = {}

    def add(self, test: Callable[[Callable], None], hint: str) -> Callable[[Callable], Callable]:
        """Decorate the solution. `test(f)` raises `Wrong` if f is not right."""

        def register(solution: Callable) -> Callable:
            self.by_name[solution.__name__] = Exercise(solution, test, hint)
            return solution

        return register

    def check(self, f: Callable) -> Callable:
        """Print a verdict on f and return f, or the solution if f is missing or wrong."""
        verdict = self.verdict(f)
        if verdict.mark == "correct":
            print(f"✓ {f.__name__}: correct")
        else:
            mark = "○" if verdict.mark == "not attempted" else "✗"
            print(
                f"{mark} {f.__name__}: {verdict.why}\n  The cells below use the reference version."
            )
        return verdict.use

    def verdict(self, f: Callable, name: str | None = None) -> Verdict:
        """What `check` says of f, as an answer to the exercise of its own or of another name."""
        exercise = self._named(name or str(getattr(f, "__name__", f)))
        if f is exercise.solution:
            why = (
                "that name holds the reference version since the last check; run the whole cell "
                "to check yours."
            )
            return Verdict("not attempted", why, f)
        if is_stub(f):
            return Verdict("not attempted", "not attempted yet.", exercise.solution)
        try:
            _try(f, exercise.test)
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
        text = textwrap.dedent(inspect.getsource(self._named(name).solution))
        return text[text.index("\ndef ") + 1 :].rstrip()

    def _named(self, name: str) -> Exercise:
        if name not in self.by_name:
            raise ValueError(
                f"There is no exercise {name!r} here: choose one of {', '.join(self.by_name)}."
            )
        return self.by_name[name]


def _try(f: Callable, test: Callable[[Callable], None]) -> None:
    """Test f on copies of what it is given. Besides what `test` finds, it is `Wrong` to write into
    an argument, or to change the dtype on the way, which a network would not take.
    """
    dtypes: list[tuple[torch.dtype, torch.dtype]] = []

    @functools.wraps(f)
    def watched(*given):
        copies = [v.clone() if isinstance(v, Tensor) else v for v in given]
        answer = f(*copies)
        names = inspect.signature(f).parameters
        for name, before, after in zip(names, given, copies, strict=False):
            if isinstance(before, Tensor) and not _equal(before, after):
                raise Wrong(
                    f"you write into {name}, which the caller needs: make a new tensor, as in "
                    f"`y = 2 * {name}`, not `{name} *= 2`."
                )
        dtypes.extend(_changed_dtype(given, answer))
        return answer

    try:
        test(watched)
    except Wrong:
        raise
    except Exception as error:
        said = textwrap.shorten((str(error).splitlines() or [""])[0], 160, placeholder=" …")
        aid = next((aid for words, aid in AIDS.items() if words in said), "")
        file = getattr(getattr(f, "__code__", None), "co_filename", "")
        inside = [
            step for step in traceback.extract_tb(error.__traceback__) if step.filename == file
        ]
        line = f" (in `{inside[-1].line}`)" if inside and inside[-1].line else ""
        raise Wrong(f"it stopped with {type(error).__name__}: {said}{line}{aid}") from error
    if dtypes:
        got, wanted = (str(dtype).removeprefix("torch.") for dtype in dtypes[0])
        raise Wrong(
            f"the values are right, but they come as {got} where {wanted} went in, and networks "
            f"take one dtype: convert the schedule's numbers, as in `.to(x.dtype)`, or use "
            "`.item()`."
        )


AIDS = {
    "can be converted to Python scalars": ". For tensors take torch's functions, such as "
    "`torch.sqrt`, not those of `math`.",
    "'float' object has no attribute": ". That one is a plain number: use `math`, or `** 0.5`.",
    "not tuple": ". Some function here returns two things: unpack both, as in `a, b = f(x)`.",
}
"""What to say besides, where an error's own words leave a beginner alone."""


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _changed_dtype(given: tuple, answer) -> list[tuple[torch.dtype, torch.dtype]]:
    """(got, wanted), if the arguments' tensors of floats are of one dtype and the answer's not."""
    came = {v.dtype for v in given if isinstance(v, Tensor) and v.is_floating_point() and v.ndim}
    first = answer[0] if isinstance(answer, tuple) and answer else answer
    floats = isinstance(first, Tensor) and first.is_floating_point()
    return [(first.dtype, *came)] if floats and len(came) == 1 and first.dtype not in came else []


def is_stub(f: Callable) -> bool:
    """Whether f's body does nothing yet. False where there is no source to tell by."""
    try:
        line = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
    except (OSError, TypeError, SyntaxError):  # below `%%time`, or not a function, or a lambda
        return False
    return isinstance(line, ast.FunctionDef) and does_nothing(line)


def does_nothing(function: ast.FunctionDef) -> bool:
    """Whether the body is only a docstring, `...`, `pass` or a raise."""
    return all(
        isinstance(line, ast.Pass | ast.Raise)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in function.body
    )


def require(truth: bool, otherwise: str) -> None:
    """Raise `Wrong` with that sentence unless it is true."""
    if not truth:
        raise Wrong(otherwise)


def close(got, wanted, tolerance: float = 1e-5) -> bool:
    """Whether shape and values agree, to a relative or absolute `tolerance`."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    return got.shape == wanted.shape and bool(torch.allclose(got, wanted, tolerance, tolerance))


def tensor_of(answer, shape: tuple[int, ...]) -> Tensor:
    """The answer, if it is a tensor of that shape and finite; else `Wrong` says what it is."""
    if answer is None:
        raise Wrong("it returned None: does the function end with `return`?")
    require(
        isinstance(answer, Tensor),
        f"it returned something of type {type(answer).__name__}, not a torch tensor.",
    )
    require(
        tuple(answer.shape) == shape,
        f"the result has shape {tuple(answer.shape)}; {shape} was expected.",
    )
    require(bool(torch.isfinite(answer).all()), "the result holds NaN or infinity.")
    return answer


def call(f: Callable, shape: tuple[int, ...], crashes: dict[str, str], *arguments) -> Tensor:
    """f's answer, as `tensor_of` has it. An error that mentions a key of `crashes` is told as the
    sentence there. A network among the arguments may be taken apart, but not called as a whole.
    """
    networks = [
        a for a in arguments if isinstance(a, nn.Module) and any(True for _ in a.children())
    ]
    refusals = [network.register_forward_pre_hook(_refuse_whole) for network in networks]
    try:
        return tensor_of(f(*arguments), shape)
    except (IndexError, RuntimeError, TypeError) as error:
        for mentioned, sentence in crashes.items():
            require(mentioned not in str(error), sentence)
        raise
    finally:
        for refusal in refusals:
            refusal.remove()


def _refuse_whole(network: nn.Module, _) -> None:
    raise Wrong(
        f"you call the {type(network).__name__} as a whole, which is what you are to write: build "
        "the answer from its parts."
    )
