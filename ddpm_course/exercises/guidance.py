"""Exercises of the notebook on guidance: can I steer it?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_course.diffusion import Denoiser
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import close, kind, randn, require
from ddpm_course.schedules import linear_schedule

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _predictions(*weights: float) -> list[tuple]:
    """Two batches of predictions, for every weight."""
    a, b = 2 * randn(3, 2, 4, 4), 2 * randn(3, 2, 4, 4, seed=1)
    a = a * torch.tensor([1.5, 2.0, 4.0])[:, None, None, None] + 0.3
    return [*((a, b, w) for w in weights), (a[:1].double(), b[:1].double(), weights[0])]


@exercises.add(
    "At scale 0 you need the prediction without label, at scale 1 the one with it. Go along the "
    "straight line through the two.",
    lambda: _predictions(3.0, 0.0, 1.0),
    """
    return x0_with_y + scale * (x0_with_y - x0_without)
        This starts from the prediction *with* label, so scale 0 is conditional already. Some papers
        count like that. Here scale 1 is the plain conditional prediction.
    """,
)
def guide(x0_with_y, x0_without, scale):
    """The guided prediction: from the one without label through the one with it, and beyond."""
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


NOTHING_INSIDE = "The inner function returned None: does it end in `return`?"


def _require_function(denoise: object) -> None:
    function = callable(denoise) and not isinstance(denoise, Tensor)
    require(
        function,
        f"A *function* denoise(x_t, t) is needed, not a {kind(denoise)}. Define one inside.",
    )


class _Labelled(nn.Module):
    """Predicts x_0 of a size that tells the labels apart, often beyond ±1."""

    null_class = 4

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        size = torch.tensor([0.2, 0.9, 1.3, 0.5, 0.1])[y]
        return x * (size + t / 1000)[:, None, None, None]


def _with_a_network(f: Callable) -> Callable:
    """What the answer predicts for a network with four labels."""
    x, y, avoid = randn(3, 2, 4, 4), torch.tensor([0, 1, 2]), torch.tensor([3, 0, 0])

    def answers(scale: float, t: int) -> Tensor:
        denoise = f(Denoiser(_Labelled(), linear_schedule(1000), "x0"), y, avoid, scale)
        _require_function(denoise)
        got = denoise(x, t)
        require(got is not None, NOTHING_INSIDE)
        return got

    return answers


@exercises.add(
    "It's `guide` again, with the prediction for `avoid` where the one without label was. Get both "
    "from `denoiser.predict_x0(x_t, t, y=...)`, which doesn't clip, and clip the result.",
    lambda: [(2.0, 300), (0.5, 700), (1.0, 1)],
    """
    .clamp(-1, 1) ->
        Clip the combined prediction to [−1, 1], since images have that range.
    denoiser.predict_x0(x_t, t, y=y) -> denoiser(x_t, t, y=y); \
    denoiser.predict_x0(x_t, t, y=avoid) -> denoiser(x_t, t, y=avoid)
        Calling the denoiser clips each prediction before you combine them. Use `predict_x0`, and
        clip once at the end.
    (unwanted + scale * (wanted - unwanted)) -> (wanted + scale * (unwanted - wanted))
        `y` and `avoid` have swapped places. Go away from `avoid`.
    y=avoid) -> y=torch.full_like(y, denoiser.net.null_class))
        You go away from the null class, as plain guidance does. Go away from `avoid`.
    (unwanted + scale -> (wanted + scale
        Start from the prediction for `avoid`, so that scale 1 is the plain conditional one.
    return denoiser.bind(y=y)
        This is the plain conditional denoiser. Combine two predictions.
    """,
    through=_with_a_network,
)
def away_from(denoiser, y, avoid, scale):
    """denoise(x_t, t), guided towards labels y i64[B] and away from labels avoid i64[B]."""

    def denoise(x_t, t):
        wanted = denoiser.predict_x0(x_t, t, y=y)
        unwanted = denoiser.predict_x0(x_t, t, y=avoid)
        return (unwanted + scale * (wanted - unwanted)).clamp(-1, 1)

    return denoise


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
        _require_function(denoise)
        which = []
        for t in (low - 50, low, (low + high) // 2, high, high + 50):
            calls.clear()
            got = denoise(x, t)
            require(got is not None, NOTHING_INSIDE)
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
    lambda: _predictions(0.7, 0.0, 1.0),
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
        `mix` is the wrong way round. 0 leaves the guided prediction as it is.
    return x0_guided * wanted / has
        This is the rescaled prediction alone. Mix it with the guided one.
    return mix * x0_with_y + (1 - mix) * x0_guided
        You mix with the conditional prediction. Mix the guided one with its rescaled self.
    """,
)
def rescaled(x0_guided, x0_with_y, mix):
    """The guided prediction f[B,C,H,W], its contrast brought back by `mix`."""
    wanted = x0_with_y.std((1, 2, 3), keepdim=True)
    has = x0_guided.std((1, 2, 3), keepdim=True)
    return mix * x0_guided * wanted / has + (1 - mix) * x0_guided
