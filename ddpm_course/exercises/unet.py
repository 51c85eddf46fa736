"""Exercises of notebook 03: the U-Net and its parts."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_course.exercises.checking import Exercises, call, close, require, tensor_of
from ddpm_course.layers import ResidualBlock, SinusoidalTimeEmbedding
from ddpm_course.unet import UNet

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _filled(module: Any) -> Any:
    """Every weight drawn anew: layers that start at zero would hide mistakes."""
    for k, parameter in enumerate(module.parameters()):
        parameter.data = 0.3 * _draw(*parameter.shape, seed=k)
    return module.eval()


def _diagnose(got: Tensor, mistakes: dict[str, Tensor]) -> None:
    """Raise `Wrong` with the sentence of the first mistake whose result this is."""
    for sentence, result in mistakes.items():
        require(not close(got, result, 1e-4), sentence)


def _test_sinusoidal_embedding(f) -> None:
    t, dim = torch.tensor([0, 1, 7, 500]), 8
    got = tensor_of(f(t, dim), (4, dim))

    def rows(frequency: Tensor, times: Tensor = t) -> Tensor:
        angle = times[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], 1)

    right, k = SinusoidalTimeEmbedding(dim)(t), torch.arange(4)
    sines, cosines = right.chunk(2, 1)
    omega = torch.exp(-math.log(10_000) * k / 3)
    alternating = torch.stack([sines, cosines], 2).flatten(1)
    mistakes = {
        "the cosines stand first; here all sines do.": torch.cat([cosines, sines], 1),
        "sines and cosines alternate; here all sines come first, then all cosines.": alternating,
        "the slowest clock is too fast: divide k by n − 1, not by n, so that the last frequency "
        "is 1/10000.": rows(torch.exp(-math.log(10_000) * k / 4)),
        "the frequencies grow to 10000; they must fall to 1/10000: mind the sign.": rows(1 / omega),
        "you divided t by 1000: even the fastest clock hardly moves then.": rows(omega, t / 1000),
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

    def over(view: Tensor, dims: int | tuple, unbiased: bool = False) -> Tensor:
        var = view.var(dims, unbiased=unbiased, keepdim=True)
        return ((view - view.mean(dims, keepdim=True)) / (var + 1e-6).sqrt()).reshape(x.shape)

    groups = x.view(3, 4, -1)
    spread = (groups.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
    pixels, strided = x.view(3, 4, 2, 4), x.view(3, 2, 4, 2, 2)
    mistakes = {
        "mean and variance are taken over the whole batch, so a picture depends on its company; "
        "stay within one picture.": over(x.view(3, 4, 2, 2, 2), (0, 2, 3, 4)),
        "every channel is normalised by itself; a group holds C / groups of them.": over(x, (2, 3)),
        "each pixel is normalised by itself; take a group's pixels together.": over(pixels, 2),
        "all channels are one group: `groups` is not used.": over(x.view(3, -1), 1),
        "the variance divides by n − 1; divide by n (`unbiased=False`).": over(groups, 2, True),
        "the mean is not subtracted.": (groups / spread).reshape(x.shape),
        "a group takes every fourth channel; it is made of neighbours.": over(strided, (1, 3, 4)),
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
    crashes = {"size of tensor": "the shift does not line up: give it the shape [B, C, 1, 1]."}
    got = call(f, (2, 4, 3, 4), crashes, h, emb, linear)
    along_width = linear(F.silu(emb))[:, None, None, :]
    bare, shift, late = (
        v[:, :, None, None] for v in (linear(emb), linear(F.silu(emb)), F.silu(linear(emb)))
    )
    mistakes = {
        "SiLU is missing: bend `emb` before the linear layer.": h + bare,
        "SiLU comes after the linear layer; it belongs before it.": h + late,
        "the shift runs along the width; it needs the shape [B, C, 1, 1].": h + along_width,
        "you multiplied; time is added, as a shift.": h * shift,
        "only the shift is returned, without h.": shift.expand_as(h),
    }
    _diagnose(got, mistakes)
    require(close(got, h + shift), "the shift is not linear(SiLU(emb)).")


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
        return norm(F.silu(h)) if order.get("swap") else F.silu(norm(h))

    early = shift[:, : x.shape[1]]  # cut, so that it fits where the number of channels changes
    h = bend(x + early if order.get("onto_x") else x, block.norm1)
    h = block.conv1(h + early if order.get("early") else h)
    if order.get("late"):
        return block.conv2(F.silu(block.norm2(h) + shift))
    elsewhere = {"timeless", "early", "onto_x"} & order.keys()
    return block.conv2(bend(h if elsewhere else h + shift, block.norm2))


def _test_residual_block(f) -> None:
    emb = _draw(2, 6, seed=1)
    for channels, misfit in (
        (8, "the sizes do not fit: the shift by time needs the shape [B, C, 1, 1]."),
        (4, "where the channels change, x cannot be added as it is: use `conv_shortcut`."),
    ):
        block = _filled(ResidualBlock(channels, 8, emb_dim=6, groups=2, dropout=0.0))
        x = _draw(2, channels, 4, 4)
        shortcut = x if block.conv_shortcut is None else block.conv_shortcut(x)
        seen: dict[str, Tensor] = {}
        block.dropout.register_forward_hook(lambda *v, seen=seen: seen.update(dropped=v[2]))
        block.conv2.register_forward_pre_hook(lambda *v, seen=seen: seen.update(conv2=v[1][0]))
        crashes = {
            "is not callable": "where the channels stay, `conv_shortcut` is None: add x itself.",
            "size of tensor": misfit,
        }
        got, mine = call(f, (2, 8, 4, 4), crashes, x, emb, block), dict(seen)

        def whole(shortcut=shortcut, x=x, block=block, **order: bool) -> Tensor:
            return shortcut + _branch(x, emb, block, **order)

        mistakes = {
            "the sum with x is missing: the block returns only f(x, t).": _branch(x, emb, block),
            "time is added before `conv1`; it belongs right after it.": whole(early=True),
            "time is added to x, before `norm1`; it belongs after `conv1`.": whole(onto_x=True),
            "time is added after `norm2`; it belongs right after `conv1`.": whole(late=True),
            "time does not enter: add it after `conv1`.": whole(timeless=True),
            "`emb` goes into its linear layer without SiLU.": whole(bare=True),
            "SiLU comes before the norm; the order is norm, SiLU, conv.": whole(swap=True),
        }
        _diagnose(got, mistakes)
        require("dropped" in mine, "`dropout` is left out: it comes right before `conv2`.")
        require(mine["dropped"] is mine["conv2"], "`dropout` is not right before `conv2`.")
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
    scores, scaled = q @ k.mT, q @ k.mT / 2
    mistakes = {
        "the products are not divided by √D.": scores.softmax(-1) @ v,
        "the products are divided by D; divide by its root.": (scores / 4).softmax(-1) @ v,
        "softmax runs over the asking pixels; the weights of *one* asking pixel, over the last "
        "axis, must sum to 1.": scaled.softmax(1) @ v,
        "there is no softmax: the weights of a pixel must be positive and sum to 1.": scaled @ v,
        "queries and keys have swapped their roles.": scaled.mT.softmax(-1) @ v,
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
    normed: list[Tensor] = []  # what `conv_norm_out` returns
    net.conv_norm_out.register_forward_hook(lambda *given: normed.append(given[2]))
    crashes = {
        "pop from empty": "the skips run out: the list starts with what `conv_in` returns.",
        "Sizes of tensors": "the skips come in the wrong order: add each new list to the end.",
        "but got list": "a skip is a list of tensors: add the stored ones singly, with `+=`.",
    }
    with torch.no_grad():
        right, early = net(x, t), net(x, t - 1)
        bypass = net.mid_block.register_forward_hook(lambda _, given, out: given[0])
        no_middle = net(x, t)
        bypass.remove()
        got = call(f, (2, 3, 8, 8), crashes, x, t, net)
        unbent = net.conv_out(normed[0])
    mistakes = {
        "the network was told t − 1; it gets t as it is (the `Denoiser` subtracts).": early,
        "the middle block is left out; it stands between down and up.": no_middle,
        "the last SiLU is missing; it stands between `conv_norm_out` and `conv_out`.": unbent,
    }
    _diagnose(got, mistakes)
    require(close(got, right, 1e-4), "it differs from `net(x, t)`; compare the order of the parts.")


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
    require(isinstance(got, int), f"a whole number is wanted, not {got!r}.")
    require(got != 8 * 16 * 9, "the biases are missing: one for each output channel.")
    require(got != 8 * 16 * 9 + 8, "there is one bias for each *output* channel.")
    require(got != 8 * 16 * 3 + 16, "a kernel of size 3 has 3 × 3 weights.")
    require(got == 8 * 16 * 9 + 16, f"a 3×3 convolution from 8 to 16 channels has 1168, not {got}.")
    require(f(5, 7, 2) == 147, "a 2×2 convolution from 5 to 7 channels has 147.")


@exercises.add(_test_conv_parameters, "Every output channel has its own kernel over all inputs.")
def conv_parameters(in_channels, out_channels, kernel):
    """Weights and biases of a convolution."""
    return in_channels * out_channels * kernel**2 + out_channels
