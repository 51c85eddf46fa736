"""Plausible wrong answers to the exercises of notebook 03, and what each is told."""

import math

import torch
import torch.nn.functional as F


def rows(t, omega):
    angle = t[:, None].float() * omega
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def frequencies(n, last):
    return torch.exp(-math.log(10_000) * torch.arange(n) / last)


def sinusoidal_embedding__cosines_first(t, dim):
    sines, cosines = rows(t, frequencies(dim // 2, dim // 2 - 1)).chunk(2, 1)
    return torch.cat([cosines, sines], 1)


def sinusoidal_embedding__alternating(t, dim):
    sines, cosines = rows(t, frequencies(dim // 2, dim // 2 - 1)).chunk(2, 1)
    return torch.stack([sines, cosines], 2).flatten(1)


def sinusoidal_embedding__divides_by_n(t, dim):
    return rows(t, frequencies(dim // 2, dim // 2))


def sinusoidal_embedding__growing(t, dim):
    return rows(t, 1 / frequencies(dim // 2, dim // 2 - 1))


def sinusoidal_embedding__scaled_time(t, dim):
    return rows(t / 1000, frequencies(dim // 2, dim // 2 - 1))


def normed(view, dims, x, unbiased=False):
    variance = view.var(dims, unbiased=unbiased, keepdim=True)
    return ((view - view.mean(dims, keepdim=True)) / (variance + 1e-6).sqrt()).reshape(x.shape)


def group_norm__of_the_batch(x, groups):
    B, C, H, W = x.shape
    return normed(x.view(B, groups, C // groups, H, W), (0, 2, 3, 4), x)


def group_norm__per_channel(x, groups):
    return normed(x, (2, 3), x)


def group_norm__per_pixel(x, groups):
    B, C, H, W = x.shape
    return normed(x.view(B, groups, C // groups, H * W), (2,), x)


def group_norm__one_group(x, groups):
    return normed(x.view(len(x), -1), (1,), x)


def group_norm__unbiased(x, groups):
    return normed(x.view(len(x), groups, -1), (2,), x, unbiased=True)


def group_norm__keeps_the_mean(x, groups):
    g = x.view(len(x), groups, -1)
    return (g / (g.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()).reshape(x.shape)


def group_norm__strided_groups(x, groups):
    B, C, H, W = x.shape
    return normed(x.view(B, C // groups, groups, H, W), (1, 3, 4), x)


def add_time__no_silu(h, emb, linear):
    return h + linear(emb)[:, :, None, None]


def add_time__silu_last(h, emb, linear):
    return h + F.silu(linear(emb))[:, :, None, None]


def add_time__along_width(h, emb, linear):
    return h + linear(F.silu(emb))[:, None, None, :]


def add_time__no_reshape(h, emb, linear):
    return h + linear(F.silu(emb))


def add_time__multiplies(h, emb, linear):
    return h * linear(F.silu(emb))[:, :, None, None]


def add_time__shift_alone(h, emb, linear):
    return linear(F.silu(emb))[:, :, None, None].expand_as(h)


def branch(x, emb, block):
    h = block.conv1(F.silu(block.norm1(x)))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    return block.conv2(block.dropout(F.silu(block.norm2(h))))


def shortcut(x, block):
    return x if block.conv_shortcut is None else block.conv_shortcut(x)


def residual_block__no_sum(x, emb, block):
    return branch(x, emb, block)


def residual_block__adds_x_as_it_is(x, emb, block):
    return x + branch(x, emb, block)


def residual_block__always_convolves(x, emb, block):
    return block.conv_shortcut(x) + branch(x, emb, block)


def residual_block__time_before_conv1(x, emb, block):
    h = F.silu(block.norm1(x)) + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    return shortcut(x, block) + block.conv2(F.silu(block.norm2(block.conv1(h))))


def residual_block__time_onto_x(x, emb, block):
    h = x + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    h = block.conv1(F.silu(block.norm1(h)))
    return shortcut(x, block) + block.conv2(F.silu(block.norm2(h)))


def residual_block__shift_not_reshaped(x, emb, block):
    h = block.conv1(F.silu(block.norm1(x))) + block.time_emb_proj(F.silu(emb))
    return shortcut(x, block) + block.conv2(F.silu(block.norm2(h)))


def residual_block__no_dropout(x, emb, block):
    h = block.conv1(F.silu(block.norm1(x)))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    return shortcut(x, block) + block.conv2(F.silu(block.norm2(h)))


def residual_block__late_dropout(x, emb, block):
    h = block.conv1(F.silu(block.norm1(x)))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    return shortcut(x, block) + block.dropout(block.conv2(F.silu(block.norm2(h))))


def residual_block__time_after_norm(x, emb, block):
    h = block.norm2(block.conv1(F.silu(block.norm1(x))))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    return shortcut(x, block) + block.conv2(F.silu(h))


def residual_block__no_time(x, emb, block):
    h = block.conv1(F.silu(block.norm1(x)))
    return shortcut(x, block) + block.conv2(F.silu(block.norm2(h)))


def residual_block__time_without_silu(x, emb, block):
    h = block.conv1(F.silu(block.norm1(x))) + block.time_emb_proj(emb)[:, :, None, None]
    return shortcut(x, block) + block.conv2(F.silu(block.norm2(h)))


def residual_block__silu_before_norm(x, emb, block):
    h = block.conv1(block.norm1(F.silu(x)))
    h = h + block.time_emb_proj(F.silu(emb))[:, :, None, None]
    return shortcut(x, block) + block.conv2(block.norm2(F.silu(h)))


def attention__unscaled(q, k, v):
    return (q @ k.mT).softmax(-1) @ v


def attention__divides_by_D(q, k, v):
    return (q @ k.mT / q.shape[-1]).softmax(-1) @ v


def attention__softmax_over_askers(q, k, v):
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(1) @ v


def attention__no_softmax(q, k, v):
    return q @ k.mT / math.sqrt(q.shape[-1]) @ v


def attention__swapped(q, k, v):
    return (k @ q.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v


def walk(x, t, net, first=True, middle=True):
    emb = net.time_embedding(net.time_proj(t))
    x = net.conv_in(x)
    skips = [x] if first else []
    for block in net.down_blocks:
        x, stored = block(x, emb)
        skips += stored
    x = net.mid_block(x, emb) if middle else x
    for block in net.up_blocks:
        x = block(x, skips, emb)
    return net.conv_norm_out(x)


def residual_block__the_block_itself(x, emb, block):
    return block(x, emb)


def unet__the_network_itself(x, t, net):
    return net(x, t)


def unet__first_skip_missing(x, t, net):
    return net.conv_out(F.silu(walk(x, t, net, first=False)))


def unet__skips_reversed(x, t, net):
    emb = net.time_embedding(net.time_proj(t))
    x = net.conv_in(x)
    skips = [x]
    for block in net.down_blocks:
        x, stored = block(x, emb)
        skips = stored + skips
    x = net.mid_block(x, emb)
    for block in net.up_blocks:
        x = block(x, skips, emb)
    return net.conv_out(F.silu(net.conv_norm_out(x)))


def unet__skips_appended(x, t, net):
    emb = net.time_embedding(net.time_proj(t))
    x = net.conv_in(x)
    skips = [x]
    for block in net.down_blocks:
        x, stored = block(x, emb)
        skips.append(stored)
    x = net.mid_block(x, emb)
    for block in net.up_blocks:
        x = block(x, skips, emb)
    return net.conv_out(F.silu(net.conv_norm_out(x)))


def unet__no_last_silu(x, t, net):
    return net.conv_out(walk(x, t, net))


def unet__no_middle(x, t, net):
    return net.conv_out(F.silu(walk(x, t, net, middle=False)))


def unet__time_minus_1(x, t, net):
    return net.conv_out(F.silu(walk(x, t - 1, net)))


def conv_parameters__no_bias(in_channels, out_channels, kernel):
    return in_channels * out_channels * kernel**2


def conv_parameters__bias_per_input(in_channels, out_channels, kernel):
    return in_channels * out_channels * kernel**2 + in_channels


def conv_parameters__kernel_not_squared(in_channels, out_channels, kernel):
    return in_channels * out_channels * kernel + out_channels


WRONG = {
    sinusoidal_embedding__cosines_first: "the cosines stand first",
    sinusoidal_embedding__alternating: "sines and cosines alternate",
    sinusoidal_embedding__divides_by_n: "divide k by n − 1, not by n",
    sinusoidal_embedding__growing: "the frequencies grow to 10000",
    sinusoidal_embedding__scaled_time: "you divided t by 1000",
    group_norm__of_the_batch: "so a picture depends on its company",
    group_norm__per_channel: "every channel is normalised by itself",
    group_norm__per_pixel: "each pixel is normalised by itself",
    group_norm__one_group: "`groups` is not used",
    group_norm__unbiased: "the variance divides by n − 1",
    group_norm__keeps_the_mean: "the mean is not subtracted",
    group_norm__strided_groups: "it is made of neighbours",
    add_time__no_silu: "SiLU is missing",
    add_time__silu_last: "SiLU comes after the linear layer",
    add_time__along_width: "the shift runs along the width",
    add_time__no_reshape: "the shift does not line up",
    add_time__multiplies: "time is added, as a shift",
    add_time__shift_alone: "only the shift is returned",
    residual_block__no_sum: "the sum with x is missing",
    residual_block__adds_x_as_it_is: "x cannot be added as it is",
    residual_block__always_convolves: "where the channels stay",
    residual_block__time_before_conv1: "time is added before `conv1`",
    residual_block__time_onto_x: "time is added to x, before `norm1`",
    residual_block__shift_not_reshaped: "the shift by time needs the shape",
    residual_block__no_dropout: "`dropout` is left out",
    residual_block__late_dropout: "`dropout` is not right before",
    residual_block__time_after_norm: "time is added after `norm2`",
    residual_block__no_time: "time does not enter",
    residual_block__time_without_silu: "goes into its linear layer without SiLU",
    residual_block__silu_before_norm: "SiLU comes before the norm",
    attention__unscaled: "not divided by √D",
    attention__divides_by_D: "divided by D; divide by its root",
    attention__softmax_over_askers: "softmax runs over the asking pixels",
    attention__no_softmax: "there is no softmax",
    attention__swapped: "swapped their roles",
    residual_block__the_block_itself: "you call the ResidualBlock as a whole",
    unet__the_network_itself: "you call the UNet as a whole",
    unet__first_skip_missing: "the skips run out",
    unet__skips_reversed: "the skips come in the wrong order",
    unet__skips_appended: "a skip is a list of tensors",
    unet__no_last_silu: "the last SiLU is missing",
    unet__no_middle: "the middle block is left out",
    unet__time_minus_1: "the network was told t − 1",
    conv_parameters__no_bias: "the biases are missing",
    conv_parameters__bias_per_input: "one bias for each *output* channel",
    conv_parameters__kernel_not_squared: "3 × 3 weights",
}
