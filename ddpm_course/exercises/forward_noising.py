"""Exercises of notebook 01: the forward process."""

import math

import torch

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import randn

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _noise_step_probes() -> list[tuple]:
    x, noise = randn(4, 3), randn(4, 3, seed=1)
    return [
        (x, 500, noise, dc.linear_schedule(1000)),
        (x[:1].double(), 20, noise[:1].double(), dc.cosine_schedule(50)),
        (x, 4, noise, dc.linear_schedule(10, 0.05, 0.5)),
    ]


@exercises.add(
    "Eq. 2 is a mean and a variance. A sample of N(m, v) is m + √v · noise, and here m is √(1−β_t) "
    "times x. `schedule.betas[t]` is β_t.",
    _noise_step_probes,
    """
    beta = schedule.betas[t] -> beta = 1 - schedule.alphas_cumprod[t]
        You use ᾱ_t, which covers all t steps together. One step has β_t alone.
    """,
)
def noise_step(x, t, noise, schedule):
    """One step of noising: x_{t-1} -> x_t."""
    beta = schedule.betas[t].item()
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


@exercises.add(
    "`torch.cumprod` multiplies along a dimension. Build a tensor with a 1 in front of the 1 − β_t "
    "and take its cumulative product.",
    lambda: [
        (schedule.betas[1:].clone(),)
        for schedule in (dc.linear_schedule(1000), dc.cosine_schedule(50))
    ],
    """
    return (1 - betas).cumprod(0)
        Put ᾱ_0 = 1 in front, for the clean image. t runs from 0 to T, so there are T + 1 values.
    return alphas.cumprod(0)[:-1]
        ᾱ_T, the last value, is missing. t runs from 0 to T, so there are T + 1 values.
    1 - betas -> betas
        You multiplied the β_t. α_t is 1 − β_t.
    return torch.cat([alphas[:1], (1 - betas).cumsum(0)])
    return alphas.cumsum(0)
        You added the α_t up. Each step multiplies the rest, so take the product (`cumprod`).
    return alphas
        These are the single α_t. ᾱ_t is their product up to t.
    return torch.cat([torch.zeros(1), (1 - betas).cumprod(0)])
        ᾱ_0 is 0. Nothing is lost at t = 0, so it must be 1.
    """,
    tolerance=1e-6,
)
def alphas_cumprod(betas):
    """β_1..β_T -> ᾱ_0..ᾱ_T, with ᾱ_0 = 1."""
    alphas = torch.cat([torch.ones(1, dtype=betas.dtype), 1 - betas])
    return alphas.cumprod(0)


def _q_sample_probes() -> list[tuple]:
    x0, noise = 2 * randn(4, 3, 4, 5), randn(4, 3, 4, 5, seed=1)
    t, schedule = torch.tensor([2, 300, 700, 999]), dc.linear_schedule(1000)
    return [
        (x0, t, noise, schedule),
        (x0[:1].double(), t[1:2], noise[:1].double(), schedule),
        (x0[:3], torch.tensor([7, 1, 9]), noise[:3], dc.linear_schedule(10, 0.05, 0.5)),
    ]


@exercises.add(
    "`schedule.alphas_cumprod[t]` gives one ᾱ for each image of the batch, in float64. Reshape it "
    "to [B, 1, 1, 1] and convert it to the image's dtype, and Eq. 4 is one line.",
    _q_sample_probes,
    """
    .view(-1, 1, 1, 1) ->
        The factors don't line up with the images. t holds one time per image, so give its factors
        the shape [B, 1, 1, 1], for example with `.view(-1, 1, 1, 1)`.
    .view(-1, 1, 1, 1) -> .view(1, 1, -1, 1)
    .view(-1, 1, 1, 1) -> .view(1, -1, 1, 1)
        The factor changes within an image. t holds one time per image, so its factors belong to the
        first axis: give them the shape [B, 1, 1, 1].
    alphas_cumprod[t].view(-1, 1, 1, 1) -> alphas_cumprod[t[0]]
        All images of the batch got the same factors, though each has its own time in t.
    (1 - abar).sqrt() -> schedule.betas[t].view(-1, 1, 1, 1).sqrt().to(x0.dtype)
        You scaled the noise by √β_t, which is for the last step alone. The noise of all t steps
        together has variance 1−ᾱ_t.
    """,
)
def q_sample(x0, t, noise, schedule):
    """x_t for a batch of images x0 [B, C, H, W], each at its own time t [B]."""
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1).to(x0.dtype)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


@exercises.add(
    "Let u = t/T for t = 0..T. Compute f = cos²((u + s)/(1 + s) · π/2) for all of them at once, "
    "and divide by its first value.",
    lambda: [(100, 0.008), (37, 0.1)],
    """
    return f[1:] / f[0]
    return dc.cosine_schedule(T, s).alphas_cumprod[1:]
        There are T values, but t runs from 0 to T, so there must be T + 1.
    (u + s) / (1 + s) -> u
        s is not used. Without it β_1 is far smaller than a pixel's rounding.
    return dc.cosine_schedule(T, s).alphas_cumprod
        ᾱ_T is cut off, as in `cosine_schedule`. The curve before that ends in 0.
    return 1 - f[1:] / f[:-1]
    return dc.cosine_schedule(T, s).betas
    return torch.cat([torch.zeros(1), 1 - f[1:] / f[:-1]])
        These are the β_t. ᾱ_t is f itself, divided by its first value.
    """,
    tolerance=1e-6,
)
def cosine_alphas_cumprod(T, s):
    """ᾱ_0..ᾱ_T of the cosine schedule, before any clipping."""
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos() ** 2
    return f / f[0]


@exercises.add(
    "`schedule.log_snr[t]` is the value to find. Take its distance to every entry of "
    "`other.log_snr`; `argmin` says where the distance is smallest.",
    lambda: [
        (300, dc.linear_schedule(1000), dc.cosine_schedule(1000)),
        (20, dc.cosine_schedule(50), dc.linear_schedule(400)),
        (60, dc.linear_schedule(350), dc.sigmoid_schedule(90)),
    ],
    """
    return t
        You return t itself. The two schedules have different SNRs there.
    return round(t * other.T / schedule.T)
        You go equally far along both schedules. Time is only a label: compare `log_snr`.
    return int((other.betas - schedule.betas[t]).abs().argmin())
        You compare β_t, the noise of one step. SNR is about all steps up to t together.
    .abs() ->
        You take the smallest signed difference, which is at one end. Take its absolute value first.
    return int((other.log_snr - schedule.log_snr[t]).abs()[1:].argmin())
        You are one step early: `argmin` counts from the first entry that you kept.
    argmin -> argmax
        You take the largest distance. `argmin` gives the place of the smallest.
    return float(other.log_snr[(other.log_snr - schedule.log_snr[t]).abs().argmin()])
        You return the log-SNR that is nearest. Return the time at which `other` has it.
    """,
)
def same_snr(t, schedule, other):
    """The time on `other` whose log-SNR is nearest to that of `schedule` at time t >= 1."""
    distance = (other.log_snr - schedule.log_snr[t]).abs()
    return int(distance.argmin())


@exercises.add(
    "ᾱ_T falls as β_T grows, so bisect: keep an interval, try its middle with "
    "`dc.linear_schedule(T, 1e-4, middle)`, and keep the half that holds the target.",
    lambda: [(200, 1e-3), (350, 1e-4)],
    """
    return reached
        This is ᾱ_T, which reached the target. Return the β_T for it.
    return 0.02 * 1000 / T
        0.02 · 1000/T is a good guess, but it ends where T = 1000 does, whatever the target.
    reached > target -> reached > target**2
        You brought √ᾱ_T to the target. The target is for ᾱ_T.
    reached > target -> reached < target
    reached > target -> False
        This is an end of your interval. ᾱ_T falls as β_T grows, so where ᾱ_T is still above the
        target, β_T must become larger.
    """,
    tolerance=1e-4,
)
def beta_end_for(T, target):
    """The β_T that makes a linear schedule of T steps, from β_1 = 1e-4, end at ᾱ_T = target."""
    low, high = 1e-4, 0.999
    for _ in range(50):
        middle = (low + high) / 2
        reached = dc.linear_schedule(T, 1e-4, middle).alphas_cumprod[-1].item()
        low, high = (middle, high) if reached > target else (low, middle)
    return middle
