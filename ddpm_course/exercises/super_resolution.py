"""Exercises of the notebook on super-resolution: from a low resolution to a high one."""

import torch
import torch.nn.functional as F  # noqa: F401 (slips use it)
from torch import Tensor

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import randn

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _large(seed: int = 0) -> Tensor:
    return 3 * randn(3, 3, 16, 24, seed=seed)


def _small(seed: int = 1) -> Tensor:
    return 2 * randn(3, 3, 4, 6, seed=seed)


def _bytes() -> list[tuple]:
    a, b = ((_large(seed) * 25 + 127.5).clamp(0, 255).to(torch.uint8) for seed in (0, 1))
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
    """Decibels between images u8[N,3,H,W]: f[N]."""
    error = (a.float() - b.float()).square().mean((1, 2, 3))
    return 10 * (255**2 / error).log10()


@exercises.add(
    "Either `torch.nn.functional.avg_pool2d`, or view it as [N, 3, H, 4, W, 4] and take the mean "
    "over the two fours.",
    lambda: [(_large(),), (_large(1)[:1, :, :8].double().contiguous(),)],
    """
    return large[..., ::4, ::4]
    return large[..., 1::4, 1::4]
    return large[..., 2::4, 2::4]
    return large[..., 3::4, 3::4]
        This keeps one pixel of 16 and skips the others. Details finer than 4 pixels come out as a
        false pattern (aliasing). Take the mean.
    return F.interpolate(large, scale_factor=0.25, mode="bilinear")
        Bilinear interpolation looks at the 4 pixels in the middle of a block and skips the other
        12.
    return large.reshape(N, C, 4, height // 4, 4, width // 4).mean((2, 4))
        The view has the 4 and the number of blocks in the wrong order.
    """,
)
def block_mean(large):
    """f[N,3,4H,4W] -> f[N,3,H,W], the mean of each block of 4×4 pixels."""
    N, C, height, width = large.shape
    return large.view(N, C, height // 4, 4, width // 4, 4).mean((3, 5))


@exercises.add(
    "`torch.cat([a, b], dim=1)` joins channels; `dc.upsampled(small)` is the b.",
    lambda: [(_large(), _small()), (_large()[:1, :, :8], _small()[:1, :, :2])],
    """
    x_t, dc.upsampled(small) -> dc.upsampled(small), x_t
        The low-resolution image comes first. The noisy one should.
    dc.upsampled(small) -> F.interpolate(small, scale_factor=4)
        The low-resolution pixels are repeated as squares. Use `upsampled`, which is smooth.
    """,
)
def network_input(x_t, small):
    """x_t f[N,3,4H,4W] and small f[N,3,H,W] -> f[N,6,4H,4W]."""
    return torch.cat([x_t, dc.upsampled(small)], dim=1)


def _levels() -> list[tuple]:
    small, noise, level = _small(), 2.5 * randn(3, 3, 4, 6, seed=2), torch.tensor([1, 50, 200])
    rough = dc.linear_schedule(10, 0.05, 0.5)
    return [
        (small, level, noise, dc.cosine_schedule(1000)),
        (small[:2], torch.tensor([0, 9]), noise[:2], rough),
    ]


@exercises.add(
    "`dc.q_sample(small, level, noise, schedule)` is notebook 01's forward process, and takes one "
    "level per image.",
    _levels,
    """
    return dc.upsampled(small)
        No noise was added.
    (dc.q_sample(small, -> (small + dc.q_sample(0 * small,
        The noise is added to the whole image. The image should shrink by √ᾱ, too.
    return dc.upsampled((a := schedule.alphas_cumprod[level].float()[:, None, None, None]) * small \
    + (1 - a) * noise)
        The square roots are missing.
    (small, level, noise, schedule)) -> (small, (level - 1).clamp(min=0), noise, schedule))
        Every level is one too low. Level 0 means no noise, so take ᾱ of the level itself.
    return F.interpolate(dc.q_sample(small, level, noise, schedule), scale_factor=4)
        This is enlarged by repeating pixels. Use `upsampled`.
    (small, level, noise, schedule)) -> (small, int(level[0]), noise, schedule))
        All images got the level of the first. Each has its own.
    """,
)
def doubted(small, level, noise, schedule):
    """Low-resolution images f[N,3,H,W], noised to levels i64[N] and upsampled: f[N,3,4H,4W]."""
    return dc.upsampled(dc.q_sample(small, level, noise, schedule))


@exercises.add(
    "`small - dc.downsampled(x0)` is missing from the guess, at the low resolution. Bring it to "
    "the high resolution and add it.",
    lambda: [(_large(), _small()), (_large()[:1, :, :8], 3 * _small()[:1, :, :2])],
    """
    return dc.upsampled(small)
        This is the upsampled low-resolution image. Every detail of the network is lost.
    dc.upsampled(small - dc.downsampled(x0)) -> \
    F.interpolate(small - dc.downsampled(x0), scale_factor=4)
        The correction is enlarged by repeating pixels, which leaves edges between the blocks. Use
        `upsampled`.
    dc.downsampled(x0) -> x0[..., ::4, ::4]
        The guess is downsampled by skipping pixels. Use `downsampled`.
    """,
)
def held_to(x0, small):
    """The guess f[N,3,4H,4W], made consistent with the low-resolution image f[N,3,H,W]."""
    return x0 + dc.upsampled(small - dc.downsampled(x0))
