"""The parts of the U-Net: time embedding, residual block, attention, down- and upsampling.

The last layer of a residual block and of attention starts at zero. So attention starts as the
identity, and a block as its shortcut: the identity, or a 1×1 convolution where the number of
channels changes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6  # of every GroupNorm, as in the public DDPM checkpoints


class SinusoidalTimeEmbedding(nn.Module):
    """t i64[B] -> f32[B,dim]: dim/2 sines, then as many cosines (Vaswani et al. 2017, section 3.5).

    Frequencies fall geometrically from 1 to 1/10000: the first entries separate neighbouring t, the
    last ones early from late. Every row has squared length dim/2.
    """

    def __init__(self, dim: int):
        super().__init__()
        if dim < 4 or dim % 2:
            raise ValueError(f"A time embedding needs an even size of at least 4, not {dim}.")
        self.size = dim // 2

    def forward(self, t: Tensor) -> Tensor:
        k = torch.arange(self.size, dtype=torch.float32, device=t.device)
        frequency = torch.exp(-math.log(10_000) * k / (self.size - 1))
        angle = t.float()[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class EmbeddingMLP(nn.Module):
    """Two linear layers with a SiLU between: sinusoids f[B,in] -> embedding f[B,out]."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, out_dim)
        self.linear_2 = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ResidualBlock(nn.Module):
    """x + f(x, t), f[B,in,H,W] -> f[B,out,H,W]: GroupNorm, SiLU and a 3×3 convolution, twice.

    The time embedding shifts every channel between the two, so each block knows how noisy its
    input is. Where the number of channels changes, x passes through a 1×1 convolution.
    """

    def __init__(self, in_channels: int, channels: int, emb_dim: int, groups: int, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, EPS)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(emb_dim, channels)
        self.norm2 = nn.GroupNorm(groups, channels, EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero(nn.Conv2d(channels, channels, 3, padding=1))
        self.conv_shortcut = (
            nn.Conv2d(in_channels, channels, 1) if in_channels != channels else None
        )

    def branch(self, x: Tensor, emb: Tensor) -> Tensor:
        """f(x, t) alone, before it is added to x."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(emb))[:, :, None, None]
        return self.conv2(self.dropout(F.silu(self.norm2(h))))

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return shortcut + self.branch(x, emb)


class SelfAttention(nn.Module):
    """x + attention(x), f[B,C,H,W]: every pixel looks at every other (Vaswani et al. 2017, Eq. 1).

    Each head has `head_dim` channels; None means one head of all C.
    """

    def __init__(self, channels: int, groups: int, head_dim: int | None):
        super().__init__()
        self.heads = channels // (head_dim or channels)
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Sequential(zero(nn.Linear(channels, channels)))

    def branch(self, x: Tensor) -> Tensor:
        """attention(x) alone, before it is added to x."""
        B, C, H, W = x.shape
        pixels = self.group_norm(x).flatten(2).transpose(1, 2)  # [B, HW, C]
        q, k, v = (
            project(pixels)
            .view(B, H * W, self.heads, -1)
            .transpose(1, 2)  # [B, heads, HW, C/heads]
            for project in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        out = self.to_out(mixed.transpose(1, 2).reshape(B, H * W, C))
        return out.transpose(1, 2).reshape(B, C, H, W)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Downsample(nn.Module):
    """f[B,C,H,W] -> f[B,C,H/2,W/2]: a strided convolution, padded at the right and bottom."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """f[B,C,H,W] -> f[B,C,2H,2W]: nearest-neighbour upsampling, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def zero(layer: nn.Module) -> nn.Module:
    """Set every parameter of a layer to 0 and return it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
