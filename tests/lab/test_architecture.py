"""The drawing of the U-Net shows the network that the preset `tiny` builds."""

import torch
from matplotlib.colors import to_rgba

import ddpm_course as dc
from ddpm_course import lab
from ddpm_course.lab.architecture import BLOCK, TIME
from ddpm_course.lab.style import INK
from ddpm_course.layers import ResidualBlock, SelfAttention


def test_it_has_the_blocks_and_arrows_of_the_network():
    [axis] = lab.unet_drawing(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)).axes
    boxes = [patch for patch in axis.patches if patch.get_facecolor() == to_rgba(BLOCK)]
    arrows = [t.arrow_patch for t in axis.texts if hasattr(t, "arrow_patch")]
    times = [a for a in arrows if a.get_edgecolor() == to_rgba(TIME)]
    skips = [a for a in arrows if a.get_linestyle() == "--"]
    letters = [text for text in axis.texts if text.get_text() == "A"]

    modules = list(dc.make_unet("tiny").modules())
    residual = sum(isinstance(module, ResidualBlock) for module in modules)
    attention = sum(isinstance(module, SelfAttention) for module in modules)
    received = sum(len(level.resnets) for level in dc.make_unet("tiny").up_blocks)
    assert len(boxes) == residual + 2  # the legend has two more of them
    assert len(letters) == attention + 2
    assert len(times) == residual + 1
    assert len(skips) == received + 1
    assert all(arrow.get_edgecolor() == to_rgba(INK) for arrow in skips)
