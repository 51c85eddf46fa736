"""Exercises of the notebook on super-resolution: from a small picture to a large one."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises, close, require, tensor_of
from ddpm_course.super_resolution.model import downsampled, upsampled

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

LARGE, SMALL = (3, 3, 16, 24), (3, 3, 4, 6)


def _draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(0.4).clamp(-1, 1)


def _tell(got: Tensor, mistakes: dict[str, Tensor]) -> None:
    """Raise `Wrong` with the first sentence whose tensor is the one that came."""
    for sentence, wrong in mistakes.items():
        require(not close(got, wrong), sentence)


def _test_psnr(f) -> None:
    a, b = (((_draw(LARGE, seed) + 1) * 127.5).to(torch.uint8) for seed in (0, 1))
    b[1] = (a[1].int() + torch.tensor([[[3]], [[-2]], [[1]]])).clamp(0, 255).to(torch.uint8)
    got = f(a, b)
    one = isinstance(got, float) or (isinstance(got, Tensor) and got.ndim == 0)
    require(not one, "one number came for the whole batch: each picture has its own.")
    got = tensor_of(got, (3,))
    error = (a.double() - b.double()).square().mean((1, 2, 3))
    wrapped = (a - b).double().square().mean((1, 2, 3))
    squared_bytes = (a - b).square().double().mean((1, 2, 3))
    absolute = (a.double() - b.double()).abs().mean((1, 2, 3))
    right = 10 * (255**2 / error).log10()
    around = "bytes wrap around: 3 − 5 is 254 in uint8. Convert to float before you subtract."
    for wrong in (wrapped, squared_bytes):
        require(not close(got, 10 * (255**2 / wrong).log10(), 1e-4), around)
    _tell(
        got.double(),
        {
            "the sign is turned: less error must give more decibels.": -right,
            "20·log₁₀ is for amplitudes, and the squared error is a power: take 10·log₁₀.": (
                2 * right
            ),
            "that is the natural logarithm; decibels want log₁₀.": right * math.log(10),
            "the peak is 255², not 255: it is compared with a *squared* error.": (
                10 * (255 / error).log10()
            ),
            "the peak is missing: this is −10·log₁₀ of the error alone.": -10 * error.log10(),
            "that is the mean absolute error; square it.": 10 * (255**2 / absolute).log10(),
            "that is the mean squared error; put it into the formula.": error,
        },
    )
    require(close(got, right, 1e-4), "it is not 10·log₁₀(255² / mean squared error).")


@exercises.add(
    _test_psnr,
    "`(a.float() - b.float()).square().mean((1, 2, 3))` is one mean squared error a picture.",
)
def psnr(a, b):
    """Decibels between pictures u8[N,3,H,W]: f[N]."""
    error = (a.float() - b.float()).square().mean((1, 2, 3))
    return 10 * (255**2 / error).log10()


def _test_block_mean(f) -> None:
    large = _draw(LARGE)
    got = f(large)
    half = isinstance(got, Tensor) and tuple(got.shape) == (3, 3, 8, 12)
    require(not half, "it is half as large; a quarter a side is wanted.")
    got = tensor_of(got, SMALL)
    skipped = "this keeps one pixel of 16 and skips the others: what is finer than 4 pixels comes "
    skipped += "out as a false pattern (aliasing). Take the mean."
    for row in range(4):
        for column in range(4):
            require(not close(got, large[..., row::4, column::4]), skipped)
    _tell(
        got,
        {
            "that is the sum of the block: divide by 16.": 16 * F.avg_pool2d(large, 4),
            "that is the brightest pixel of each block; the mean is wanted.": (
                F.max_pool2d(large, 4)
            ),
            "bilinear interpolation looks at the 4 pixels in the middle of a block and skips the "
            "other 12.": F.interpolate(large, scale_factor=0.25, mode="bilinear"),
        },
    )
    require(close(got, F.avg_pool2d(large, 4)), "it is not the mean of each block of 4×4 pixels.")


@exercises.add(
    _test_block_mean,
    "Either `torch.nn.functional.avg_pool2d`, or view it as [N, 3, H, 4, W, 4] and take the mean "
    "over the two fours.",
)
def block_mean(large):
    """f[N,3,4H,4W] -> f[N,3,H,W], the mean of each block of 4×4 pixels."""
    N, C, height, width = large.shape
    return large.view(N, C, height // 4, 4, width // 4, 4).mean((3, 5))


def _test_network_input(f) -> None:
    x_t, small = _draw(LARGE), _draw(SMALL, 1)
    got = f(x_t, small)
    batched = isinstance(got, Tensor) and got.shape[0] == 6
    require(not batched, "they are stacked as more pictures: join the *channels*, dimension 1.")
    three = isinstance(got, Tensor) and tuple(got.shape) == LARGE
    require(not three, "three channels came: keep the two pictures apart, six channels in all.")
    got = tensor_of(got, (3, 6, *LARGE[2:]))
    _tell(
        got,
        {
            "the small picture comes first; the noisy one is wanted first.": torch.cat(
                [upsampled(small), x_t], dim=1
            ),
            "the small picture's pixels are repeated as squares; use `enlarged`, which is "
            "smooth.": torch.cat([x_t, F.interpolate(small, scale_factor=4)], dim=1),
            "the small picture is tiled, not enlarged.": torch.cat(
                [x_t, small.repeat(1, 1, 4, 4)], dim=1
            ),
        },
    )
    right = torch.cat([x_t, upsampled(small)], dim=1)
    require(close(got, right), "channels 0 to 2 should be x_t, 3 to 5 the enlarged small picture.")


@exercises.add(
    _test_network_input,
    "`torch.cat([a, b], dim=1)` joins channels; `dc.upsampled(small)` is the b.",
)
def network_input(x_t, small):
    """x_t f[N,3,4H,4W] and small f[N,3,H,W] -> f[N,6,4H,4W]."""
    return torch.cat([x_t, dc.upsampled(small)], dim=1)


def _test_doubted(f) -> None:
    small, noise, schedule = _draw(SMALL), 2.5 * _draw(SMALL, 1), dc.cosine_schedule(1000)
    level = torch.tensor([0, 50, 200])
    got = f(small, level, noise, schedule)
    still = isinstance(got, Tensor) and tuple(got.shape) == SMALL
    require(not still, "it is still small: the network wants it enlarged.")
    got = tensor_of(got, LARGE)
    abar = schedule.alphas_cumprod[level].float()[:, None, None, None]
    before = schedule.alphas_cumprod[(level - 1).clamp(min=0)].float()[:, None, None, None]
    _tell(
        got,
        {
            "no noise was added.": upsampled(small),
            "the noise comes on top of the whole picture: it should shrink by √ᾱ, too.": upsampled(
                small + (1 - abar).sqrt() * noise
            ),
            "the square roots are missing.": upsampled(abar * small + (1 - abar) * noise),
            "signal and noise are exchanged.": upsampled(
                (1 - abar).sqrt() * small + abar.sqrt() * noise
            ),
            "every level is one too low: level 0 is no noise, so ᾱ of the level itself.": upsampled(
                before.sqrt() * small + (1 - before).sqrt() * noise
            ),
            "this is enlarged by repeating pixels; use `enlarged`.": F.interpolate(
                dc.q_sample(small, level, noise, schedule), scale_factor=4
            ),
        },
    )
    right = upsampled(dc.q_sample(small, level, noise, schedule))
    require(close(got, right), "it is not √ᾱ·small + √(1−ᾱ)·noise, enlarged.")


@exercises.add(
    _test_doubted,
    "`dc.q_sample(small, level, noise, schedule)` is notebook 01's forward process, and takes one "
    "level a picture.",
)
def doubted(small, level, noise, schedule):
    """Small pictures f[N,3,H,W], noised as levels i64[N] say, and enlarged: f[N,3,4H,4W]."""
    return dc.upsampled(dc.q_sample(small, level, noise, schedule))


def _test_held_to(f) -> None:
    x0, small = _draw(LARGE), _draw(SMALL, 1)
    got = tensor_of(f(x0, small), LARGE)
    lacks = small - downsampled(x0)
    _tell(
        got,
        {
            "nothing was changed.": x0,
            "this is the enlarged small picture: all that the network had drawn is lost.": (
                upsampled(small)
            ),
            "the sign is turned: add what is lacking, small minus reduced.": x0 - upsampled(lacks),
            "the whole small picture is added, not what is lacking of it.": x0 + upsampled(small),
            "this is the correction alone: add it to x0.": upsampled(lacks),
            "the two are averaged; only what disagrees should change.": (x0 + upsampled(small)) / 2,
            "the correction is enlarged by repeating pixels: that leaves edges between the blocks. "
            "Use `enlarged`.": x0 + F.interpolate(lacks, scale_factor=4),
            "the guess is made smaller by skipping pixels; use `reduced`.": x0
            + upsampled(small - x0[..., ::4, ::4]),
        },
    )
    right = x0 + upsampled(lacks)
    clipped = close(got, right.clamp(-1, 1))
    require(not clipped or close(got, right), "do not clip here: that comes at the end.")
    require(close(got, right), "it is not x0 + upsampled(small − downsampled(x0)).")


@exercises.add(
    _test_held_to,
    "`small - dc.downsampled(x0)` is what the guess lacks, at the small size. Bring it to "
    "the large size and add it.",
)
def held_to(x0, small):
    """The guess f[N,3,4H,4W], moved so that it agrees with small f[N,3,H,W]."""
    return x0 + dc.upsampled(small - dc.downsampled(x0))
