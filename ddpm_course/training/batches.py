"""From a data set held on the device to the batch of a training step."""

import torch
from torch import Tensor

from ddpm_course.data.batching import Batches, send, shuffled
from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.rng import IMAGES, generator
from ddpm_course.training.config import TrainConfig


def image_batches(
    data: ImageData,
    config: TrainConfig,
    *,
    conditional: bool = False,
    device: torch.device | str = "cpu",
) -> Batches:
    """Batches of a data set that is held on `device`: x0 f[B,3,S,S] in [-1, 1].

    With `conditional` they have labels y i64[B], some of them replaced by the null class. Each
    epoch is a new permutation, so every image is used once before any is used again.

    Raises ValueError if `conditional` and the images have no labels.
    """
    if conditional and data.labels is None:
        raise ValueError("These images have no labels, so training cannot be conditional.")
    images = data.images.to(device)
    rows = shuffled(len(images), config.batch_size, config.seed)

    def batch(step: int) -> dict[str, Tensor]:
        index, draw = rows(step), generator(config.seed, step, IMAGES)
        x0 = to_unit(images[send(index, images.device)])
        mirrored = torch.rand(len(x0), generator=draw) < (0.5 if config.flip else 0)
        x0 = torch.where(send(mirrored, x0.device)[:, None, None, None], x0.flip(-1), x0)
        if not conditional or data.labels is None:
            return {"x0": x0}
        y = drop_labels(data.labels[index], data.num_classes or 0, config.label_dropout, draw)
        return {"x0": x0, "y": send(y, x0.device)}

    return batch


def drop_labels(
    y: Tensor, null_class: int, probability: float, generator: torch.Generator
) -> Tensor:
    """The labels y i64[B], each replaced by the null class with the given probability."""
    dropped = torch.rand(len(y), generator=generator) < probability
    return y.masked_fill(dropped, null_class)
