"""Exercises of the notebook on evaluation: is it any good?"""

import math
from typing import Any

import torch
from torch import Tensor

from ddpm_course.evaluation.distances import kernel_distance as unbiased
from ddpm_course.evaluation.distances import nearer_share as share_below
from ddpm_course.exercises.checking import Exercises, close, require

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _features(rows: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    width = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)  # every feature another spread
    return scale * width * torch.randn(rows, 3, generator=draw, dtype=torch.float64) + shift


def _number(got, otherwise: str = "one number is wanted") -> float:
    require(got is not None, "it returned None: does the function end with `return`?")
    shape = tuple(getattr(got, "shape", ()))
    require(math.prod(shape) == 1, f"{otherwise}; this has shape {shape}.")
    value = float(got)
    require(math.isfinite(value), "the result is NaN or infinite.")
    return value


def _tell(got: float, mistakes: dict[str, Any]) -> None:
    for sentence, wrong in mistakes.items():
        require(not close(got, float(wrong), 1e-6), sentence)


def _test_frechet_diagonal(f) -> None:
    a, b = _features(40, 0), _features(50, 1, scale=1.5, shift=0.3)
    means, stds = (a.mean(0) - b.mean(0)).square(), (a.std(0) - b.std(0)).square()
    variances = (a.var(0) - b.var(0)).square()
    many = "a sum over the features is wanted, one number"
    got = _number(f(a, b), many)
    biased = (a.std(0, correction=0) - b.std(0, correction=0)).square()
    whole = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    mistakes = {
        "only the means are compared: two clouds with one centre can differ in width.": means.sum(),
        "only the widths are compared: what about the means?": stds.sum(),
        "the variances are compared; the formula has standard deviations.": (
            means + variances
        ).sum(),
        "this is the mean over the features; take their sum.": (means + stds).mean(),
        "this is the root of it: the Fréchet distance is used squared, as the FID is.": (
            (means + stds).sum() ** 0.5
        ),
        "mean and width are taken over all values together: give `mean` and `std` the dimension 0, "
        "so that each feature has its own.": whole,
        "the differences are not squared.": (means**0.5 + stds**0.5).sum(),
    }
    _tell(got, mistakes)
    right = (means + stds).sum()
    require(
        close(got, right, 1e-6) or close(got, (means + biased).sum(), 1e-6),
        f"for our two clouds it is {right:.4f}, and yours is {got:.4f}.",
    )
    require(close(_number(f(a, a)), 0.0), "from a set to itself it should be 0.")


@exercises.add(
    _test_frechet_diagonal,
    "`a.mean(0)` and `a.std(0)` have one entry a feature. Square the differences and sum up.",
)
def frechet_diagonal(a, b):
    """Σ over features of (m_a − m_b)² + (s_a − s_b)², for features f[N,D] and f[M,D]."""
    means = (a.mean(0) - b.mean(0)).square()
    stds = (a.std(0) - b.std(0)).square()
    return (means + stds).sum()


def _test_kernel_distance(f) -> None:
    a, b = _features(7, 0), _features(5, 1, shift=1.0)

    def k(x: Tensor, y: Tensor, power: int = 3, width: float = 3, plus: float = 1) -> Tensor:
        return (x @ y.T / width + plus) ** power

    def distance(within=None, cross=2.0, **how) -> float:
        def own(x: Tensor) -> Tensor:
            values = k(x, x, **how)
            n = len(x)
            return (
                (values.sum() - values.trace()) / (n * (n - 1))
                if within is None
                else within(values)
            )

        return float(own(a) + own(b) - cross * k(a, b, **how).mean())

    got = _number(f(a, b))
    off = distance(lambda v: (v - torch.diag(v.diag())).mean())
    mistakes = {
        "each picture is compared with itself, too: leave the diagonal out, else the distance is "
        "above 0 even between two draws of one kind.": distance(torch.mean),
        "the diagonal is set to 0 but still counted: divide by N (N − 1).": off,
        "the product across is subtracted once; it counts twice.": distance(cross=1.0),
        "the product across is added; what the sets have in common makes them nearer.": (
            distance(cross=-2.0)
        ),
        "the kernel lacks the power of 3.": distance(power=1),
        "the products are not divided by D, the number of features.": distance(width=1),
        "the kernel lacks the + 1.": distance(plus=0),
        "this is the root: the kernel distance is used squared, since below 0 there is no root.": (
            max(distance(), 0) ** 0.5
        ),
    }
    _tell(got, mistakes)
    require(close(got, unbiased(a, b), 1e-6), f"it is {unbiased(a, b):.5f}, and yours {got:.5f}.")
    require(close(_number(f(b, a)), got, 1e-6), "swapping the two sets changes it.")


@exercises.add(
    _test_kernel_distance,
    "`k = (x @ y.T / D + 1) ** 3` has all pairs at once. Within a set the diagonal goes: subtract "
    "`k.trace()` from `k.sum()`, and divide by N (N − 1).",
)
def kernel_distance(a, b):
    """The unbiased kernel distance between features f[N,D] and f[M,D], one number."""

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x):
        k, n = kernel(x, x), len(x)
        return (k.sum() - k.trace()) / (n * (n - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()


def _test_rows_per_class(f) -> None:
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 2, 1, 0, 0, 1, 2, 2])
    draws = []
    for seed in range(30):
        draw = torch.Generator().manual_seed(seed)
        got = f(labels, 3, draw)
        require(got is not None, "it returned None: does the function end with `return`?")
        rows = torch.as_tensor(got).flatten()
        require(rows.dtype == torch.int64, "row numbers are wanted, as int64, to index with.")
        require(len(rows) > 0 and int(rows.max()) < 16, "a row beyond the last one came.")
        as_labels = (
            len(rows) == 9 and rows.tolist() == sorted(rows.tolist()) and int(rows.max()) < 3
        )
        require(not as_labels, "these are labels; the *rows* that have them are wanted.")
        places = len(rows.unique()) < len(rows) == 9 and int(rows.max()) < int(
            labels.bincount().max()
        )
        require(not places, "these are places within a class: look up which rows stand there.")
        require(len(rows.unique()) == len(rows), "a row came twice: draw without putting back.")
        counts = labels[rows].bincount(minlength=3).tolist()
        require(
            counts == [3, 3, 3],
            f"of the three classes {counts} rows came, where 3 of each are wanted.",
        )
        draws.append(sorted(rows.tolist()))
    first = sorted(k for c in range(3) for k in (labels == c).nonzero()[:3, 0].tolist())
    require(draws[0] != first or draws[1] != first, "these are the first of each class: draw them.")
    require(len({tuple(d) for d in draws}) > 1, "every seed draws the same rows: use `generator`.")
    again = torch.as_tensor(f(labels, 3, torch.Generator().manual_seed(0))).flatten()
    require(sorted(again.tolist()) == draws[0], "the same generator draws other rows: use it.")
    seen = torch.tensor(draws).flatten().bincount(minlength=16)
    require(bool((seen > 0).all()), "some rows are never drawn, in 30 tries.")


@exercises.add(
    _test_rows_per_class,
    "`(labels == c).nonzero()[:, 0]` are the rows of class c; `torch.randperm(n, "
    "generator=generator)` shuffles them, and the first `number` are a draw.",
)
def rows_per_class(labels, number, generator):
    """Row numbers i64: `number` of every class in labels i64[N], drawn without putting back."""
    drawn = []
    for c in labels.unique():
        rows = (labels == c).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        drawn.append(rows[order[:number]])
    return torch.cat(drawn)


def _test_gaussian_bits(f) -> None:
    q, p = _features(4, 0), _features(4, 1)
    v, w = 0.3, 0.5

    def bits(a=q, b=p, v=v, w=w, half=0.5, log=math.log, one=1.0, reduce=torch.mean) -> float:
        return float(reduce(half * (v / w - one - log(v / w) + (a - b).square() / w)) / math.log(2))

    got = _number(f(q, v, p, w), "the mean over all values is wanted, one number")
    mistakes = {
        "this is in nats: divide by ln 2.": bits() * math.log(2),
        "this is the sum over all values; bits *per value* are wanted.": bits(reduce=torch.sum),
        "it is twice too large: the formula has a ½ in front.": bits(half=1.0),
        "the two have changed places: q is the first, and it is p's variance that divides.": bits(
            p, q, w, v
        ),
        "the difference of the means is not squared.": float(
            (0.5 * (v / w - 1 - math.log(v / w) + (q - p) / w)).mean() / math.log(2)
        ),
        "the difference of the means is divided by q's variance; it is p that pays.": float(
            (0.5 * (v / w - 1 - math.log(v / w) + (q - p).square() / v)).mean() / math.log(2)
        ),
        "the variances are taken for standard deviations, and squared once more.": bits(
            v=v * v, w=w * w
        ),
        "the logarithm has the wrong sign.": bits(log=lambda x: -math.log(x)),
        "the −1 is missing: from a Gaussian to itself it must be 0.": bits(one=0.0),
        "only the means are compared; the variances differ, too.": float(
            ((q - p).square() / (2 * w)).mean() / math.log(2)
        ),
    }
    _tell(got, mistakes)
    require(close(got, bits(), 1e-6), f"it is {bits():.5f} bits, and yours is {got:.5f}.")
    require(close(_number(f(q, v, q, v)), 0.0), "from a Gaussian to itself it should be 0.")


@exercises.add(
    _test_gaussian_bits,
    "The variances are plain numbers, so `math.log` takes them; the means are tensors, so the mean "
    "over all values comes at the end, and then the division by `math.log(2)`.",
)
def gaussian_bits(mean_q, variance_q, mean_p, variance_p):
    """KL(q ‖ p) of two Gaussians in bits per value; means f[*], variances two numbers."""
    ratio = variance_q / variance_p
    square = (mean_q - mean_p).square() / variance_p
    nats = 0.5 * (ratio - 1 - math.log(ratio) + square)
    return nats.mean() / math.log(2)


def _test_nearer_share(f) -> None:
    drawn = torch.tensor([0.1, 0.4, 0.5, 0.5, 0.9], dtype=torch.float64)
    held_out = torch.tensor([0.3, 0.5, 0.6, 1.0], dtype=torch.float64)
    pairs = drawn[:, None] - held_out
    below, equal = (pairs < 0).double().mean(), (pairs == 0).double().mean()
    got = _number(f(drawn, held_out), "one share is wanted, over all pairs")
    mistakes = {
        "this is the chance of being *farther*: near means a *small* distance.": (
            1 - below - equal / 2
        ),
        "ties do not count: give them one half.": below,
        "ties count in full: give them one half.": below + equal,
        "this is a number of pairs; divide by how many there are.": (below + equal / 2) * 20,
        "only the means are compared: count pairs.": float(drawn.mean() < held_out.mean()),
        "each is compared with the mean of the others: count pairs.": (
            (drawn < held_out.mean()).double().mean()
        ),
    }
    _tell(got, mistakes)
    right = share_below(drawn, held_out)
    require(close(got, right, 1e-6), f"it is {right:.3f}, and yours is {got:.3f}.")
    require(close(_number(f(drawn, drawn)), 0.5), "a set against itself must give ½.")


@exercises.add(
    _test_nearer_share,
    "`drawn[:, None] < held_out` compares every drawn distance with every held-out one. Booleans "
    "have a mean once they are `.double()`.",
)
def nearer_share(drawn, held_out):
    """The share of pairs where the drawn distance f[N] is below the held-out one f[M]; ties ½."""
    below = (drawn[:, None] < held_out).double()
    equal = (drawn[:, None] == held_out).double()
    return (below + equal / 2).mean()
