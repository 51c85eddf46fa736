"""Exercises of notebook 03: the U-Net and its parts."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_course.exercises.checking import Exercises, Wrong, close, require, tensor_of
from ddpm_course.layers import ResidualBlock, SinusoidalTimeEmbedding
from ddpm_course.unet import UNet

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _filled(module: nn.Module) -> nn.Module:
    """Every weight drawn anew: layers that start at zero would hide mistakes."""
    for k, parameter in enumerate(module.parameters()):
        parameter.data = 0.3 * _draw(*parameter.shape, seed=k)
    return module.eval()


def _diagnose(got: Tensor, mistakes: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    """Raise `Wrong` with the sentence of the first mistake whose result this is."""
    for sentence, result in mistakes.items():
        require(not close(got, result, tolerance), sentence)


def _test_sinusoidal_embedding(f) -> None:
    t, dim = torch.tensor([0, 1, 7, 500]), 8
    got = tensor_of(f(t, dim), (4, dim))
    k = torch.arange(4)

    def rows(frequency: Tensor, times: Tensor = t) -> Tensor:
        angle = times[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], 1)

    right = SinusoidalTimeEmbedding(dim)(t)
    sines, cosines = right.chunk(2, 1)
    omega = torch.exp(-math.log(10_000) * k / 3)
    mistakes = {
        "the cosines stand first; this dialect has all sines, then all cosines.": torch.cat(
            [cosines, sines], 1
        ),
        "sines and cosines alternate; here all sines come first, then all cosines.": torch.stack(
            [sines, cosines], 2
        ).flatten(1),
        "the slowest clock is too fast: divide k by n − 1, not by n, so that the last frequency "
        "is 1/10000.": rows(torch.exp(-math.log(10_000) * k / 4)),
        "the frequencies grow from 1 to 10000; they must fall to 1/10000 (mind the sign in the "
        "exponent).": rows(1 / omega),
        "you divided t by 1000 first: then even the fastest clock hardly moves from one t to the "
        "next. Use t as it is.": rows(omega, t / 1000),
    }
    _diagnose(got, mistakes)
    require(close(got, right, 1e-4), "the values differ from the formula.")
    require(got.dtype == torch.float32, f"the result is {got.dtype}; float32 was expected.")


@exercises.add(
    _test_sinusoidal_embedding,
    "Make the n = dim/2 frequencies with `torch.exp`, multiply `t[:, None]` by them to get angles "
    "[B, n], and put sines and cosines side by side with `torch.cat`.",
)
def sinusoidal_embedding(t, dim):
    """t [B] -> sines and cosines [B, dim]."""
    n = dim // 2
    omega = torch.exp(-math.log(10_000) * torch.arange(n) / (n - 1))
    angle = t[:, None].float() * omega
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _test_group_norm(f) -> None:
    x = 2 + _draw(3, 8, 2, 2) * torch.linspace(1, 3, 8)[:, None, None]
    x = x + torch.arange(3)[:, None, None, None]
    got, right = tensor_of(f(x, 4), (3, 8, 2, 2)), F.group_norm(x, 4, eps=1e-6)

    def over(view: Tensor, dims: tuple[int, ...], unbiased: bool = False) -> Tensor:
        var = view.var(dims, unbiased=unbiased, keepdim=True)
        normed = (view - view.mean(dims, keepdim=True)) / (var + 1e-6).sqrt()
        return normed.reshape(x.shape)

    groups = x.view(3, 4, -1)
    spread = (groups.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
    mixed = x.view(3, 2, 4, 2, 2)
    mistakes = {
        "mean and variance are taken over the whole batch, so a picture depends on its company; "
        "stay within one picture.": over(x.view(3, 4, 2, 2, 2), (0, 2, 3, 4)),
        "every channel is normalised by itself; a group holds C / groups of them.": over(x, (2, 3)),
        "each pixel is normalised by itself; take all pixels of a group together.": over(
            x.view(3, 4, 2, 4), (2,)
        ),
        "all channels are one group: `groups` is not used.": over(x.view(3, -1), (1,)),
        "the variance divides by n − 1; here it divides by n (`unbiased=False`).": over(
            groups, (2,), unbiased=True
        ),
        "the mean is not subtracted.": (groups / spread).reshape(x.shape),
        "a group is made of every fourth channel; it is made of neighbours.": over(
            mixed, (1, 3, 4)
        ),
    }
    _diagnose(got, mistakes)
    require(close(got, right, 1e-4), "it differs from `F.group_norm(x, groups, eps=1e-6)`.")


@exercises.add(
    _test_group_norm,
    "Reshape x to [B, groups, everything else]; then mean and variance are over the last axis.",
)
def group_norm(x, groups):
    """Normalise x [B, C, H, W] over each picture's groups of neighbouring channels."""
    g = x.reshape(x.shape[0], groups, -1)
    mean = g.mean(dim=2, keepdim=True)
    variance = g.var(dim=2, unbiased=False, keepdim=True)
    return ((g - mean) / torch.sqrt(variance + 1e-6)).reshape(x.shape)


def _test_add_time(f) -> None:
    h, emb, linear = _draw(2, 4, 3, 4), _draw(2, 6, seed=1), _filled(nn.Linear(6, 4))
    try:
        got = tensor_of(f(h, emb, linear), (2, 4, 3, 4))
    except RuntimeError as error:
        raise Wrong(
            "the shift does not line up with h: it has one number for each picture and channel, "
            "so give it the shape [B, C, 1, 1]."
        ) from error
    shift = linear(F.silu(emb))
    mistakes = {
        "SiLU is missing: bend `emb` before the linear layer.": h + linear(emb)[:, :, None, None],
        "SiLU comes after the linear layer; it belongs before it.": h
        + F.silu(linear(emb))[:, :, None, None],
        "the shift runs along the width: one number belongs to each channel, so give it the shape "
        "[B, C, 1, 1].": h + shift[:, None, None, :],
        "you multiplied; time is added, as a shift.": h * shift[:, :, None, None],
        "only the shift is returned, without h.": shift[:, :, None, None].expand_as(h),
    }
    _diagnose(got, mistakes)
    require(close(got, h + shift[:, :, None, None]), "the shift is not linear(SiLU(emb)).")


@exercises.add(
    _test_add_time,
    "`linear(F.silu(emb))` is [B, C]. Indexing with `[:, :, None, None]` makes it [B, C, 1, 1].",
)
def add_time(h, emb, linear):
    """Shift every channel of h by what `linear` makes of SiLU(emb)."""
    return h + linear(F.silu(emb))[:, :, None, None]


def _branch(x: Tensor, emb: Tensor, block: ResidualBlock, **order: bool) -> Tensor:
    """`block`'s branch, with the mistakes named in `order`."""
    shift = block.time_emb_proj(emb if order.get("bare") else F.silu(emb))[:, :, None, None]

    def bend(h: Tensor, norm: nn.Module) -> Tensor:
        return norm(F.silu(h)) if order.get("bent_first") else F.silu(norm(h))

    h = block.conv1(bend(x, block.norm1))
    if order.get("late"):
        return block.conv2(F.silu(block.norm2(h) + shift))
    return block.conv2(bend(h if order.get("timeless") else h + shift, block.norm2))


def _test_residual_block(f) -> None:
    emb = _draw(2, 6, seed=1)
    for channels in (8, 4):
        block = ResidualBlock(channels, 8, emb_dim=6, groups=2, dropout=0.0)
        _filled(block)
        x = _draw(2, channels, 4, 4)
        shortcut = x if block.conv_shortcut is None else block.conv_shortcut(x)
        try:
            got = tensor_of(f(x, emb, block), (2, 8, 4, 4))
        except RuntimeError as error:
            if channels == 8 or "size of tensor" not in str(error):
                raise
            raise Wrong(
                "where the number of channels changes, x cannot be added as it is: pass it through "
                "`conv_shortcut` first."
            ) from error
        mistakes = {
            "the sum with x is missing: the block returns only f(x, t).": _branch(x, emb, block),
            "time is added after `norm2`; it belongs before, right after `conv1`.": shortcut
            + _branch(x, emb, block, late=True),
            "time does not enter: add it after `conv1`.": shortcut
            + _branch(x, emb, block, timeless=True),
            "`emb` goes into its linear layer without SiLU.": shortcut
            + _branch(x, emb, block, bare=True),
            "SiLU comes before the norm; the order is norm, SiLU, convolution.": shortcut
            + _branch(x, emb, block, bent_first=True),
        }
        _diagnose(got, mistakes)
        require(close(got, block(x, emb), 1e-4), "it differs from what the block itself returns.")


@exercises.add(
    _test_residual_block,
    "Work on a copy named h, line by line in the order given, and add the shortcut at the end. "
    "Your `add_time` does the middle.",
)
def residual_block(x, emb, block):
    """x + f(x, emb), from the parts of `block`."""
    h = block.conv1(F.silu(block.norm1(x)))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    h = block.conv2(block.dropout(F.silu(block.norm2(h))))
    shortcut = x if block.conv_shortcut is None else block.conv_shortcut(x)
    return shortcut + h


def _test_attention(f) -> None:
    q, k, v = (2 * _draw(2, 5, 4, seed=s) for s in range(3))
    got, right = tensor_of(f(q, k, v), (2, 5, 4)), F.scaled_dot_product_attention(q, k, v)
    scores = q @ k.mT
    mistakes = {
        "the products are not divided by √D.": scores.softmax(-1) @ v,
        "the products are divided by D; divide by its root.": (scores / 4).softmax(-1) @ v,
        "softmax runs over the asking pixels; the weights of *one* asking pixel, over the last "
        "axis, must sum to 1.": (scores / 2).softmax(1) @ v,
        "there is no softmax: the weights of a pixel must be positive and sum to 1.": scores
        / 2
        @ v,
        "queries and keys have swapped their roles.": (k @ q.mT / 2).softmax(-1) @ v,
    }
    _diagnose(got, mistakes)
    require(close(got, right, 1e-4), "it differs from `F.scaled_dot_product_attention`.")


@exercises.add(
    _test_attention,
    "`q @ k.mT` is [B, N, N]: the row of an asking pixel, a column for every other. Softmax over "
    "the last axis, then `@ v`.",
)
def attention(q, k, v):
    """Each of N positions [B, N, D] collects the values of all, weighted by fit."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1) @ v


def _test_unet(f) -> None:
    net = _filled(UNet((8, 16), (1,), blocks=1, head_dim=8, image_size=8))
    x, t = _draw(2, 3, 8, 8), torch.tensor([3, 900])
    with torch.no_grad():
        right = net(x, t)
        try:
            got = tensor_of(f(x, t, net), (2, 3, 8, 8))
        except (IndexError, RuntimeError) as error:
            raise Wrong(
                "the skips do not fit: start the list with what `conv_in` returns, and add each "
                "down block's list to its end."
            ) from error
        require(
            not close(got, net(x, t - 1), 1e-4),
            "the network was told t − 1; it gets t as it is (the `Denoiser` subtracts).",
        )
        require(
            close(got, right, 1e-4),
            "it differs from `net(x, t)`: does x pass the middle block, and at the end the norm, "
            "SiLU and `conv_out`, in this order?",
        )


@exercises.add(
    _test_unet,
    "The last line is `net.conv_out(F.silu(net.conv_norm_out(x)))`. Before it come three stages: "
    "down (collecting skips with `+=`), middle, up.",
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


def _test_conv_parameters(f) -> None:
    got = f(8, 16, 3)
    require(got is not None, "it returned None: does the function end with `return`?")
    require(got != 8 * 16 * 9, "the biases are missing: one for each output channel.")
    require(got != 8 * 16 * 9 + 8, "there is one bias for each *output* channel.")
    require(got != 8 * 16 * 3 + 16, "a kernel of size 3 has 3 × 3 weights.")
    require(got == 8 * 16 * 9 + 16, f"a 3×3 convolution from 8 to 16 channels has 1168, not {got}.")


@exercises.add(_test_conv_parameters, "Every output channel has its own kernel over all inputs.")
def conv_parameters(in_channels, out_channels, kernel):
    """Weights and biases of a convolution."""
    return in_channels * out_channels * kernel**2 + out_channels
