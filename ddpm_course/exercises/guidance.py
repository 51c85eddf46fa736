"""Exercises of the notebook on guidance: can I steer it?"""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.randomness import test_label_dropout
from ddpm_course.exercises.results import close, kind, randn, require

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


@exercises.add(
    "`torch.rand(len(y), generator=generator) < share` is True with probability `share`; "
    "`torch.where` or `masked_fill` puts `null_class` there.",
    test=lambda f: test_label_dropout(lambda y, null, share, g: f(y, share, null, g)),
)
def hide_labels(y, share, null_class, generator):
    """Labels i64[B], each replaced by null_class with probability `share`."""
    hidden = torch.rand(len(y), generator=generator) < share
    return y.masked_fill(hidden, null_class)


def _guesses(*weights: float) -> list[tuple]:
    """Two batches of guesses, for every weight."""
    a, b = 2 * randn(3, 2, 4, 4), 2 * randn(3, 2, 4, 4, seed=1)
    a = a * torch.tensor([1.5, 2.0, 4.0])[:, None, None, None] + 0.3
    return [*((a, b, w) for w in weights), (a[:1].double(), b[:1].double(), weights[0])]


@exercises.add(
    "At scale 0 the guess without label must come out, at scale 1 the one with it: a straight line "
    "through the two.",
    lambda: _guesses(3.0, 0.0, 1.0),
    """
    return x0_with_y + scale * (x0_with_y - x0_without)
        This starts from the guess *with* label, so scale 0 would be conditional already. Some
        papers count like that; here 1 is the plain conditional guess.
    """,
)
def guide(x0_with_y, x0_without, scale):
    """The guided guess: from the one without label through the one with it, and beyond."""
    return x0_without + scale * (x0_with_y - x0_without)


def _densities() -> list[tuple]:
    grid = torch.linspace(-1.4, 1.4, 301, dtype=torch.float64) ** 3  # finest in the middle
    density = torch.exp(-9 * (grid - 0.2) ** 2) + 0.3 * torch.exp(-4 * (grid + 1) ** 2)
    density = density / torch.trapezoid(density, grid)
    share = torch.sigmoid(2 * grid)
    probes = [(density, share, scale, grid) for scale in (3.0, 0.5)]
    return [*probes, (density / 2, 2 * share, 2.0, 2 * grid)]


@exercises.add(
    "Multiply `density` by `class_share ** scale`; then divide by the area under the product.",
    _densities,
    """
    torch.trapezoid(product, grid) -> product.sum()
        You divide by the sum of the values. The area under them counts, so use
        `torch.trapezoid(values, grid)`.
    density * class_share**scale -> (density * class_share) ** scale
        The power is on both factors. Only p(y|x) has it.
    """,
)
def sharpened(density, class_share, scale, grid):
    """p(x) p(y|x)^scale on the grid f[N], with area 1."""
    product = density * class_share**scale
    return product / torch.trapezoid(product, grid)


def _with_denoisers(f: Callable) -> Callable:
    """Which denoiser answers: 1 the guided one, −1 the plain one."""
    calls: list[int] = []

    def denoiser(sign: int) -> Callable:
        def denoise(x_t: Tensor, t: int) -> Tensor:
            calls.append(sign)
            return x_t + sign * t

        return denoise

    def answers(low: int, high: int) -> list:
        denoise, x = f(denoiser(-1), denoiser(1), low, high), randn(2, 3)
        function = callable(denoise) and not isinstance(denoise, Tensor)
        require(
            function,
            f"A *function* denoise(x_t, t) is needed, not a {kind(denoise)}. Define one inside.",
        )
        which = []
        for t in (low - 50, low, (low + high) // 2, high, high + 50):
            calls.clear()
            got = denoise(x, t)
            require(got is not None, "The inner function returned None: does it end in `return`?")
            require(len(calls) == 1, "Both denoisers are called at every step, which costs time.")
            expected = close(got, x + calls[0] * t)
            require(expected, f"At t = {t} neither of the two answers comes out.")
            which.append(calls[0])
        return which

    return answers


@exercises.add(
    "Define `def denoise(x_t, t):` inside, let it choose with `low <= t <= high`, and return the "
    "function itself, without brackets.",
    lambda: [(200, 600), (100, 300)],
    """
    guided(x_t, t) if -> plain(x_t, t) if; else plain -> else guided
        It is the wrong way round. Guide *between* low and high.
    low <= t <= high -> low < t < high
    low <= t <= high -> low <= t < high
    low <= t <= high -> low < t <= high
        At t = low and t = high it should be guided, too. Both ends belong to it.
    low <= t <= high -> t <= high
        Below `low` the plain denoiser should answer.
    low <= t <= high -> low <= t
        Above `high` the plain denoiser should answer.
    return plain
        Between low and high the guided denoiser should answer.
    """,
    through=_with_denoisers,
)
def within(plain, guided, low, high):
    """denoise(x_t, t) that is guided for low ≤ t ≤ high, and plain elsewhere."""

    def denoise(x_t, t):
        return guided(x_t, t) if low <= t <= high else plain(x_t, t)

    return denoise


@exercises.add(
    "`x.std((1, 2, 3), keepdim=True)` is one number per image, ready to multiply. Mix with "
    "`mix * a + (1 - mix) * b`.",
    lambda: _guesses(0.7, 0.0, 1.0),
    """
    * wanted / has -> * has / wanted
        The ratio is upside down. This makes the contrast stronger still.
    wanted = x0_with_y.std((1, 2, 3), keepdim=True) -> wanted = x0_with_y.std(); \
    has = x0_guided.std((1, 2, 3), keepdim=True) -> has = x0_guided.std()
        The standard deviation is taken over the whole batch. Each image has its own, so take it
        over the last three dimensions.
    wanted = x0_with_y.std((1, 2, 3) -> wanted = x0_with_y.std((2, 3); \
    has = x0_guided.std((1, 2, 3) -> has = x0_guided.std((2, 3)
        The standard deviation is taken channel by channel. Take one per image.
    return (1 - mix) * x0_guided * wanted / has + mix * x0_guided
        `mix` is the wrong way round. 0 leaves the guided guess as it is.
    return x0_guided * wanted / has
        This is the rescaled guess alone. Mix it with the guided one.
    return mix * x0_with_y + (1 - mix) * x0_guided
        You mix with the conditional guess. Mix the guided one with its rescaled self.
    """,
)
def rescaled(x0_guided, x0_with_y, mix):
    """The guided guess, brought by `mix` to the contrast of the conditional one; f[B,C,H,W]."""
    wanted = x0_with_y.std((1, 2, 3), keepdim=True)
    has = x0_guided.std((1, 2, 3), keepdim=True)
    return mix * x0_guided * wanted / has + (1 - mix) * x0_guided
