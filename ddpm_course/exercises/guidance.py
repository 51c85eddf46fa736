"""Exercises of the notebook on guidance: can I steer it?"""

import torch
from torch import Tensor

from ddpm_course.exercises.checking import Exercises, close, require, tensor_of

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

SHAPE = (3, 2, 4, 4)


def _images(number: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=draw) for _ in range(number)]


def _tell(got: Tensor, mistakes: dict[str, Tensor]) -> None:
    """Raise `Wrong` with the first sentence whose tensor is the one that came."""
    for sentence, wrong in mistakes.items():
        require(not close(got, wrong), sentence)


def _test_hide_labels(f) -> None:
    y = torch.arange(10_000) % 102
    shares = {}
    for share in (0.1, 0.4):
        got = tensor_of(f(y, share, 102, torch.Generator().manual_seed(0)), (10_000,))
        require(got.dtype == torch.int64, f"labels are int64; yours are {got.dtype}.")
        changed = got != y
        zeros = bool((got[changed] == 0).all()) and bool(changed.any())
        require(not zeros, "you hide with label 0, which is a species: use `null_class`.")
        require(
            bool((got[changed] == 102).all()), "a label became another species: only hide labels."
        )
        shares[share] = changed.double().mean().item()
        block = bool(changed[: int(share * 10_000)].all())
        require(not block, "the first labels are hidden, always the same: choose at random.")
    hidden = shares[0.4]
    require(hidden > 0, "no label is hidden.")
    require(hidden < 1, "all labels are hidden.")
    kept = abs(hidden - 0.6) < 0.05 and abs(shares[0.1] - 0.9) < 0.05
    require(not kept, "you hide what should be kept: `share` is what is hidden.")
    require(abs(hidden - 0.4) < 0.03, f"with share 0.4, {hidden:.0%} are hidden.")
    first, again, other = (
        f(y, 0.4, 102, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    require(torch.equal(first, again), "the same generator hides other labels: use it.")
    require(not torch.equal(first, other), "another generator hides the same labels: use it.")


@exercises.add(
    _test_hide_labels,
    "`torch.rand(len(y), generator=generator) < share` is True with probability `share`; "
    "`torch.where` or `masked_fill` puts `null_class` there.",
)
def hide_labels(y, share, null_class, generator):
    """Labels i64[B], each replaced by null_class with probability `share`."""
    hidden = torch.rand(len(y), generator=generator) < share
    return y.masked_fill(hidden, null_class)


def _test_guide(f) -> None:
    with_y, without = _images(2)
    for scale in (3.0, 0.0, 1.0):
        got = tensor_of(f(with_y, without, scale), SHAPE)
        right = without + scale * (with_y - without)
        mistakes = {
            "the two have changed places: start from the guess without label.": with_y
            + scale * (without - with_y),
            "the sign is wrong: this runs away from the label.": without
            - scale * (with_y - without),
            "this starts from the guess *with* label: scale 0 would be conditional already. Some "
            "papers count so; here 1 is the plain conditional guess.": with_y
            + scale * (with_y - without),
            "the two are added: guidance follows their *difference*.": without + scale * with_y,
            "this is the difference alone; it is added to the guess without label.": scale
            * (with_y - without),
            "you clip here. The denoiser clips once, after combining.": right.clamp(-1, 1),
            "both are clipped before they are combined: what lies beyond 1 is lost.": (
                without.clamp(-1, 1) + scale * (with_y.clamp(-1, 1) - without.clamp(-1, 1))
            ),
        }
        if not close(got, right):
            _tell(got, mistakes)
        require(close(got, right), f"at scale {scale:g} it is not as in the formula.")


@exercises.add(
    _test_guide,
    "At scale 0 the guess without label must come out, at scale 1 the one with it: a straight line "
    "through the two.",
)
def guide(x0_with_y, x0_without, scale):
    """The guided guess: from the one without label through the one with it, and beyond."""
    return x0_without + scale * (x0_with_y - x0_without)


def _test_sharpened(f) -> None:
    grid = torch.linspace(-3, 3, 601, dtype=torch.float64)
    density = torch.exp(-((grid - 0.5) ** 2)) + 0.3 * torch.exp(-4 * (grid + 1) ** 2)
    density = density / torch.trapezoid(density, grid)
    share = torch.sigmoid(2 * grid)

    def normal(values: Tensor) -> Tensor:
        return values / torch.trapezoid(values, grid)

    for scale in (3.0, 0.5):
        got = tensor_of(f(density, share, scale, grid), (601,))
        right = density * share**scale
        mistakes = {
            "its area is not 1: divide by `torch.trapezoid(..., grid)`.": right,
            "you divide by the sum of the values; the area under them counts, so use "
            "`torch.trapezoid(values, grid)`.": right / right.sum(),
            "the power is on both factors; only p(y|x) has it.": normal((density * share) ** scale),
            "the power is on the density; it belongs to p(y|x).": normal(density**scale * share),
            "p(y|x) is multiplied by the scale; it is its power, since logarithms add.": normal(
                density * share * scale
            ),
            "this is p(y|x) to the power alone: what about p(x)?": normal(share**scale),
        }
        if not close(got, normal(right)):
            _tell(got, mistakes)
        require(close(got, normal(right)), f"at scale {scale:g} it is another density.")


@exercises.add(
    _test_sharpened,
    "Multiply `density` by `class_share ** scale`; then divide by the area under the product.",
)
def sharpened(density, class_share, scale, grid):
    """p(x) p(y|x)^scale on the grid f[N], with area 1."""
    product = density * class_share**scale
    return product / torch.trapezoid(product, grid)


def _test_within(f) -> None:
    x = _images(1)[0]
    calls: list[str] = []

    def plain(x_t: Tensor, t: int) -> Tensor:
        calls.append("plain")
        return x_t + t

    def strong(x_t: Tensor, t: int) -> Tensor:
        calls.append("strong")
        return x_t - t

    denoise = f(plain, strong, 200, 600)
    require(denoise is not None, "it returned None: does the function end with `return`?")
    tensor = isinstance(denoise, Tensor)
    require(not tensor, "a *function* denoise(x_t, t) is wanted, not a tensor: define one inside.")
    require(callable(denoise), f"a function is wanted, not {type(denoise).__name__}.")
    which = {}
    for t in (100, 200, 400, 600, 800):
        calls.clear()
        got = tensor_of(denoise(x, t), SHAPE)
        which[t] = "strong" if close(got, x - t) else "plain" if close(got, x + t) else "neither"
        require(which[t] != "neither", f"at t = {t} neither of the two answers comes out.")
        require(len(calls) == 1, "both denoisers are asked at every step; asking costs time.")
    inside, outside = which[400] == "strong", which[100] == which[800] == "plain"
    turned = not inside and not outside
    require(not turned, "it is the wrong way round: guided *between* low and high.")
    require(inside, "at t = 400, between low and high, the guided denoiser should answer.")
    require(which[100] == "plain", "below `low` the plain denoiser should answer.")
    require(which[800] == "plain", "above `high` the plain denoiser should answer.")
    ends = which[200] == which[600] == "strong"
    require(ends, "at t = low and t = high it should be guided, too: both ends belong to it.")


@exercises.add(
    _test_within,
    "Define `def denoise(x_t, t):` inside, let it choose with `low <= t <= high`, and return the "
    "function itself, without brackets.",
)
def within(plain, guided, low, high):
    """denoise(x_t, t) that is guided for low ≤ t ≤ high, and plain elsewhere."""

    def denoise(x_t, t):
        return guided(x_t, t) if low <= t <= high else plain(x_t, t)

    return denoise


def _test_rescaled(f) -> None:
    guided, with_y = _images(2)
    guided = guided * torch.tensor([1.5, 2.0, 4.0])[:, None, None, None] + 0.3
    dims = (1, 2, 3)

    def ratio(*dim: int) -> Tensor:
        own = dim or dims
        return with_y.std(own, keepdim=True) / guided.std(own, keepdim=True)

    for mix in (0.7, 0.0, 1.0):
        got = tensor_of(f(guided, with_y, mix), SHAPE)
        right = guided * (1 + mix * (ratio() - 1))
        mistakes = {
            "the ratio is upside down: this makes it stronger still.": guided
            * (1 + mix * (1 / ratio() - 1)),
            "one standard deviation is taken over the whole batch: each picture has its own, so "
            "take it over the last three dimensions.": guided
            * (1 + mix * (with_y.std() / guided.std() - 1)),
            "the standard deviation is taken channel by channel: one a picture is wanted.": guided
            * (1 + mix * (ratio(2, 3) - 1)),
            "`mix` is the wrong way round: 0 leaves the guided guess as it is.": guided
            * (1 + (1 - mix) * (ratio() - 1)),
            "this is the rescaled guess alone: mix it with the guided one.": guided * ratio(),
            "you mix with the conditional guess; mix the guided one with its rescaled self.": (
                mix * with_y + (1 - mix) * guided
            ),
            "variances are compared; scale by standard deviations.": guided
            * (1 + mix * (ratio() ** 2 - 1)),
        }
        if not close(got, right):
            _tell(got, mistakes)
        require(close(got, right), f"at mix = {mix:g} it is not as in the formula.")


@exercises.add(
    _test_rescaled,
    "`x.std((1, 2, 3), keepdim=True)` is one number a picture, ready to multiply. Mix with "
    "`mix * a + (1 - mix) * b`.",
)
def rescaled(x0_guided, x0_with_y, mix):
    """The guided guess, brought by `mix` to the contrast of the conditional one; f[B,C,H,W]."""
    wanted = x0_with_y.std((1, 2, 3), keepdim=True)
    has = x0_guided.std((1, 2, 3), keepdim=True)
    return mix * x0_guided * wanted / has + (1 - mix) * x0_guided
