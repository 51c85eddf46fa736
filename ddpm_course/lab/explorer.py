"""The schedule explorer of notebook 01 as a page with its own script: it needs no kernel."""

import base64
from html import escape
from pathlib import Path

import torch
from IPython.display import HTML
from torch import Tensor

from ddpm_course.data.images import to_uint8
from ddpm_course.rng import generator

PAGE = Path(__file__).parent / "explorer.html"


def explorer_page(x0: Tensor) -> str:
    """The page for one image f[3,32,32] in [-1, 1], which is embedded in it.

    The script computes ᾱ itself, and a test compares its numbers with those of `schedules`.
    """
    noise = torch.randn(x0.shape, generator=generator(0))
    steps = (32 * noise).round().clamp(-127, 127).to(torch.int8)
    page = PAGE.read_text(encoding="utf-8")
    return page.replace("@PICTURE@", _base64(to_uint8(x0))).replace("@NOISE@", _base64(steps))


def static_explorer(x0: Tensor) -> HTML:
    """`explorer_page` in a frame, for a notebook's output."""
    return HTML(
        f'<div><iframe srcdoc="{escape(explorer_page(x0))}" title="Schedule explorer" '
        'width="100%" height="430" style="border: 1px solid #ddd; max-width: 720px"></iframe></div>'
    )


def _base64(image: Tensor) -> str:
    return base64.b64encode(image.permute(1, 2, 0).contiguous().numpy().tobytes()).decode()
