"""Exercises of notebook 01: the forward process."""

import math

import torch
from torch import Tensor

import ddpm_course as dc
from ddpm_course.diffusion import q_sample as package_q_sample
from ddpm_course.exercises.checking import Exercises, Wrong, close, require, tensor_of
from ddpm_course.schedules import NoiseSchedule, cosine_schedule, linear_schedule

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

SCHEDULE = linear_schedule(1000)


def _factors(f, shape: tuple[int, ...], *arguments) -> tuple[Tensor, Tensor]:
    """What f(x, ..., noise, ...) multiplies image and noise by: it must be linear in both."""
    one, zero = torch.ones(shape), torch.zeros(shape)
    nothing, again = (
        tensor_of(f(zero, arguments[0], zero, *arguments[1:]), shape) for _ in range(2)
    )
    require(
        bool((nothing == again).all()),
        "asked the same twice, it gives two results: use the noise that is handed in, and draw "
        "none of your own.",
    )
    require(
        close(nothing, zero),
        "without image and without noise something is left: the result must be a multiple of the "
        "image plus a multiple of the noise, and nothing else.",
    )
    signal = f(one, arguments[0], zero, *arguments[1:])
    return signal, f(zero, arguments[0], one, *arguments[1:])


def _test_noise_step(f) -> None:
    for schedule, t in ((SCHEDULE, 500), (cosine_schedule(50), 20)):
        _test_noise_step_of(f, schedule, t)


def _test_noise_step_of(f, schedule: NoiseSchedule, t: int) -> None:
    beta = schedule.betas
    signal, noise = (tensor_of(v, (4, 3)) for v in _factors(f, (4, 3), t, schedule))
    b, a = noise[0, 0].item(), signal[0, 0].item()
    here, root = beta[t].item(), math.sqrt(beta[t])
    for wrong in (t - 1, t + 1):
        require(
            not close(b, math.sqrt(beta[wrong]), 1e-6),
            f"you used β_{wrong} for the step to t = {t}: `schedule.betas[t]` is β_t, and index 0 "
            "holds a 0 for clean data.",
        )
    require(
        not close(b, here),
        "your noise is multiplied by β_t, so its variance is β_t²; a variance of β_t needs the "
        "standard deviation √β_t.",
    )
    require(
        not (close(b, math.sqrt(1 - here)) and close(a, root)),
        "image and noise have swapped their factors: the image keeps √(1−β_t), nearly all of it.",
    )
    require(
        not close(a, 1.0),
        "you add noise without shrinking the image first: the variance would grow at every step. "
        "Multiply x by √(1−β_t).",
    )
    require(
        not close(a, 1 - here),
        "the image is multiplied by 1−β_t; variances are multiplied by that, values by its root.",
    )
    require(close(b, root), f"the noise is multiplied by {b:.4g}; √β_t is {root:.4g}.")
    keep = math.sqrt(1 - here)
    require(close(a, keep), f"the image is multiplied by {a:.6g}; √(1−β_t) is {keep:.6g}.")


@exercises.add(
    _test_noise_step,
    "Eq. 2 is a mean and a variance. A sample of N(m, v) is m + √v · noise, and here m is √(1−β_t) "
    "times x. `schedule.betas[t]` is β_t.",
)
def noise_step(x, t, noise, schedule):
    """One step of noising: x_{t-1} -> x_t."""
    beta = schedule.betas[t].item()
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


def _test_alphas_cumprod(f) -> None:
    betas = SCHEDULE.betas[1:]
    wanted, got = SCHEDULE.alphas_cumprod, f(betas)
    if isinstance(got, Tensor) and tuple(got.shape) == (1000,):
        raise Wrong(
            "there are 1000 values for T = 1000, but t runs from 0 to T: put ᾱ_0 = 1 in front, for "
            "the clean image."
        )
    got = tensor_of(got, (1001,))
    require(not close(got[1:], betas.cumprod(0)), "you multiplied the β_t; α_t is 1 − β_t.")
    require(
        not close(got[1:], (1 - betas).cumsum(0)),
        "you added the α_t up; each step multiplies what is left, so take the product (`cumprod`).",
    )
    require(
        not close(got[1:], 1 - betas), "these are the single α_t; ᾱ_t is their product up to t."
    )
    require(
        not close(got, wanted.sqrt()),
        "these are √ᾱ_t, the factors of the image; ᾱ_t itself is the share of its variance.",
    )
    require(got[0].item() == 1, f"ᾱ_0 is {got[0]:.4g}; nothing is lost at t = 0, so it is 1.")
    require(close(got, wanted), f"ᾱ_T is {got[-1]:.4g}; for the linear schedule it is 4.036e-05.")
    other = cosine_schedule(50)
    require(
        close(f(other.betas[1:]), other.alphas_cumprod),
        "it is right for one schedule only: work with the `betas` that are handed in.",
    )


@exercises.add(
    _test_alphas_cumprod,
    "`torch.cumprod` multiplies along a dimension. Build a tensor with a 1 in front of the 1 − β_t "
    "and take its cumulative product.",
)
def alphas_cumprod(betas):
    """β_1..β_T -> ᾱ_0..ᾱ_T, with ᾱ_0 = 1."""
    alphas = torch.cat([torch.ones(1, dtype=betas.dtype), 1 - betas])
    return alphas.cumprod(0)


def _test_q_sample(f) -> None:
    t, shape = torch.tensor([1, 300, 700, 1000]), (4, 3, 4, 5)
    abar = SCHEDULE.alphas_cumprod
    try:
        signal, noise = (tensor_of(v, shape) for v in _factors(f, shape, t, SCHEDULE))
    except RuntimeError as error:
        if "size of tensor" not in str(error) and "shape" not in str(error):
            raise
        raise Wrong(
            "the factors do not line up with the images: t holds one time per image, so give its "
            "factors the shape [B, 1, 1, 1], for example with `.view(-1, 1, 1, 1)`."
        ) from error
    a, b = signal[:, 0, 0, 0], noise[:, 0, 0, 0]
    require(
        bool((signal[:, :1, :1, :1] == signal).all()),
        "the factor changes within an image: t holds one time per image, so its factors belong to "
        "the first axis; give them the shape [B, 1, 1, 1].",
    )
    require(
        not (close(a, a[:1].expand(4), 1e-6) and close(b, b[:1].expand(4), 1e-6)),
        "all images of the batch got the same factors, though each has its own time in t.",
    )
    for shift in (-1, 1):
        index = (t + shift).clamp(0, 1000)
        require(
            not close(b, (1 - abar[index]).sqrt(), 1e-6),
            "you read ᾱ one step off: `alphas_cumprod[t]` is ᾱ_t, because index 0 holds ᾱ_0 = 1.",
        )
    require(
        not close(b, 1 - abar[t]),
        "your noise is multiplied by 1−ᾱ_t, which is its variance; multiply by the standard "
        "deviation √(1−ᾱ_t).",
    )
    require(
        not close(b, SCHEDULE.betas[t].sqrt()),
        "you scaled the noise by √β_t, that of the last step alone; the noise of all t steps "
        "together has variance 1−ᾱ_t.",
    )
    require(not close(a, abar[t]), "the image is multiplied by ᾱ_t; it keeps √ᾱ_t.")
    require(
        not (close(a, (1 - abar[t]).sqrt()) and close(b, abar[t].sqrt())),
        "image and noise have swapped their factors.",
    )
    require(close(a, abar[t].sqrt()), "the factors of the image are not √ᾱ_t.")
    require(close(b, (1 - abar[t]).sqrt()), "the factors of the noise are not √(1−ᾱ_t).")
    draw = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(shape, generator=draw) for _ in range(2))
    same = close(f(x0, t, eps, SCHEDULE), package_q_sample(x0, t, eps, SCHEDULE))
    require(same, "on random images it differs from `ddpm_course.q_sample`.")


@exercises.add(
    _test_q_sample,
    "`schedule.alphas_cumprod[t]` gives one ᾱ for each image of the batch, in float64. Reshape it "
    "to [B, 1, 1, 1] and convert it to the image's dtype, and Eq. 4 is one line.",
)
def q_sample(x0, t, noise, schedule):
    """x_t for a batch of images x0 [B, C, H, W], each at its own time t [B]."""
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1).to(x0.dtype)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def _test_cosine_alphas_cumprod(f) -> None:
    T, s = 100, 0.008
    u = torch.arange(T + 1, dtype=torch.float64) / T

    def curve(offset: float, power: int) -> Tensor:
        return ((u + offset) / (1 + offset) * math.pi / 2).cos() ** power

    got, right = f(T, s), curve(s, 2) / curve(s, 2)[0]
    if isinstance(got, Tensor) and tuple(got.shape) == (T,):
        raise Wrong(f"there are {T} values; t runs from 0 to T, so there must be {T + 1}.")
    got = tensor_of(got, (T + 1,))
    require(
        not close(got, curve(s, 2), 1e-6),
        f"ᾱ_0 is {got[0]:.6f}, not 1: divide by f(0), so that nothing is lost at t = 0.",
    )
    require(not close(got, curve(s, 1) / curve(s, 1)[0]), "the cosine is not squared.")
    require(
        not close(got, curve(0.0, 2), 1e-6),
        "s is not used: without it β_1 is far smaller than a pixel's rounding.",
    )
    told = "ᾱ_T is cut off, as in `cosine_schedule`; the curve before that ends in 0."
    require(close(got[-1], 0.0, 1e-9) or not close(got[:-1], right[:-1], 1e-6), told)
    require(close(got, right, 1e-6), "the values differ from Eq. 17 of Nichol & Dhariwal.")
    told = f"the values are right, but {got.dtype}: a schedule's table is in torch.float64."
    require(got.dtype == torch.float64, told)
    schedule = cosine_schedule(T).alphas_cumprod
    require(close(got[:-1], schedule[:-1], 1e-6), "it differs from `cosine_schedule`.")


@exercises.add(
    _test_cosine_alphas_cumprod,
    "Let u = t/T for t = 0..T. Compute f = cos²((u + s)/(1 + s) · π/2) for all of them at once, "
    "and divide by its first value.",
)
def cosine_alphas_cumprod(T, s):
    """ᾱ_0..ᾱ_T of the cosine schedule, before any clipping."""
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos() ** 2
    return f / f[0]


def _test_beta_end_for(f) -> None:
    for T, target in ((350, 1e-4), (200, 1e-3)):
        got = f(T, target)
        require(got is not None, "it returned None: does the function end with `return`?")
        got = float(got)
        require(0 < got < 1, f"β_T must lie between 0 and 1; you returned {got:.4g}.")
        require(
            1.1e-4 < got < 0.9,
            f"β_T = {got:.4g} cannot be. If you bisect, it is an end of your interval: ᾱ_T falls "
            "as β_T grows, so where ᾱ_T is still above the target, β_T must become larger.",
        )
        reached = linear_schedule(T, 1e-4, got).alphas_cumprod[-1].item()
        require(
            not math.isclose(math.sqrt(reached), target, rel_tol=1e-2),
            "you brought √ᾱ_T to the target; the target is for ᾱ_T.",
        )
        require(
            not math.isclose(got, 0.02 * 1000 / T, rel_tol=1e-3),
            "0.02 · 1000/T is a good guess, but it ends where T = 1000 does, whatever the target.",
        )
        require(
            math.isclose(reached, target, rel_tol=1e-2),
            f"for T = {T} your β_T = {got:.5f} ends in ᾱ_T = {reached:.3g}, not {target:.3g}.",
        )


@exercises.add(
    _test_beta_end_for,
    "ᾱ_T falls as β_T grows, so bisect: keep an interval, try its middle with "
    "`dc.linear_schedule(T, 1e-4, middle)`, and keep the half that holds the target.",
)
def beta_end_for(T, target):
    """The β_T with which a linear schedule of T steps, from β_1 = 1e-4, ends in ᾱ_T = target."""
    low, high = 1e-4, 0.999
    for _ in range(50):
        middle = (low + high) / 2
        reached = dc.linear_schedule(T, 1e-4, middle).alphas_cumprod[-1].item()
        low, high = (middle, high) if reached > target else (low, middle)
    return middle
