"""Random numbers that depend on what they are for, never on what was drawn before.

A training step or a sampled image is named by a few integers, such as (seed, step). Its generator
is made from that name alone. So a run can be stopped, resumed or split without changing a single
draw, and no generator state has to be saved.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

# What a draw is for: the last part of its generator's name. Training uses (seed, step, use),
# upscaling (seed, image, use), and sampling from noise alone (seed, image).
EPOCH, IMAGES, TIMES, NOISE, DROPOUT, LEVEL, DOUBT, DETAIL, LABELS = range(9)

Generators = torch.Generator | Sequence[torch.Generator] | None


def generator(*name: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator named by non-negative integers; equal names on one type of device draw alike.

    torch's CPU generator keeps only the lowest 32 bits of a seed, so (seed, step) cannot be packed
    into one integer: the name is hashed. Raises ValueError for a negative integer.
    """
    if any(part < 0 for part in name):
        raise ValueError(f"A seed must be 0 or more, not {min(name)}.")
    digest = hashlib.sha256(repr(name).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big"))


def image_generators(
    seed: int,
    number: int,
    use: Sequence[int] = (),
    device: torch.device | str = "cpu",
    first: int = 0,
) -> list[torch.Generator]:
    """One generator per image, named (seed, k, *use) for k = first, first + 1, ...

    Image k is the same however many are generated beside it.
    """
    return [generator(seed, k, *use, device=device) for k in range(first, first + number)]


def randn(
    shape: Sequence[int],
    generators: Generators = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise f[B,*]: from one generator, or row k from the k-th of B generators."""
    if not isinstance(generators, Sequence):
        return torch.randn(tuple(shape), generator=generators, device=device, dtype=dtype)
    if len(generators) != shape[0]:
        raise ValueError(
            f"{len(generators)} generators cannot fill a batch of {shape[0]}: give one per image."
        )
    rows = [
        torch.randn(tuple(shape[1:]), generator=g, device=device, dtype=dtype) for g in generators
    ]
    return torch.stack(rows)


def randn_like(x: Tensor, generators: Generators = None) -> Tensor:
    """`randn` in the shape, device and dtype of x."""
    return randn(x.shape, generators, device=x.device, dtype=x.dtype)
