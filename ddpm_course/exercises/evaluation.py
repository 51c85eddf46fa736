"""Exercises of the notebook on evaluation: is it any good?"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.randomness import test_rows_per_class
from ddpm_course.exercises.results import is_number, randn

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _features(rows: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    width, to = torch.tensor([[0.5, 1.0, 2.0], [1.0, -0.5, 2.0]], dtype=torch.float64)
    return scale * width * randn(rows, 3, seed=seed, dtype=torch.float64) + shift * to


def _as_number(f: Callable) -> Callable:
    """f, with a number as tensor or float, in any precision."""

    def number(*given):
        got = f(*given)
        return float(got) if is_number(got) else got

    return number


@exercises.add(
    "`a.mean(0)` and `a.std(0)` have one entry per feature. Square the differences and sum up.",
    # so many rows that dividing by N or by N − 1 makes no difference
    lambda: [
        (_features(4000, 0), _features(5000, 1, 2.5, 0.8)),
        (_features(3000, 2)[:, :2], _features(3000, 3, 0.5)[:, :2]),
    ],
    """
    a.mean(0) - b.mean(0) -> a.mean() - b.mean(); a.std(0) - b.std(0) -> a.std() - b.std(); \
    (means + stds).sum() -> means + stds
        Mean and width are taken over all values together. Give `mean` and `std` the dimension 0, so
        that each feature has its own.
    return (means.sqrt() + stds.sqrt()).sum()
        The differences are not squared.
    .sum() ->
        There is one number per feature. Sum over the features.
    """,
    through=_as_number,
    tolerance=2e-3,
)
def frechet_diagonal(a, b):
    """Σ over features of (m_a − m_b)² + (s_a − s_b)², for features f[N,D] and f[M,D]."""
    means = (a.mean(0) - b.mean(0)).square()
    stds = (a.std(0) - b.std(0)).square()
    return (means + stds).sum()


@exercises.add(
    "`k = (x @ y.T / D + 1) ** 3` has all pairs at once. Within a set the diagonal goes: subtract "
    "`k.trace()` from `k.sum()`, and divide by N (N − 1).",
    lambda: [
        (_features(7, 0), _features(5, 1, shift=1.0)),
        (_features(4, 2)[:, :2], _features(9, 3)[:, :2]),
    ],
    """
    (k.sum() - k.trace()) / (n * (n - 1)) -> k.mean()
        Each image is compared with itself, too. Leave the diagonal out, else the distance is above
        0 even between two samples of one kind.
    """,
    through=_as_number,
)
def kernel_distance(a, b):
    """The unbiased kernel distance between features f[N,D] and f[M,D], one number."""

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x):
        k, n = kernel(x, x), len(x)
        return (k.sum() - k.trace()) / (n * (n - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()


@exercises.add(
    "`(labels == c).nonzero()[:, 0]` are the rows of class c; `torch.randperm(n, "
    "generator=generator)` shuffles them, and the first `number` are a sample.",
    test=test_rows_per_class,
)
def rows_per_class(labels, number, generator):
    """Row numbers i64: `number` of every class in labels i64[N], drawn without replacement."""
    drawn = []
    for c in labels.unique():
        rows = (labels == c).nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=generator)
        drawn.append(rows[order[:number]])
    return torch.cat(drawn)


@exercises.add(
    "The variances are plain numbers, so `math.log` takes them; the means are tensors, so the mean "
    "over all values comes at the end, and then the division by `math.log(2)`.",
    lambda: [
        (_features(4, 0), 0.3, _features(4, 1), 0.5),
        (_features(5, 2)[:, :1].float(), 2.0, _features(5, 3)[:, :1].float(), 0.7),
    ],
    """
    .mean() ->
        There is one number per value. Take the mean over all.
    square() / variance_p -> square() / variance_q
        The difference of the means is divided by q's variance. Divide by p's.
    variance_q / variance_p -> variance_q**2 / variance_p**2; \
    square() / variance_p -> square() / variance_p**2
        The variances are taken for standard deviations, and squared once more.
    """,
)
def gaussian_bits(mean_q, variance_q, mean_p, variance_p):
    """KL(q ‖ p) of two Gaussians in bits per value; means f[*], variances two numbers."""
    ratio = variance_q / variance_p
    square = (mean_q - mean_p).square() / variance_p
    nats = 0.5 * (ratio - 1 - math.log(ratio) + square)
    return nats.mean() / math.log(2)


def _distances() -> list[tuple]:
    drawn = torch.tensor([0.2, 0.8, 1.0, 1.0, 1.8], dtype=torch.float64)
    held_out = torch.tensor([0.6, 1.0, 1.2, 2.0], dtype=torch.float64)
    return [(drawn, held_out), (held_out + 0.4, drawn), (drawn, drawn.flip(0))]


@exercises.add(
    "`drawn[:, None] < held_out` compares every distance of a sample with every held-out one. "
    "Booleans have a mean once they are `.double()`.",
    _distances,
    """
    below + equal / 2 -> below
        Ties do not count. Give them one half.
    below + equal / 2 -> below + equal
        Ties count in full. Give them one half.
    .mean() -> .mean(1)
        There is one share per image. Take one over all pairs.
    return (drawn.mean() < held_out.mean()).double()
        Only the means are compared. Count pairs.
    return (drawn < held_out.mean()).double().mean()
        Each is compared with the mean of the others. Count pairs.
    """,
    through=_as_number,
)
def nearer_share(drawn, held_out):
    """The share of pairs where the sample's distance f[N] is below the held-out f[M]; ties ½."""
    below = (drawn[:, None] < held_out).double()
    equal = (drawn[:, None] == held_out).double()
    return (below + equal / 2).mean()
