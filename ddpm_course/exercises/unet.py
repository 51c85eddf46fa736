"""Exercises of notebook 03: the U-Net and its parts."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import randn
from ddpm_course.layers import ResidualBlock
from ddpm_course.unet import UNet

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _filled(module: Any) -> Any:
    """The module with random weights, because layers that start at zero would hide mistakes."""
    for k, parameter in enumerate(module.parameters()):
        parameter.data = 0.3 * randn(*parameter.shape, seed=k)
    return module.eval()


@exercises.add(
    "Make the n = dim/2 frequencies with `torch.exp`, multiply `t[:, None]` by them to get angles "
    "[B, n], and put sines and cosines side by side with `torch.cat`.",
    lambda: [(torch.tensor([0, 1, 7, 500, 999]), 8), (torch.tensor([999]), 6)],
    """
    angle.sin(), angle.cos() -> angle.cos(), angle.sin()
        The cosines come first. Here all sines do.
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
        Sines and cosines alternate. Here all sines come first, then all cosines.
    exp(-math -> exp(math
        The frequencies grow to 10000. They must fall to 1/10000, so mind the sign.
    """,
    tolerance=1e-4,
)
def sinusoidal_embedding(t, dim):
    """t [B] -> sines and cosines [B, dim]."""
    n = dim // 2
    omega = torch.exp(-math.log(10_000) * torch.arange(n) / (n - 1))
    angle = t[:, None].float() * omega
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _images() -> list[tuple]:
    x = 2 + randn(3, 8, 2, 3) * torch.linspace(1, 3, 8)[:, None, None]
    x = x + torch.arange(3)[:, None, None, None]
    flat, faint = 0 * x[:1] + 5, 1e-3 * randn(1, 8, 2, 3)
    return [(x, 4), (x[:1].double(), 2), (flat, 4), (faint, 4)]


@exercises.add(
    "Reshape x to [B, groups, everything else]; then mean and variance are over the last axis.",
    _images,
    """
    g.mean(dim=2 -> g.mean(dim=(0, 2); g.var(dim=2 -> g.var(dim=(0, 2)
        Mean and variance are taken over the whole batch, so an image depends on the others in it.
        Stay within one image.
    groups, -1 -> x.shape[1], -1
        Every channel is normalised by itself. A group holds C / groups of them.
    groups, -1 -> 1, -1
        All channels are one group, so `groups` is not used.
    unbiased=False -> unbiased=True
        The variance divides by n − 1. Divide by n (`unbiased=False`).
    groups, -1 -> x.shape[1] // groups, groups, -1; \
    mean(dim=2 -> mean(dim=(1, 3); var(dim=2 -> var(dim=(1, 3)
        A group takes every fourth channel. It should be made of neighbours.
    variance + 1e-6 -> variance
    torch.sqrt(variance + 1e-6) -> (torch.sqrt(variance) + 1e-6)
        Add 1e-6 to the variance, inside the root, so that a flat group does not divide by 0.
    """,
    tolerance=1e-4,
)
def group_norm(x, groups):
    """Normalise x [B, C, H, W] over each image's groups of neighbouring channels."""
    g = x.reshape(x.shape[0], groups, -1)
    mean = g.mean(dim=2, keepdim=True)
    variance = g.var(dim=2, unbiased=False, keepdim=True)
    return ((g - mean) / torch.sqrt(variance + 1e-6)).reshape(x.shape)


def _features() -> list[tuple]:
    linear = _filled(nn.Linear(6, 4))
    h, emb = randn(3, 4, 2, 4), 3 * randn(3, 6, seed=1)
    return [(h, emb, linear), (h[:1, :, :, :1], emb[:1], linear)]


@exercises.add(
    "`linear(F.silu(emb))` is [B, C]. Indexing with `[:, :, None, None]` makes it [B, C, 1, 1].",
    _features,
    """
    [:, :, None, None] ->
        The shift does not line up. Give it the shape [B, C, 1, 1].
    [:, :, None, None] -> [:, None, None, :]
        The shift runs along the width. It needs the shape [B, C, 1, 1].
    F.silu(emb) -> emb
        SiLU is missing. Apply it to `emb` before the linear layer.
    linear(F.silu(emb)) -> F.silu(linear(emb))
        SiLU comes after the linear layer. It belongs before it.
    """,
)
def add_time(h, emb, linear):
    """Shift every channel of h by `linear` of SiLU(emb)."""
    return h + linear(F.silu(emb))[:, :, None, None]


def _blocks() -> list[tuple]:
    probes = []
    for channels in (8, 4):
        block = _filled(ResidualBlock(channels, 8, emb_dim=6, groups=2, dropout=0.0))
        block.dropout = nn.Tanh()  # which shows where it is called
        probes.append((2 * randn(3, channels, 4, 6), 3 * randn(3, 6, seed=1), block))
    return probes


@exercises.add(
    "Work on a copy named h, line by line in the order given, and add the shortcut at the end. "
    "Your `add_time` does the middle.",
    _blocks,
    """
    shortcut + h -> x + h
        Where the channels change, x can't be added as it is. Use `conv_shortcut`.
    shortcut + h -> block.conv_shortcut(x) + h
        Where the channels stay, `conv_shortcut` is None. Add x itself.
    [:, :, None, None] ->
        The sizes don't fit. The shift by time needs the shape [B, C, 1, 1].
    block.conv1(F.silu(block.norm1(x))) -> F.silu(block.norm1(x)); \
    block.norm2(h) -> block.norm2(block.conv1(h))
        Time is added before `conv1`. It belongs right after it.
    norm1(x) -> norm1(x + block.time_emb_proj(F.silu(emb))[:, :, None, None]); h = h + -> _ = h +
        Time is added to x, before `norm1`. It belongs after `conv1`.
    F.silu(emb) -> emb
        `emb` goes into its linear layer without SiLU.
    F.silu(block.norm1(x)) -> block.norm1(F.silu(x)); \
    F.silu(block.norm2(h)) -> block.norm2(F.silu(h))
        SiLU comes before the norm. The order is norm, SiLU, conv.
    block.dropout(F.silu(block.norm2(h))) -> F.silu(block.norm2(h))
        `dropout` is left out. It comes right before `conv2`.
    """,
    tolerance=1e-4,
)
def residual_block(x, emb, block):
    """x + f(x, emb), from the parts of `block`."""
    h = block.conv1(F.silu(block.norm1(x)))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    h = block.conv2(block.dropout(F.silu(block.norm2(h))))
    shortcut = x if block.conv_shortcut is None else block.conv_shortcut(x)
    return shortcut + h


def _queries() -> list[tuple]:
    shapes = ((2, 2, 5, 4), (2, 1, 3, 6), (20, 1, 2, 7))  # 20² is too much for `exp` alone
    return [
        tuple(scale * randn(*shape, seed=seed) for seed in range(3)) for scale, *shape in shapes
    ]


@exercises.add(
    "`q @ k.mT` is [B, N, N]: the row of an asking pixel, a column for every other. Softmax over "
    "the last axis, then `@ v`.",
    _queries,
    """
    dim=-1 -> dim=1
        Softmax runs over the asking pixels. The weights of *one* asking pixel, over the last axis,
        must sum to 1.
    scores.softmax(dim=-1) -> scores
        There is no softmax. The weights of a pixel must be positive and sum to 1.
    """,
    tolerance=1e-4,
)
def attention(q, k, v):
    """Each of N positions [B, N, D] collects the values of all, weighted by fit."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1) @ v


def _nets() -> list[tuple]:
    net = _filled(UNet((8, 16), (1,), blocks=1, head_dim=8, image_size=8))
    return [(randn(2, 3, 8, 8), torch.tensor([3, 900]), net)]


@exercises.add(
    "The last line is `net.conv_out(F.silu(net.conv_norm_out(x)))`. Before it come three stages: "
    "down (collecting skip connections with `+=`), middle, up.",
    _nets,
    """
    skips = [x] -> skips = []
        The skip connections run out. The list starts with the output of `conv_in`.
    skips += stored -> skips = stored + skips
    skips += stored -> pass
        The skip connections don't fit. Add what each block stored to the end of the list.
    skips += stored -> skips.append(stored)
        One skip connection is a list of tensors. Add the stored ones singly, with `+=`.
    time_proj(t) -> time_proj(t - 1)
        The network received t − 1. It gets t as it is, because the `Denoiser` subtracts.
    net.mid_block(x, emb) -> x
        The middle block is left out. It comes between down and up.
    F.silu(net.conv_norm_out(x)) -> net.conv_norm_out(x)
        The last SiLU is missing. It comes between `conv_norm_out` and `conv_out`.
    """,
    tolerance=1e-4,
)
def unet(x, t, net):
    """The forward pass of an unconditional UNet, from its parts."""
    emb = net.time_embedding(net.time_proj(t))
    x = net.conv_in(x)
    skips = [x]
    for block in net.down_blocks:
        x, stored = block(x, emb)
        skips += stored
    x = net.mid_block(x, emb)
    for block in net.up_blocks:
        x = block(x, skips, emb)
    return net.conv_out(F.silu(net.conv_norm_out(x)))


@exercises.add(
    "Every output channel has its own kernel over all inputs.",
    lambda: [(8, 16, 3), (5, 7, 2)],
)
def conv_parameters(in_channels, out_channels, kernel):
    """Weights and biases of a convolution."""
    return in_channels * out_channels * kernel**2 + out_channels
