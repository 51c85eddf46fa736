"""From a data set held on the device to the batch of a step."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ddpm_course.config import TrainConfig
from ddpm_course.data import ImageData, to_unit
from ddpm_course.engine import send
from ddpm_course.rng import EPOCH, IMAGES, generator

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
    images, N = data.images.to(device), len(data.images)

    @lru_cache(maxsize=2)  # a batch can straddle two epochs
    def order(epoch: int) -> Tensor:
        return torch.randperm(N, generator=generator(config.seed, epoch, EPOCH))

    def batch(step: int) -> dict[str, Tensor]:
        seen = torch.arange(step * config.batch_size, (step + 1) * config.batch_size)
        epochs = range(int(seen[0]) // N, int(seen[-1]) // N + 1)
        index = torch.cat([order(e)[seen[seen // N == e] % N] for e in epochs])
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
