"""An exponential moving average of a network's weights, which samples are generated from."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class EMA(Generic[Module]):
    """θ_ema ← d θ_ema + (1 − d) θ after every training step.

    The weights of a single step jitter around a good place, and their average lies closer to it (Ho
    et al. 2020 use d = 0.9999 over 800,000 steps). A large d would remember the random start for
    longer than a short run lasts. So d is at most (1 + n)/(10 + n) at the n-th update.

    Args:
        model: the module to follow.
        decay: d in the long run, from 0 to below 1. Raises ValueError for any other.

    Attributes:
        model: the averaged copy, in eval mode and without gradients. Buffers are copied, not
            averaged.
        updates: the number of updates so far.
    """

    def __init__(self, model: Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"The EMA decay lies between 0 and 1, not {decay}.")
        self.decay = decay
        self.updates = 0
        self.model: Module = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: Module) -> None:
        """Move the average towards the current weights of `model`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for mine, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
