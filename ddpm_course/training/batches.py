"""From a data set held on the device to the batch of a step."""

from collections.abc import Callable, Iterable
from functools import lru_cache

import torch
from torch import Tensor

from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.rng import EPOCH, IMAGES, LEVEL, generator, randn
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.super_resolution.model import LEVELS, conditions, upsampled
from ddpm_course.super_resolution.pairs import SCALE, SIDE, Pairs
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.speed import send

Batches = Callable[[int], dict[str, Tensor]]
"""batch(step) -> {"x0": f[B,*], **conditions}, a function of the step alone."""


def image_batches(
    data: ImageData,
    config: TrainConfig,
    *,
    conditional: bool = False,
    device: torch.device | str = "cpu",
) -> Batches:
    """Batches from a whole data set held on `device`: x0 f[B,3,S,S] in [-1, 1], and labels y if
    `conditional`, some replaced by the null class.

    Each epoch is a new permutation, so every image is seen once before any is seen again.
    Raises ValueError if `conditional` and there are no labels.
    """
    if conditional and data.labels is None:
        raise ValueError("These pictures have no labels, so training cannot be conditional.")
    images, rows = data.images.to(device), _epochs(len(data.images), config)

    def batch(step: int) -> dict[str, Tensor]:
        index = rows(step)
        draw = generator(config.seed, step, IMAGES)
        mirrored = torch.rand(config.batch_size, generator=draw) < (0.5 if config.flip else 0)
        unlabelled = torch.rand(config.batch_size, generator=draw) < config.label_dropout
        x0 = to_unit(images[send(index, images.device)])
        x0 = torch.where(send(mirrored, x0.device)[:, None, None, None], x0.flip(-1), x0)
        if not conditional or data.labels is None:
            return {"x0": x0}
        y = data.labels[index].masked_fill(unlabelled, data.num_classes or 0)
        return {"x0": x0, "y": send(y, x0.device)}

    return batch


def pair_batches(
    pairs: Pairs,
    config: TrainConfig,
    schedule: NoiseSchedule,
    size: int,
    *,
    device: torch.device | str = "cpu",
) -> Batches:
    """Batches for super-resolution: random crops x0 f[B,3,size,size] of the large pictures, with
    the same places of the small ones, noised by a random level and enlarged.

    Raises ValueError as `refuse_crops` does.
    """
    refuse_crops(size, schedule, pairs.large.shape[-1])
    large, small = pairs.large.to(device), pairs.small.to(device)
    epochs, places = _epochs(len(large), config), pairs.small.shape[-1] - size // SCALE + 1

    def batch(step: int) -> dict[str, Tensor]:
        index = epochs(step)
        draw, noise = (generator(config.seed, step, use) for use in (IMAGES, LEVEL))
        mirrored = torch.rand(len(index), generator=draw) < (0.5 if config.flip else 0)
        corners = torch.randint(places, (len(index), 2), generator=draw).tolist()
        level = torch.randint(LEVELS + 1, (len(index),), generator=draw)
        whole = to_unit(small[send(index, small.device)])
        eps = send(randn(whole.shape, noise), whole.device)
        cond = conditions(whole, send(level, whole.device), eps, schedule)

        def cut(pictures: Iterable[Tensor]) -> Tensor:
            crops = []
            for picture, (top, left) in zip(pictures, corners, strict=True):
                rows, columns = (slice(SCALE * k, SCALE * k + size) for k in (top, left))
                crops.append(picture[:, rows, columns])
            cropped = torch.stack(crops)
            flip = send(mirrored, cropped.device)[:, None, None, None]
            return torch.where(flip, cropped.flip(-1), cropped)

        x0 = to_unit(cut(large[k] for k in index))
        return {"x0": x0, "low_res": cut(cond["low_res"]), "level": cond["level"]}

    return batch


def refuse_crops(size: int, schedule: NoiseSchedule, side: int = SIDE) -> None:
    """Raise ValueError for crops that pictures of `side` pixels do not hold, or that do not shrink
    to whole pixels, and for a schedule without all levels.
    """
    if schedule.T < LEVELS:
        raise ValueError(
            f"For its noise levels an upscaler's schedule has at least {LEVELS} steps, not "
            f"{schedule.T}."
        )
    if size % SCALE or size > side:
        raise ValueError(
            f"Crops of {size} pixels cannot be cut: choose a multiple of {SCALE}, at most {side}."
        )


def middle_crops(pairs: Pairs, size: int, number: int) -> tuple[ImageData, dict[str, Tensor]]:
    """The middle size×size of the first `number` pictures, always the same, with the conditions
    that their small copies make at level 0.
    """
    start = (pairs.small.shape[-1] - size // SCALE) // 2 * SCALE
    cut = (..., slice(start, start + size), slice(start, start + size))
    low_res = upsampled(to_unit(pairs.small[:number]))[cut]
    level = torch.zeros(len(low_res), dtype=torch.int64)
    return ImageData(pairs.large[:number][cut], None), {"low_res": low_res, "level": level}


def _epochs(N: int, config: TrainConfig) -> Callable[[int], Tensor]:
    """rows(step) -> i64[batch_size] in 0..N−1; each epoch is a new permutation."""

    @lru_cache(maxsize=2)  # a batch can straddle two epochs
    def order(epoch: int) -> Tensor:
        return torch.randperm(N, generator=generator(config.seed, epoch, EPOCH))

    def rows(step: int) -> Tensor:
        seen = torch.arange(step * config.batch_size, (step + 1) * config.batch_size)
        epochs = range(int(seen[0]) // N, int(seen[-1]) // N + 1)
        return torch.cat([order(e)[seen[seen // N == e] % N] for e in epochs])

    return rows
