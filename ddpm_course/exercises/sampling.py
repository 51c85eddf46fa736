"""Exercises of the notebook on sampling: from noise to an image."""

import math

import torch

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import randn

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _images(number: int, count: int = 2, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [randn(count, 3, 8, 8, seed=seed, dtype=dtype) for seed in range(number)]


def _steps(*, noise: bool) -> list[tuple]:
    """x_t, x0_hat, t, s, perhaps a noise, and a schedule."""
    x_t, x0, eps = _images(3)
    last = (eps,) if noise else ()
    long = [(700, 500), (1000, 980), (500, 499), (300, 100), (20, 0), (1, 0)]
    double = (v[:1].double() for v in (x_t, x0))
    return [
        *((x_t, x0, t, s, *last, dc.linear_schedule(1000)) for t, s in long),
        (*double, 30, 10, *(v[:1].double() for v in last), dc.cosine_schedule(50)),
    ]


@exercises.add(
    "Begin with α = ᾱ_t/ᾱ_s, as a float, with `.item()`. The two factors of the mean and the "
    "variance follow from it. A sample of N(m, v) is m + √v · noise.",
    lambda: _steps(noise=True),
    """
    alpha = abar_t / abar_s -> alpha = 1 - schedule.betas[t].item()
        You took 1−β_t for α, which is right for s = t − 1 alone. A step from t to s keeps the share
        ᾱ_t/ᾱ_s of the variance.
    alpha = abar_t / abar_s -> alpha = abar_t
        You took ᾱ_t for α. That is the way from 0 to t, and α is the part of it from s to t.
    variance = (1 - abar_s) / (1 - abar_t) * (1 - alpha) -> variance = 1 - alpha
        You use the larger variance 1−α, which adds noise even at s = 0. The posterior's own is
        smaller, and 0 there.
    return math.sqrt(abar_s) * x0_hat + math.sqrt(1 - abar_s) * noise
        You noise x0_hat to s and forget x_t. That jumps to another image instead of going on from
        this one.
    abar_s = schedule.alphas_cumprod[s] -> abar_s = schedule.alphas_cumprod[t - 1]
        You went to t − 1 instead of s. A step may be longer than 1.
    math.sqrt(variance) -> math.sqrt(max(variance, 1e-4))
    math.sqrt(variance) -> math.sqrt(variance if s > 0 else 1e-4)
        At s = 0 you still add noise, and it would stay in the image. The variance is 0 there.
    from_x0 * x0_hat + from_x_t * x_t -> from_x_t * x0_hat + from_x0 * x_t
        The two factors of the mean have swapped places. √ᾱ_s belongs to x0_hat.
    """,
)
def ddpm_step(x_t, x0_hat, t, s, noise, schedule):
    """One ancestral step, from t to s < t: a sample of q(x_s | x_t, x0_hat)."""
    abar_t = schedule.alphas_cumprod[t].item()
    abar_s = schedule.alphas_cumprod[s].item()
    alpha = abar_t / abar_s
    from_x0 = math.sqrt(abar_s) * (1 - alpha) / (1 - abar_t)
    from_x_t = math.sqrt(alpha) * (1 - abar_s) / (1 - abar_t)
    variance = (1 - abar_s) / (1 - abar_t) * (1 - alpha)
    return from_x0 * x0_hat + from_x_t * x_t + math.sqrt(variance) * noise


@exercises.add(
    "x_t is √ᾱ_t of x0_hat plus √(1−ᾱ_t) of a noise eps. Find eps, then mix the same two again in "
    "the shares of s. With η = 0 no other noise is added.",
    lambda: _steps(noise=False),
    """
    alphas_cumprod[s] -> alphas_cumprod[t - 1]
        You used t − 1 instead of s. Take ᾱ_s as it comes.
    math.sqrt(1 - abar_s) -> math.sqrt(1 - abar_t)
        The second term keeps √(1−ᾱ_t), so none of the noise goes. Use √(1−ᾱ_s).
    return dc.q_posterior(x0_hat, x_t, t, s, schedule)[0]
        This is the mean of a DDPM step, without its noise. Eq. 12 puts all of √(1−ᾱ_s) eps back.
    """,
    tolerance=1e-4,
)
def ddim_step(x_t, x0_hat, t, s, schedule):
    """One step of DDIM with η = 0, from t to s < t: the same eps, less of it."""
    abar_t = schedule.alphas_cumprod[t].item()
    abar_s = schedule.alphas_cumprod[s].item()
    eps = (x_t - math.sqrt(abar_t) * x0_hat) / math.sqrt(1 - abar_t)
    return math.sqrt(abar_s) * x0_hat + math.sqrt(1 - abar_s) * eps


def _points() -> list[tuple]:
    x_t, x0 = (image.double().view(-1, 2) for image in _images(2))
    probes = [(x_t, x0, t, dc.linear_schedule(1000)) for t in (300, 100, 700)]
    return [*probes, (x_t[:1].float(), x0[:1].float(), 20, dc.cosine_schedule(50))]


@exercises.add(
    "Given x_0, x_t is Gaussian with mean √ᾱ_t x_0 and variance 1−ᾱ_t. Take the gradient of its "
    "log density in x_t, then put x0_hat for x_0.",
    _points,
    """
    return (x_t - math.sqrt(abar) * x0_hat) / math.sqrt(1 - abar)
        This is eps. Change its sign and divide by √(1−ᾱ_t).
    / (1 - abar) -> / math.sqrt(1 - abar)
        This is −eps. Divide it by √(1−ᾱ_t) once more.
    return x0_hat - x_t
        This is x0_hat − x_t, the way to the clean image, which is not yet a score.
    """,
    tolerance=1e-4,
)
def score(x_t, x0_hat, t, schedule):
    """∇ log q(x_t), if x0_hat is E[x_0 | x_t]."""
    abar = schedule.alphas_cumprod[t].item()
    return (math.sqrt(abar) * x0_hat - x_t) / (1 - abar)


def _pairs() -> list[tuple]:
    """x0_hat, x0_before, t_before, t, s and a schedule."""
    now, before = _images(2)
    times = [(1000, 700, 500), (900, 850, 400), (300, 290, 289), (120, 60, 1), (60, 20, 0)]
    short = (now[:1].double(), before[:1].double(), 40, 25, 3, dc.cosine_schedule(50))
    return [*((now, before, *t, dc.linear_schedule(1000)) for t in times), short]


@exercises.add(
    "λ is `schedule.log_snr / 2`. The line rises by (x0_hat − x0_before) in a stride of h_before. "
    "From t on, follow it for half of the next stride h. First of all return x0_hat if s is 0.",
    _pairs,
    """
    h / (2 * h_before) -> h / h_before
        You follow the line to the end of the stride. Its value in the middle stands for all of it.
    h / (2 * h_before) -> (t - s) / (2 * (t_before - t))
        You measure the strides in t. The line is straight in λ, so measure them in λ.
    h / (2 * h_before) -> h_before / (2 * h)
        The fraction is upside down. A longer step ahead follows the line further.
    h / (2 * h_before) -> 1 / 2
        You take both strides to be equally long. Divide h by h_before.
    return x0_hat + h / (2 * h_before) * (x0_before - x0_hat)
        You go back along the line, towards the older guess. Go on in the direction it has.
    return x0_before + h / (2 * h_before) * (x0_hat - x0_before)
        You start from the older guess. Start from x0_hat, the value at t.
    if s == 0 -> if s == -1
        At s = 0 there is no noise, so λ is infinite and so is the stride. Return x0_hat there.
    """,
    tolerance=1e-4,
)
def look_ahead(x0_hat, x0_before, t_before, t, s, schedule):
    """The guess in mid-stride from t to s, on a line through those at t_before and t."""
    if s == 0:
        return x0_hat
    lam = schedule.log_snr / 2
    h = (lam[s] - lam[t]).item()
    h_before = (lam[t] - lam[t_before]).item()
    return x0_hat + h / (2 * h_before) * (x0_hat - x0_before)


def _noises() -> list[tuple]:
    a, b = _images(2)
    b = 0.6 * a + 0.8 * b  # about 53° apart, so that sin θ is not 1
    double = (a[:1].double(), b[:1].double())
    weights = (0.3, 0.0, 1.0, 0.5)
    return [*((a, b, w) for w in weights), (a[:1], 2 * b[:1], 0.7), (*double, 0.2)]


@exercises.add(
    "The cosine of the angle is the sum of a · b over all pixels, divided by both lengths; `acos` "
    "gives θ. The rest is the formula.",
    _noises,
    """
    return (1 - w) * a + w * b
        You mix in a straight line. In the middle the variance of two noises falls to ½, and the
        image looks flat.
    theta = torch.acos( -> theta = (180 / math.pi) * torch.acos(
        The angle is in degrees. `sin` takes radians, as `acos` gives.
    return math.cos(w * math.pi / 2) * a + math.sin(w * math.pi / 2) * b
        θ is taken as 90°. Two noises only come near that, so measure it.
    (a * b).sum() / (a.norm() * b.norm()) -> torch.cosine_similarity(a, b)[:, None]
    (a * b).sum() / (a.norm() * b.norm()) -> torch.cosine_similarity(a, b)
    (a * b).sum() -> (a * b).sum((1, 2, 3), keepdim=True); \
    a.norm() * b.norm() -> a.norm(dim=(1, 2, 3), keepdim=True) * b.norm(dim=(1, 2, 3), keepdim=True)
        You take many angles. a and b are one long vector each, with one angle between.
    """,
)
def slerp(a, b, w):
    """From noise a (w = 0) to noise b (w = 1) along the sphere, each taken as one vector."""
    theta = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)


def _masked() -> list[tuple]:
    x_s, x0, noise = _images(3)
    here = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    here[0, :, 2:6, 1:5] = here[1, :, 3:, :2] = True
    long = dc.linear_schedule(1000)
    return [
        (x_s, x0, here.float(), 400, noise, long),
        (x_s, x0, here, 400, noise, long),
        (x_s[:1], x0[:1], ~here[:1], 3, noise[:1], dc.cosine_schedule(50)),
    ]


@exercises.add(
    "x_s has the noise of s, so the known part needs as much: `dc.q_sample` brings x0_known there. "
    "Then choose pixel by pixel, with `torch.where`.",
    _masked,
    """
    known, x_s) -> x_s, known)
        The mask is inverted. Where it is 1, the image is known.
    known, x_s) -> x0_known, x_s)
        You paste the clean image. x_s is noisy, so bring x0_known to s first.
    return mask * known
        You keep nothing of x_s where the mask is 0. That part is being sampled.
    return dc.q_sample(torch.where(mask.bool(), x0_known, x_s), s, noise, schedule)
        You noise x_s as well, though it is at s already. Noise x0_known alone.
    return mask * known + (1 - mask) * x_s
    return mask.float() * known + ~mask * x_s
    return known * mask + x_s * (~mask)
    mask.bool() -> mask
        It stops at one kind of mask. Float and bool masks both come, so convert, as in
        `mask.bool()`.
    """,
)
def keep_known(x_s, x0_known, mask, s, noise, schedule):
    """x_s, with the known image noised to s in its place where mask is 1."""
    known = dc.q_sample(x0_known, s, noise, schedule)
    return torch.where(mask.bool(), known, x_s)
