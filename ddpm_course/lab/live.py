"""Sampling that can be watched."""

from collections.abc import Iterable

import torch
from IPython.display import Image, display
from torch import Tensor

from ddpm_course.data.grids import png_bytes


def watch(trajectory: Iterable[tuple[int, Tensor, Tensor]], alt: str, tile: int = 96) -> Tensor:
    """Show a sampler's steps as they are computed, and return the last x_s f[N,3,S,S].

    `trajectory` yields (s, x_s, x0_hat), as samplers do. The upper row shows x_s, the lower row the
    network's estimate x0_hat, each image `tile` pixels wide. `alt` is the alternative text.
    """
    view = None
    for _, x, x0_hat in trajectory:
        rows = png_bytes(torch.cat([x, x0_hat]), tile, columns=len(x))
        frame = Image(rows, alt=alt)
        if view is None:
            view = display(frame, display_id=True)
        else:
            view.update(frame)
    return x
