"""Plausible wrong answers to the exercises on super-resolution, and what each is told."""

import torch
import torch.nn.functional as F

from ddpm_course.diffusion import q_sample
from ddpm_course.super_resolution.model import downsampled, upsampled


def _error(a, b):
    return (a.float() - b.float()).square().mean((1, 2, 3))


def psnr__one_number(a, b):
    return 10 * (255**2 / (a.float() - b.float()).square().mean()).log10()


def psnr__bytes(a, b):
    return 10 * (255**2 / (a - b).float().square().mean((1, 2, 3))).log10()


def psnr__sign(a, b):
    return 10 * (_error(a, b) / 255**2).log10()


def psnr__twenty(a, b):
    return 20 * (255**2 / _error(a, b)).log10()


def psnr__natural(a, b):
    return 10 * (255**2 / _error(a, b)).log()


def psnr__peak(a, b):
    return 10 * (255 / _error(a, b)).log10()


def psnr__no_peak(a, b):
    return -10 * _error(a, b).log10()


def psnr__absolute(a, b):
    return 10 * (255**2 / (a.float() - b.float()).abs().mean((1, 2, 3))).log10()


def psnr__mse(a, b):
    return _error(a, b)


def psnr__other(a, b):
    return 255 / _error(a, b)


def block_mean__skips(large):
    return large[..., ::4, ::4]


def block_mean__half(large):
    return F.avg_pool2d(large, 2)


def block_mean__sum(large):
    return F.avg_pool2d(large, 4, divisor_override=1)


def block_mean__max(large):
    return F.max_pool2d(large, 4)


def block_mean__bilinear(large):
    return F.interpolate(large, scale_factor=0.25, mode="bilinear")


def block_mean__wrong_view(large):
    N, C, height, width = large.shape
    return large.reshape(N, C, 4, height // 4, 4, width // 4).mean((2, 4))


def network_input__batch(x_t, small):
    return torch.cat([x_t, upsampled(small)])


def network_input__sum(x_t, small):
    return x_t + upsampled(small)


def network_input__order(x_t, small):
    return torch.cat([upsampled(small), x_t], dim=1)


def network_input__squares(x_t, small):
    return torch.cat([x_t, F.interpolate(small, scale_factor=4)], dim=1)


def network_input__tiles(x_t, small):
    return torch.cat([x_t, small.repeat(1, 1, 4, 4)], dim=1)


def network_input__bilinear(x_t, small):
    return torch.cat([x_t, F.interpolate(small, scale_factor=4, mode="bilinear")], dim=1)


def network_input__not_enlarged(x_t, small):
    return torch.cat([x_t, small], dim=1)


def doubted__small(small, level, noise, schedule):
    return q_sample(small, level, noise, schedule)


def doubted__no_noise(small, level, noise, schedule):
    return upsampled(small)


def doubted__on_top(small, level, noise, schedule):
    _, b = schedule.signal_noise(level, small)
    return upsampled(small + b * noise)


def doubted__no_roots(small, level, noise, schedule):
    a, b = schedule.signal_noise(level, small)
    return upsampled(a**2 * small + b**2 * noise)


def doubted__exchanged(small, level, noise, schedule):
    a, b = schedule.signal_noise(level, small)
    return upsampled(b * small + a * noise)


def doubted__one_too_low(small, level, noise, schedule):
    return upsampled(q_sample(small, (level - 1).clamp(min=0), noise, schedule))


def doubted__squares(small, level, noise, schedule):
    return F.interpolate(q_sample(small, level, noise, schedule), scale_factor=4)


def doubted__one_level(small, level, noise, schedule):
    return upsampled(q_sample(small, int(level[0]), noise, schedule) + 0.1)


def held_to__nothing(x0, small):
    return x0


def held_to__small_alone(x0, small):
    return upsampled(small)


def held_to__sign(x0, small):
    return x0 + upsampled(downsampled(x0) - small)


def held_to__whole(x0, small):
    return x0 + upsampled(small)


def held_to__correction(x0, small):
    return upsampled(small - downsampled(x0))


def held_to__average(x0, small):
    return 0.5 * x0 + 0.5 * upsampled(small)


def held_to__squares(x0, small):
    return x0 + F.interpolate(small - downsampled(x0), scale_factor=4)


def held_to__skips(x0, small):
    return x0 + upsampled(small - x0[..., ::4, ::4])


def held_to__clips(x0, small):
    return (x0 + upsampled(small - downsampled(x0))).clamp(-1, 1)


def held_to__half(x0, small):
    return x0 + 0.5 * upsampled(small - downsampled(x0))


WRONG = {
    psnr__one_number: "each picture has its own",
    psnr__bytes: "bytes wrap around",
    psnr__sign: "less error must give more decibels",
    psnr__twenty: "20·log₁₀ is for amplitudes",
    psnr__natural: "natural logarithm",
    psnr__peak: "the peak is 255², not 255",
    psnr__no_peak: "the peak is missing",
    psnr__absolute: "the mean absolute error; square it",
    psnr__mse: "put it into the formula",
    psnr__other: "it is not 10·log₁₀",
    block_mean__skips: "false pattern (aliasing)",
    block_mean__half: "it is half as large",
    block_mean__sum: "divide by 16",
    block_mean__max: "the brightest pixel",
    block_mean__bilinear: "skips the other 12",
    block_mean__wrong_view: "not the mean of each block",
    network_input__batch: "stacked as more pictures",
    network_input__sum: "three channels came",
    network_input__order: "the small picture comes first",
    network_input__squares: "which is smooth",
    network_input__tiles: "tiled, not enlarged",
    network_input__bilinear: "channels 0 to 2 should be x_t",
    network_input__not_enlarged: "it stopped with RuntimeError",
    doubted__small: "it is still small",
    doubted__no_noise: "no noise was added",
    doubted__on_top: "on top of the whole picture",
    doubted__no_roots: "the square roots are missing",
    doubted__exchanged: "signal and noise are exchanged",
    doubted__one_too_low: "every level is one too low",
    doubted__squares: "enlarged by repeating pixels; use",
    doubted__one_level: "it is not √ᾱ·small",
    held_to__nothing: "nothing was changed",
    held_to__small_alone: "all that the network had drawn is lost",
    held_to__sign: "add what is lacking",
    held_to__whole: "the whole small picture is added",
    held_to__correction: "this is the correction alone",
    held_to__average: "only what disagrees should change",
    held_to__squares: "leaves edges between the blocks",
    held_to__skips: "made smaller by skipping pixels",
    held_to__clips: "do not clip here",
    held_to__half: "it is not x0 + upsampled",
}
