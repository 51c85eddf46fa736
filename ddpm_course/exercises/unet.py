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


def _blocks() -> list[tuple]:
    probes = []
    for channels in (8, 4):
        block = _filled(ResidualBlock(channels, 8, emb_dim=6, groups=2, dropout=0.0))
        block.dropout = nn.Tanh()  # which shows where it is called
        probes.append((2 * randn(3, channels, 4, 6), 3 * randn(3, 6, seed=1), block))
    return probes


@exercises.add(
    "Work on a copy named h, line by line in the order given, and add the shortcut at the end. The "
    "shift by time is `block.time_emb_proj(F.silu(emb))`, as [B, C, 1, 1].",
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


def _pixels() -> list[tuple]:
    # heads, scale and shape; 20² is too much for `exp` alone
    shapes = ((1, 2, 2, 5, 4), (2, 2, 2, 5, 8), (3, 2, 1, 4, 6), (2, 20, 1, 3, 8))
    return [
        (*(scale * randn(*shape, seed=seed) for seed in range(3)), heads)
        for heads, scale, *shape in shapes
    ]


@exercises.add(
    "Make q, k and v [B, heads, N, D] with `x.unflatten(2, (heads, -1)).transpose(1, 2)`. Then "
    "`q @ k.mT` is [B, heads, N, N], with a row for each asking pixel. Softmax over the last axis, "
    "multiply by v, and go back with `.transpose(1, 2).flatten(2)`.",
    _pixels,
    """
    dim=-1 -> dim=-2
        Softmax runs over the asking pixels. The weights of *one* asking pixel, over the last axis,
        must sum to 1.
    scores.softmax(dim=-1) -> scores
        There is no softmax. The weights of a pixel must be positive and sum to 1.
    heads, -1 -> 1, -1
        All channels are one head. Split them into `heads` parts that attend separately.
    (x.unflatten(2, (heads, -1)).transpose(1, 2) -> (x.reshape(len(x), heads, x.shape[1], -1)
        Reshaping straight to [B, heads, N, D] mixes pixels with channels. Split the channels first,
        [B, N, heads, D], then swap two axes.
    @ v).transpose(1, 2).flatten(2) -> @ v).reshape(len(q), q.shape[2], -1)
        The heads are joined in the wrong order. Swap back to [B, N, heads, D] before you flatten.
    (heads, -1)).transpose(1, 2) -> (-1, heads)).permute(0, 3, 1, 2); \
    .transpose(1, 2).flatten(2) -> .permute(0, 2, 3, 1).flatten(2)
        A head takes every `heads`-th channel. It should take neighbouring ones.
    q.shape[-1] -> heads * q.shape[-1]
        You divide by the root of all C channels. Each head has D = C / heads of them.
    """,
    tolerance=1e-4,
)
def attention(q, k, v, heads):
    """Each of N pixels [B, N, C] collects the values of all, in `heads` separate parts."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


@exercises.add(
    "First go down and list the width of everything that is stored: `conv_in`, every residual "
    "block, and the downsampling of each level but the last. Then go up: each block receives x and "
    "the last entry of that list (`pop()`), and x takes the width of its level.",
    lambda: [((32, 64), 1), ((32, 64, 128), 2), ((16, 24, 40, 48), 1), ((8,), 1)],
    """
    stored = [channels[0]] -> stored = []
        The list runs out. The output of `conv_in` is stored, too.
    stored.append(width) -> pass
        The list runs out. The output of each downsampling is stored, too.
    if i < len(channels) - 1 -> if i >= 0
        You stored a downsampling at the lowest level, which has none.
    stored.pop() -> stored.pop(0)
        You take what was stored first. The way up begins with what was stored last.
    range(blocks + 1) -> range(blocks)
        A level has one residual block more on the way up than on the way down: `blocks` + 1.
    below = width -> pass
        The width of x never changes. After its first block in a level, x has that level's width.
    below, widths = channels[-1], [] -> below, widths = channels[-1], []; \
    below = width -> pass; inputs = [] -> inputs, below = [], width
        x enters a level with the width of the level below. It changes in the first block.
    in reversed(channels) -> in channels
        The lists go from the top level down. Start with the lowest level.
    inputs.append(below + stored.pop()) -> inputs.append(width)
        These are the widths that leave the blocks. List what enters them.
    widths.append(inputs) -> widths.extend(inputs)
        The numbers are right, but in one list. Make a list for each level.
    """,
)
def up_widths(channels, blocks):
    """Channels that enter each residual block on the way up: a list per level, lowest first."""
    stored = [channels[0]]
    for i, width in enumerate(channels):
        stored += [width] * blocks
        if i < len(channels) - 1:
            stored.append(width)
    below, widths = channels[-1], []
    for width in reversed(channels):
        inputs = []
        for _ in range(blocks + 1):
            inputs.append(below + stored.pop())
            below = width
        widths.append(inputs)
    return widths


def _up_blocks() -> list[tuple]:
    lower, upper = _filled(UNet((8, 16), (1,), blocks=1, head_dim=8, image_size=8)).up_blocks
    emb = randn(2, 32, seed=1)
    return [
        (randn(2, 16, 4, 4), [randn(2, width, 4, 4, seed=width) for width in (8, 16)], emb, lower),
        (randn(2, 16, 8, 8), [randn(2, 8, 8, 8, seed=seed) for seed in (2, 3)], emb, upper),
    ]


@exercises.add(
    "Loop over `zip(block.resnets, block.attentions, reversed(skips))`. In it, "
    "`torch.cat([x, skip], dim=1)`, then the residual block, then attention. A loop over "
    "`block.upsamplers` ends it.",
    _up_blocks,
    """
    reversed(skips) -> skips
        The skip connections come in the order in which they were stored. The last one comes first.
    [x, skip] -> [skip, x]
        x and the skip connection have swapped places. x comes first.
    , dim=1) -> )
    , dim=1) -> , dim=2)
    , dim=1) -> , dim=3)
        Join x and the skip connection along the channels, which are dim=1.
    torch.cat([x, skip], dim=1) -> x + skip
        The skip connection is added. Put it beside x, as more channels, with `torch.cat`.
    attention(resnet(x, emb)) -> resnet(x, emb)
        `block.attentions` are left out. Each comes after its residual block.
    x = upsample(x) -> pass
        The upsampling is left out. It comes last, if `block.upsamplers` has one.
    resnet(x, emb) -> resnet(x, 0 * emb)
        The time does not enter. Give `emb` to each residual block.
    """,
    tolerance=1e-4,
)
def up_block(x, skips, emb, block):
    """One level on the way up, from the parts of a package `UpBlock`."""
    parts = zip(block.resnets, block.attentions, reversed(skips), strict=True)
    for resnet, attention, skip in parts:
        x = torch.cat([x, skip], dim=1)
        x = attention(resnet(x, emb))
    for upsample in block.upsamplers:
        x = upsample(x)
    return x


def _nets() -> list[tuple]:
    x, t = randn(2, 3, 8, 8), torch.tensor([3, 900])
    return [
        (x, t, _filled(UNet(channels, (0,), blocks=1, head_dim=8, image_size=8)))
        for channels in ((8, 16), (8,))
    ]


@exercises.add(
    "The last line is `net.conv_out(F.silu(net.conv_norm_out(x)))`. Before it come three stages: "
    "down (collecting skip connections with `+=`), middle, up.",
    _nets,
    """
    skips = [x] -> skips = []
        The skip connections run out. The list starts with the output of `conv_in`.
    skips += stored -> skips = stored + skips
        The skip connections are in the wrong order. Add what a block stored to the end of the list.
    skips += stored -> pass
        `stored` is never added to `skips`.
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
