"""Plausible mistakes, made by changing the source of a solution."""

import ast
import copy
import inspect
import operator
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple


class Slip(NamedTuple):
    """A mistake: the change that makes it, as `changed` takes it, and what to say."""

    change: str
    sentence: str


def read_slips(text: str) -> list[Slip]:
    """Slips from a table of blocks: changes, one per line, above the indented sentence for them."""
    blocks = re.findall(r"((?:^\S.*\n)+)((?:^ .*\n?)+)", textwrap.dedent(text), re.M)
    return [
        Slip(change, " ".join(sentence.split()))
        for changes, sentence in blocks
        for change in changes.splitlines()
    ]


def source_of(solution: Callable) -> str:
    """A function's source without its decorator."""
    text = textwrap.dedent(inspect.getsource(solution))
    return text[text.index("\ndef ") + 1 if text[0] == "@" else 0 :].rstrip()


def changed(solution: Callable, change: str) -> Callable:
    """The solution with a change made in its source.

    `before -> after` replaces a piece that occurs exactly once. Several are separated by `; `.
    `return …` alone replaces the last line. Raises ValueError where that is not possible.
    """
    source = source_of(solution)
    for part in change.split("; "):
        before, arrow, after = (piece.strip() for piece in part.partition("->"))
        if not arrow:
            head, last = source.rsplit("\n", 1)
            source, times = f"{head}\n    {before}", int(last.startswith("    return "))
        else:
            times, source = source.count(before), source.replace(before, after)
        if times != 1:
            raise ValueError(f"`{before}` is {times} times in {solution.__name__}, not once.")
    return _run(source, solution)


def _run(source: Any, solution: Callable) -> Callable:
    """The function that changed source (text or tree) defines, among the solution's globals."""
    namespace = dict(getattr(solution, "__globals__", {}))
    exec(compile(source, "<slip>", "exec"), namespace)
    return namespace[solution.__name__]


def common_slips(solution: Callable) -> Iterator[tuple[Callable, str]]:
    """Mistakes that are possible in any exercise, as functions with what to say about them."""
    yield from _of_arguments(solution)
    for change, sentence in OF_RESULTS:
        yield partial(_then, change, solution), sentence
    source = source_of(solution)
    roots = list(ROOT.finditer(source))
    for number in range(1, len(roots) + 1):
        for some in combinations(roots, number):
            rootless = source
            for root in reversed(some):
                rootless = rootless[: root.start()] + rootless[root.end() :]
            yield _run(rootless, solution), ROOTLESS
    yield from _of_expressions(solution)


def _then(change: Callable, solution: Callable, *arguments: Any) -> Any:
    return change(solution(*arguments))


NOT_ITS_JOB = "That is not this function's job."
OF_RESULTS: list[tuple[Callable, str]] = [
    (lambda r: r.clamp(-1, 1), f"You clip the result to [−1, 1]. {NOT_ITS_JOB}"),
    (lambda r: tuple(reversed(r)), "You return the right results in the wrong order."),
    (lambda r: -r, "The sign is wrong: every value should be negated."),
    (lambda r: r**2, "This is the square of the right result. Did you return a variance?"),
    (lambda r: r**0.5, "This is the square root of the right result."),
]
ROOT = re.compile(r"math\.sqrt(?=\()|\.sqrt\(\)|\*\* ?0\.5")
ROOTLESS = (
    "A square root is missing. Values are multiplied by standard deviations, the roots of "
    "variances such as β_t and 1−ᾱ_t."
)


def _of_arguments(solution: Callable) -> Iterator[tuple[Callable, str]]:
    names = list(inspect.signature(solution).parameters)
    for k, name in enumerate(names):
        if "schedule" in names and name in ("t", "s", "level"):
            for shift, sign in ((-1, "− 1"), (1, "+ 1")):
                yield (
                    partial(_with, k, partial(operator.add, shift), solution),
                    f"You read the schedule at {name} {sign} instead of {name}. Index 0 is for "
                    "clean data, so no shift is needed.",
                )
        clipped = partial(_with, k, lambda value: value.clamp(-1, 1), solution)
        yield clipped, f"You clip `{name}` to [−1, 1]. {NOT_ITS_JOB}"
        yield partial(_just, k), f"You return `{name}` as it came."
    for j, k in combinations(range(len(names)), 2):
        swapped = f"`{names[j]}` and `{names[k]}` have swapped places."
        yield partial(_swapped, j, k, solution), swapped


def _with(k: int, change: Callable, solution: Callable, *given: Any) -> Any:
    return solution(*given[:k], change(given[k]), *given[k + 1 :])


def _swapped(j: int, k: int, solution: Callable, *given: Any) -> Any:
    return solution(*given[:j], given[k], *given[j + 1 : k], given[j], *given[k + 1 :])


def _just(k: int, *given: Any) -> Any:
    return given[k] + 0


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _of_expressions(solution: Callable) -> Iterator[tuple[Callable, str]]:
    """The solution with one expression in it mistaken."""
    tree = ast.parse(source_of(solution))
    for k, node in enumerate(ast.walk(tree)):
        for new, sentence in _mistaken(node):
            again = copy.deepcopy(tree)
            slipped = _Replace(list(ast.walk(again))[k], new).visit(again)
            yield _run(ast.fix_missing_locations(slipped), solution), sentence


def _mistaken(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Possible replacements of a node, each with its sentence."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as sign, right):
            turned, text = (ast.Sub(), "+") if isinstance(sign, ast.Add) else (ast.Add(), "−")
            yield ast.BinOp(left, turned, right), f"{_shown(right)} has the wrong sign."
            yield left, f"{_shown(right, text)} is missing."
            yield right, f"{_shown(left)} is missing."
        case ast.BinOp(left, ast.Mult(), right):
            yield left, f"The factor {_shown(right)} is missing."
            yield right, f"The factor {_shown(left)} is missing."
        case ast.BinOp(left, ast.Div(), right):
            yield left, f"You don't divide by {_shown(right)}."
            yield ast.BinOp(left, ast.Mult(), right), f"You multiply by {_shown(right)}. Divide."
            yield ast.BinOp(right, ast.Div(), left), f"The fraction {_shown(node)} is upside down."
        case ast.BinOp(left, ast.Pow(), right):
            yield left, f"{_shown(left)} lacks the power {_shown(right)}."
            if ast.unparse(right) == "2":
                yield _method(left, "abs"), f"You don't square {_shown(left)}, but take `abs`."
        case ast.Subscript(table, index) if (shown := ast.unparse(index)) in SHIFTED:
            for other in SHIFTED[shown]:
                new = ast.Subscript(table, ast.parse(other, mode="eval").body, ast.Load())
                yield new, f"{_shown(new)} stands where {_shown(node)} belongs."
        case ast.Call(ast.Attribute(inner, "square"), []):
            yield inner, f"The square of {_shown(inner)} is missing."
            yield _method(inner, "abs"), f"You don't square {_shown(inner)}, but take `abs`."
        case ast.Call(ast.Attribute(inner, name), arguments, keywords) if name in CONFUSED:
            other = CONFUSED[name]
            confused = ast.Call(ast.Attribute(inner, other, ast.Load()), arguments, keywords)
            yield confused, f"You take the `{other}` where the `{name}` is needed."
    if isinstance(node, ast.Call):
        clipped = _method(node, "clamp", ast.Constant(-1), ast.Constant(1))
        yield clipped, f"You clip {_shown(node)} to [−1, 1]. {NOT_ITS_JOB}"


def _method(inner: ast.expr, name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(inner, name, ast.Load()), list(arguments), [])


SHIFTED = {"t": ("t - 1", "t + 1"), "s": ("s - 1", "s + 1"), "t - 1": ("t", "t - 2")}
CONFUSED = {"mean": "sum", "sum": "mean", "std": "var", "var": "std"}
NOTATION = {"math.sqrt": "√", "torch.sqrt": "√", "abar_before": "ᾱ_{t−1}", "abar_s": "ᾱ_s",
            "abar_t": "ᾱ_t", "abar": "ᾱ_t", "beta": "β_t"}  # fmt: skip


def _shown(node: ast.AST, sign: str = "") -> str:
    text = f"{sign} {ast.unparse(node)}".strip()
    for code, symbol in NOTATION.items():
        text = re.sub(rf"\b{re.escape(code)}\b", symbol, text)
    return f"`{text}`"
