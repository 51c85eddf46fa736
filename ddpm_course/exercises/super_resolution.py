"""Exercises of the notebook on super-resolution: from a low resolution to a high one."""

import math

import torch
import torch.nn.functional as F  # noqa: F401 (slips use it)
from torch import Tensor

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import randn

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _high_res(seed: int = 0) -> Tensor:
    return 3 * randn(3, 3, 16, 24, seed=seed)


def _low_res(seed: int = 1) -> Tensor:
    return 2 * randn(3, 3, 4, 6, seed=seed)


def _bytes() -> list[tuple]:
    a, b = ((_high_res(seed) * 25 + 127.5).clamp(0, 255).to(torch.uint8) for seed in (0, 1))
    b[1] = (a[1].int() + torch.tensor([[[3]], [[-2]], [[1]]])).clamp(0, 255).to(torch.uint8)
    return [(a, b), (a[1:2, :, :5], b[1:2, :, :5]), (a[:2] // 2, b[:2] // 3)]


@exercises.add(
    "`(a.float() - b.float()).square().mean((1, 2, 3))` is one mean squared error per image.",
    _bytes,
    """
    .mean((1, 2, 3)) -> .mean()
    return (10 * (255**2 / error).log10()).mean()
        One number came for the whole batch. Each image has its own.
    (a.float() - b.float()) -> (a - b).float()
    (a.float() - b.float()).square() -> (a - b).square().float()
        Bytes wrap around: 3 − 5 is 254 in uint8. Convert to float before you subtract.
    log10() -> log()
        That is the natural logarithm. Decibels use log₁₀.
    255**2 -> 1
        The peak is missing. This is −10·log₁₀ of the error alone.
    """,
)
def psnr(a, b):
    """PSNR between images u8[N,3,H,W], in decibels: f[N]."""
    error = (a.float() - b.float()).square().mean((1, 2, 3))
    return 10 * (255**2 / error).log10()


@exercises.add(
    "Either `torch.nn.functional.avg_pool2d`, or view it as [N, 3, H, 4, W, 4] and take the mean "
    "over the two fours.",
    lambda: [(_high_res(),), (_high_res(1)[:1, :, :8].double().contiguous(),)],
    """
    return high_res[..., ::4, ::4]
    return high_res[..., 1::4, 1::4]
    return high_res[..., 2::4, 2::4]
    return high_res[..., 3::4, 3::4]
        This keeps one pixel of 16 and skips the others. Details finer than 4 pixels come out as a
        false pattern (aliasing). Take the mean.
    return F.interpolate(high_res, scale_factor=0.25, mode="bilinear")
        Bilinear interpolation looks at the 4 pixels in the middle of a block and skips the other
        12.
    return high_res.reshape(N, C, 4, height // 4, 4, width // 4).mean((2, 4))
        The view has the 4 and the number of blocks in the wrong order.
    """,
)
def average_pool(high_res):
    """f[N,3,4H,4W] -> f[N,3,H,W], the mean of each block of 4×4 pixels."""
    N, C, height, width = high_res.shape
    return high_res.view(N, C, height // 4, 4, width // 4, 4).mean((3, 5))


@exercises.add(
    "The mean of n independent samples has the variance σ²/n, and the truth has σ². Both count: "
    "the squared error is σ² + σ²/n. For a single sample it is 2σ².",
    lambda: [(1,), (2,), (4,), (12,), (1000,)],
    """
    2 * n / (n + 1) -> n
        You let the error shrink to zero as n grows. Averaging removes the spread of the samples,
        but the truth is still as far from their mean as before.
    return 10 * math.log10(2)
        This is the limit for very many samples. The mean of n still has 1/n of their variance.
    2 * n / (n + 1) -> n / (n + 1)
        This compares the mean of n samples with the blur. Compare it with a single sample, whose
        squared error is 2σ².
    10 * -> 20 *
        Twenty is for ratios of amplitudes. Squared errors take 10·log₁₀.
    log10 -> log
        That is the natural logarithm. Decibels use log₁₀.
    2 * n / (n + 1) -> (n + 1) / (2 * n)
        The ratio is upside down: a smaller error means more decibels.
    """,
)
def averaging_gain(n):
    """Decibels that the mean of n perfect samples has over a single one: a float."""
    return 10 * math.log10(2 * n / (n + 1))


@exercises.add(
    "`torch.cat([a, b], dim=1)` joins channels. Here b is `dc.upsampled(low_res)`.",
    lambda: [(_high_res(), _low_res()), (_high_res()[:1, :, :8], _low_res()[:1, :, :2])],
    """
    x_t, dc.upsampled(low_res) -> dc.upsampled(low_res), x_t
        The low-resolution image comes first. The noisy one should.
    dc.upsampled(low_res) -> F.interpolate(low_res, scale_factor=4)
        The low-resolution pixels are repeated as squares. Use `dc.upsampled`, which is smooth.
    """,
)
def conditioned_input(x_t, low_res):
    """x_t f[N,3,4H,4W] and low_res f[N,3,H,W] -> f[N,6,4H,4W]."""
    return torch.cat([x_t, dc.upsampled(low_res)], dim=1)


def _levels() -> list[tuple]:
    low_res, noise, level = _low_res(), 2.5 * randn(3, 3, 4, 6, seed=2), torch.tensor([1, 50, 200])
    rough = dc.linear_schedule(10, 0.05, 0.5)
    return [
        (low_res, level, noise, dc.cosine_schedule(1000)),
        (low_res[:2], torch.tensor([0, 9]), noise[:2], rough),
    ]


@exercises.add(
    "`dc.q_sample(low_res, level, noise, schedule)` is notebook 01's forward process. It takes one "
    "level per image.",
    _levels,
    """
    return dc.upsampled(low_res)
        No noise was added.
    (dc.q_sample(low_res, -> (low_res + dc.q_sample(0 * low_res,
        The noise is added to the whole image. The image should shrink by √ᾱ, too.
    return dc.upsampled((a := schedule.alphas_cumprod[level].float().view(-1, 1, 1, 1)) * low_res \
    + (1 - a) * noise)
        The square roots are missing.
    (low_res, level, noise, schedule)) -> (low_res, (level - 1).clamp(min=0), noise, schedule))
        Every level is one too low. Level 0 means no noise, so take ᾱ of the level itself.
    return F.interpolate(dc.q_sample(low_res, level, noise, schedule), scale_factor=4)
        The pixels are repeated as squares. Use `dc.upsampled`.
    (low_res, level, noise, schedule)) -> (low_res, int(level[0]), noise, schedule))
        All images got the level of the first. Each has its own.
    """,
)
def noised_condition(low_res, level, noise, schedule):
    """Low-resolution images f[N,3,H,W], noised to levels i64[N] and upsampled: f[N,3,4H,4W]."""
    return dc.upsampled(dc.q_sample(low_res, level, noise, schedule))


@exercises.add(
    "`low_res - dc.downsampled(x0)` is the error of the estimate, at the low resolution. Upsample "
    "it and add it.",
    lambda: [(_high_res(), _low_res()), (_high_res()[:1, :, :8], 3 * _low_res()[:1, :, :2])],
    """
    return dc.upsampled(low_res)
        This is the upsampled low-resolution image. All the detail of the estimate is lost.
    dc.upsampled(low_res - dc.downsampled(x0)) -> \
    F.interpolate(low_res - dc.downsampled(x0), scale_factor=4)
        The correction is upsampled by repeating pixels, which leaves edges between the blocks. Use
        `dc.upsampled`.
    dc.downsampled(x0) -> x0[..., ::4, ::4]
        The estimate is downsampled by skipping pixels. Use `dc.downsampled`.
    """,
)
def back_project(x0, low_res):
    """The estimate f[N,3,4H,4W], made consistent with the low-resolution image f[N,3,H,W]."""
    return x0 + dc.upsampled(low_res - dc.downsampled(x0))
