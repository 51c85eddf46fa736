"""Images as one uint8 tensor, and the range that networks work in."""

from typing import NamedTuple

import torch
from torch import Tensor


class ImageData(NamedTuple):
    """images u8[N,3,size,size]; labels i64[N] from 0, or None where there are none."""

    images: Tensor
    labels: Tensor | None

    @property
    def num_classes(self) -> int | None:
        return None if self.labels is None else int(self.labels.max()) + 1


def to_unit(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1], the range that networks and samplers work in."""
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Floats in [-1, 1] -> uint8, clipped. Inverts `to_unit` exactly."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
