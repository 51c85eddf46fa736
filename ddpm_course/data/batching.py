"""What every kind of training batch needs: shuffled epochs, and a fast way onto the GPU."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ddpm_course.rng import EPOCH, generator

Batches = Callable[[int], dict[str, Tensor]]
"""batch(step) -> {"x0": f[B,*], **conditions}. It depends on the step alone."""


def shuffled(number: int, batch_size: int, seed: int) -> Callable[[int], Tensor]:
    """rows(step) -> i64[batch_size] in 0..number−1: which images make the batch of a step.

    Each epoch is a new permutation, so every image is used once before any is used again.
    """

    @lru_cache(maxsize=2)  # most batches lie in one epoch or straddle two
    def order(epoch: int) -> Tensor:
        return torch.randperm(number, generator=generator(seed, epoch, EPOCH))

    def rows(step: int) -> Tensor:
        seen = torch.arange(step * batch_size, (step + 1) * batch_size)
        epochs = range(int(seen[0]) // number, int(seen[-1]) // number + 1)
        return torch.cat([order(e)[seen[seen // number == e] % number] for e in epochs])

    return rows


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`. CUDA copies them from pinned memory, so that nothing waits for it."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
