"""Crops of image pairs: random ones to train an upscaler on, and fixed ones to measure it on."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ddpm_course.data.batching import Batches, send, shuffled
from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.rng import IMAGES, LEVEL, generator, randn
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.super_resolution.model import LEVELS, low_res_conditions, upsampled
from ddpm_course.super_resolution.pairs import SCALE, SIDE, Pairs


def pair_batches(
    pairs: Pairs,
    schedule: NoiseSchedule,
    size: int,
    *,
    batch_size: int,
    seed: int,
    flip: bool = True,
    device: torch.device | str = "cpu",
) -> Batches:
    """Training batches of random crops x0 f[B,3,size,size] of the high-resolution images.

    `low_res` f[B,3,size,size] shows the same places of the low-resolution images, with noise of a
    random `level` i64[B] in 0..LEVELS, and upsampled. Half of the crops are mirrored if `flip`.

    Raises ValueError as `refuse_crops` does.
    """
    refuse_crops(size, schedule, pairs.high_res.shape[-1])
    high_res, low_res = pairs.high_res.to(device), pairs.low_res.to(device)
    rows = shuffled(len(high_res), batch_size, seed)
    places = low_res.shape[-1] - size // SCALE + 1

    def batch(step: int) -> dict[str, Tensor]:
        index = rows(step)
        draw = generator(seed, step, IMAGES)
        mirrored = torch.rand(batch_size, generator=draw) < (0.5 if flip else 0)
        corners = (SCALE * torch.randint(places, (batch_size, 2), generator=draw)).tolist()
        level = torch.randint(LEVELS + 1, (batch_size,), generator=draw)
        whole = to_unit(low_res[send(index, low_res.device)])
        noise = send(randn(whole.shape, generator(seed, step, LEVEL)), whole.device)
        cond = low_res_conditions(whole, send(level, whole.device), noise, schedule)

        def crop(images: Iterable[Tensor]) -> Tensor:
            crops = torch.stack(
                [
                    image[:, top : top + size, left : left + size]
                    for image, (top, left) in zip(images, corners, strict=True)
                ]
            )
            chosen = send(mirrored, crops.device)[:, None, None, None]
            return torch.where(chosen, crops.flip(-1), crops)

        x0 = to_unit(crop(high_res[k] for k in index))
        return {"x0": x0, "low_res": crop(cond["low_res"]), "level": cond["level"]}

    return batch


def refuse_crops(size: int, schedule: NoiseSchedule, side: int = SIDE) -> None:
    """Raise ValueError for crops that do not fit into images of `side` pixels or do not shrink to
    whole pixels, and for a schedule with fewer than LEVELS steps.
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
    """The middle size×size pixels of the first `number` high-resolution images, and the conditions
    that their low-resolution copies make at level 0.
    """
    start = (pairs.low_res.shape[-1] - size // SCALE) // 2 * SCALE
    middle = (..., slice(start, start + size), slice(start, start + size))
    low_res = upsampled(to_unit(pairs.low_res[:number]))[middle]
    level = torch.zeros(len(low_res), dtype=torch.int64)
    return ImageData(pairs.high_res[:number][middle], None), {"low_res": low_res, "level": level}
