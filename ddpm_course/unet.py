"""The U-Net: an image and a time in, an image-shaped prediction out.

The architecture is that of DDPM (Ho et al. 2020, appendix B) in the dialect of the public
`google/ddpm-cifar10-32` checkpoint. Modules have the names they have in 🤗 diffusers'
`UNet2DModel`, so the state dict of one loads into the other unchanged.

    x ─ conv_in ─ down_blocks ─ mid_block ─ up_blocks ─ conv_norm_out, SiLU, conv_out ─ out
                      └────── skip connections ┘
    t ─ sinusoids ─ time_embedding ─ added inside every ResidualBlock

Shapes: x f[B,C,H,W] with H and W divisible by 2^(levels−1); t i64[B] in 0..T−1 (the network
counts from 0; `Denoiser` subtracts the 1).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ddpm_course.layers import (
    EPS,
    Downsample,
    EmbeddingMLP,
    ResidualBlock,
    SelfAttention,
    SinusoidalTimeEmbedding,
    Upsample,
    zero,
)


class DownBlock(nn.Module):
    """One resolution on the way down: residual blocks, each followed by attention (the identity
    where the level has none), then a downsampling unless it is the last level.

    Returns x and every intermediate result, for the skip connections.
    """

    def __init__(self, resnets: nn.ModuleList, attentions: nn.ModuleList, downsamplers: list):
        super().__init__()
        self.resnets, self.attentions = resnets, attentions
        self.downsamplers = nn.ModuleList(downsamplers)

    def forward(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(x, emb))
            skips.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """At the lowest resolution: residual block, attention (or the identity), residual block."""

    def __init__(self, resnets: nn.ModuleList, attentions: nn.ModuleList):
        super().__init__()
        self.resnets, self.attentions = resnets, attentions

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        first, second = self.resnets
        return second(self.attentions[0](first(x, emb)), emb)


class UpBlock(nn.Module):
    """One resolution on the way up: residual blocks, each of which receives x beside the skip
    connection that was stored last; then an upsampling unless it is the last level.

    The skip connections bring back the detail that downsampling lost.
    """

    def __init__(self, resnets: nn.ModuleList, attentions: nn.ModuleList, upsamplers: list):
        super().__init__()
        self.resnets, self.attentions = resnets, attentions
        self.upsamplers = nn.ModuleList(upsamplers)

    def forward(self, x: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(torch.cat([x, skips.pop()], dim=1), emb))
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class UNet(nn.Module):
    """The denoising network: net(x, t, y=None, low_res=None, level=None) -> f[B,out_channels,H,W].

    Args:
        channels: width of each level, from full resolution down; each level halves H and W.
        attention_levels: levels with self-attention (0 is full resolution).
        mid_attention: self-attention in the middle, too. Without any attention the network is
            convolutional: what it learned on small crops holds for images of any size.
        blocks: residual blocks per level on the way down (one more on the way up).
        head_dim: channels per attention head; None is one head.
        in_channels, out_channels: of the image; in_channels counts `low_res` too.
        dropout: probability, inside every residual block.
        num_classes: number of labels 0..num_classes−1, or None. One more row of the embedding,
            `null_class`, means "no label"; y=None selects it.
        has_level: add an embedding of `level` to that of t (for super-resolution).
        image_size: height and width in pixels of the training images. It is a record for sampling:
            the network itself takes any size that its levels divide.

    The final convolution starts at zero, so an untrained network outputs 0.
    Raises ValueError for widths that cannot be built and inputs that do not fit.
    """

    config: dict[str, Any]
    null_class: int | None

    def __init__(
        self,
        channels: Sequence[int] = (64, 96, 128, 192),
        attention_levels: Sequence[int] = (2, 3),
        blocks: int = 2,
        mid_attention: bool = True,
        head_dim: int | None = 64,
        in_channels: int = 3,
        out_channels: int = 3,
        dropout: float = 0.0,
        num_classes: int | None = None,
        has_level: bool = False,
        image_size: int = 64,
    ):
        super().__init__()
        self.config = {
            "channels": list(channels),
            "attention_levels": list(attention_levels),
            "blocks": blocks,
            "mid_attention": mid_attention,
            "head_dim": head_dim,
            "in_channels": in_channels,
            "out_channels": out_channels,
            "dropout": dropout,
            "num_classes": num_classes,
            "has_level": has_level,
            "image_size": image_size,
        }
        # A damaged or hostile config.json must not fill the memory.
        if image_size > 4096 or not 0 < blocks <= 64 or not 0 < len(channels) <= 16:
            raise ValueError(
                "A UNet has 1 to 16 levels of 1 to 64 blocks, for images of at most 4096×4096 "
                f"pixels; not {len(channels)}, {blocks} and {image_size}×{image_size}."
            )
        factor = 2 ** (len(channels) - 1)
        if image_size < 1 or image_size % factor:
            raise ValueError(
                f"image_size must be a multiple of {factor}, since {len(channels)} levels halve it "
                f"{len(channels) - 1} times; {image_size} is not."
            )
        if not all(0 <= level < len(channels) for level in attention_levels):
            raise ValueError(
                f"attention_levels count the {len(channels)} levels from 0, where the image is "
                f"largest; {list(attention_levels)} has another."
            )
        groups, emb_dim = norm_groups(channels), 4 * channels[0]
        attending = [channels[i] for i in attention_levels] + [channels[-1]] * mid_attention
        for width in attending:
            if head_dim is not None and (head_dim < 1 or width % head_dim):
                raise ValueError(
                    f"Attention over {width} channels cannot be split into heads of {head_dim}: "
                    "choose a head_dim that divides it, or None for one head."
                )

        def resnets(widths: list[int], out: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(w, out, emb_dim, groups, dropout) for w in widths)

        def attentions(number: int, width: int, attend: bool) -> nn.ModuleList:
            return nn.ModuleList(
                SelfAttention(width, groups, head_dim) if attend else nn.Identity()
                for _ in range(number)
            )

        self.time_proj = SinusoidalTimeEmbedding(channels[0])
        self.time_embedding = EmbeddingMLP(channels[0], emb_dim)
        self.level_embedding = EmbeddingMLP(channels[0], emb_dim) if has_level else None
        self.null_class = num_classes
        self.class_embedding = (
            nn.Embedding(num_classes + 1, emb_dim) if num_classes is not None else None
        )
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)

        levels = list(enumerate(channels))
        width, skips = channels[0], [channels[0]]  # channels of x, and of each skip connection
        self.down_blocks = nn.ModuleList()
        for i, out in levels:
            last = i == len(levels) - 1
            self.down_blocks.append(
                DownBlock(
                    resnets([width] + [out] * (blocks - 1), out),
                    attentions(blocks, out, i in attention_levels),
                    [] if last else [Downsample(out)],
                )
            )
            skips += [out] * (blocks if last else blocks + 1)
            width = out
        self.mid_block = MidBlock(
            resnets([width, width], width), attentions(1, width, mid_attention)
        )
        self.up_blocks = nn.ModuleList()
        for i, out in reversed(levels):
            widths = [w + skips.pop() for w in [width] + [out] * blocks]
            self.up_blocks.append(
                UpBlock(
                    resnets(widths, out),
                    attentions(blocks + 1, out, i in attention_levels),
                    [] if i == 0 else [Upsample(out)],
                )
            )
            width = out

        self.conv_norm_out = nn.GroupNorm(groups, channels[0], EPS)
        self.conv_out = zero(nn.Conv2d(channels[0], out_channels, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        low_res: Tensor | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        """Predict from x f[B,C,H,W] at t i64[B] in 0..T−1.

        y: labels i64[B]; low_res: f[B,C',H,W], already upsampled to x's size; level: how strongly
        low_res was degraded, i64[B].
        """
        if low_res is not None:
            x = torch.cat([x, low_res], dim=1)
        self._check(x, y, level)
        emb = self.time_embedding(self.time_proj(t).to(self.conv_in.weight.dtype))
        if self.class_embedding is not None:
            null = self.class_embedding.num_embeddings - 1
            emb = emb + self.class_embedding(torch.full_like(t, null) if y is None else y)
        if self.level_embedding is not None:
            emb = emb + self.level_embedding(self.time_proj(level).to(emb.dtype))

        x = self.conv_in(x)
        skips = [x]
        for down in self.down_blocks:
            x, stored = down(x, emb)
            skips += stored
        x = self.mid_block(x, emb)
        for up in self.up_blocks:
            x = up(x, skips, emb)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that the network was made for."""
        size = self.config["image_size"]
        return self.config["out_channels"], size, size

    def _check(self, x: Tensor, y: Tensor | None, level: Tensor | None) -> None:
        factor = 2 ** (len(self.down_blocks) - 1)
        if (
            x.ndim != 4
            or x.shape[1] != self.conv_in.in_channels
            or x.shape[2] % factor
            or x.shape[3] % factor
        ):
            raise ValueError(
                f"This network takes [B, {self.conv_in.in_channels}, H, W] with H and W divisible "
                f"by {factor}; got {list(x.shape)}."
            )
        if y is not None and self.class_embedding is None:
            raise ValueError("Labels y were given to a network without classes.")
        if (level is None) != (self.level_embedding is None):
            raise ValueError(
                "`level` goes with a network built with has_level=True, and only there."
            )


def network_with(config: dict[str, Any], tensors: dict[str, Tensor]) -> UNet:
    """The UNet with these arguments and these weights, in float32.

    Memory is allocated for the weights alone, whatever sizes `config` names. Raises ValueError or
    RuntimeError where the two do not fit.
    """
    net = weightless(config)
    net.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    return net.requires_grad_()


def weightless(config: dict[str, Any]) -> UNet:
    """The UNet with these arguments on the meta device, which allocates no memory.

    Raises ValueError where the arguments do not fit.
    """
    with torch.device("meta"), _Uninitialised():
        return UNet(**config)


class _Uninitialised(TorchFunctionMode):
    """Leaves new parameters as they are. On the meta device, a draw from the normal distribution
    would import 900 modules, which takes seconds.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", "") == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def norm_groups(channels: Sequence[int]) -> int:
    """GroupNorm's number of groups: the largest common divisor of the widths, at most 32, that
    leaves 4 channels per group.

    With one channel per group, GroupNorm would subtract each channel's own mean, and with it the
    shift by the time embedding: the network would not depend on t. Raises ValueError for a width
    below 4.
    """
    common = math.gcd(*channels)
    fitting = [g for g in range(1, 33) if common % g == 0 and min(channels) >= 4 * g]
    if not fitting:
        raise ValueError(f"Every level needs at least 4 channels; got {list(channels)}.")
    return fitting[-1]
