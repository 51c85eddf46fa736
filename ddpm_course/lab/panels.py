"""Live panels that compute in the browser: they need no kernel, so they also work in a notebook
that was closed and opened again, and in the book.

Each is a page of its own, `html/NAME.html`, in a frame that takes the height and the ground of what
is around it. Beneath it a figure is stored, which shows where no script may run.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython.display import HTML, display
from matplotlib.figure import Figure
from torch import Tensor

from ddpm_course.data.grids import image_grid
from ddpm_course.data.images import to_uint8
from ddpm_course.diffusion import q_sample
from ddpm_course.lab.figures import DPI, image_rows, lines, rendered, show
from ddpm_course.lab.style import COLOURS
from ddpm_course.layers import SinusoidalTimeEmbedding
from ddpm_course.rng import generator
from ddpm_course.schedules import NoiseSchedule, linear_schedule

PAGES = Path(__file__).parent / "html"
HIDE_STILL = """<style>
  .jp-OutputArea-child:has(.lab-panel) + .jp-OutputArea-child, .cell_output > :has(.lab-panel) + *
  { display: none; }
</style>"""
"""Hides the stored figure after a live panel. Where scripts are removed, so is this."""


def page(name: str, data: Mapping[str, Any]) -> str:
    """The HTML of a panel, which finds `data` as the constant DATA."""
    text = (PAGES / "panel.html").read_text(encoding="utf-8")
    parts = {
        "@TITLE@": f"{name} panel",
        "@BODY@": (PAGES / f"{name}.html").read_text(encoding="utf-8"),
        "@DATA@": json.dumps(data),
        "@COLOURS@": json.dumps(COLOURS),
        "@x_t@": COLOURS["x_t"],
    }
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _display(name: str, data: Mapping[str, Any], still: Figure, alt: str) -> None:
    frame = (
        f'<iframe class="lab-panel" srcdoc="{escape(page(name, data))}" title="{name} panel" '
        'style="width: 100%; height: 560px; border: 0"></iframe>'
    )
    display(HTML(f"<div>{frame}{HIDE_STILL}</div>"))
    show(still, alt)


def schedule_data(x0: Tensor) -> dict[str, Any]:
    """What the schedule panel needs of one image f[3,S,S]: its bytes, and noise in 1/32."""
    noise = torch.randn(x0.shape, generator=generator(0))
    steps = (32 * noise).round().clamp(-127, 127).to(torch.int8)
    return {"size": x0.shape[-1], "image": _base64(to_uint8(x0)), "noise": _base64(steps)}


def _base64(image: Tensor) -> str:
    return base64.b64encode(image.permute(1, 2, 0).contiguous().numpy().tobytes()).decode()


def schedule_explorer(x0: Tensor) -> None:
    """Display controls for schedule, T, β_1, β_T and t over one image f[3,S,S] in [-1, 1].

    Shows ᾱ and log-SNR as curves, and the image noised at t and at T, always with the same noise.
    """
    schedule, times = linear_schedule(350), (0, 50, 100, 200, 350)
    noise = torch.randn(x0.shape, generator=generator(0))
    noised = torch.stack([q_sample(x0, t, noise, schedule) for t in times])
    still = image_rows({"": noised}, [f"$t = {t}$" for t in times])
    _display("schedule", schedule_data(x0), still, "An image at five times of a linear schedule.")


def posterior_explorer(schedule: NoiseSchedule) -> None:
    """Display controls for t and the numbers x_0 and x_t. Shows the two Gaussians whose product is
    the posterior q(x_{t-1} | x_t, x_0), and that product.
    """
    abar, t, x = schedule.alphas_cumprod, schedule.T // 2, torch.linspace(-3, 3, 400)
    before, alpha = abar[t - 1], abar[t] / abar[t - 1]
    given_x0 = torch.exp(-((x - before.sqrt()) ** 2) / (2 * (1 - before)))
    given_x_t = torch.exp(-((alpha.sqrt() * x + 0.4) ** 2) / (2 * (1 - alpha)))
    both = given_x0 * given_x_t
    curves = {"given $x_0$": given_x0, "given $x_t$": given_x_t, "given both": both / both.max()}
    colours = dict(zip(curves, (COLOURS[c] for c in ("x0", "x_t", "prediction")), strict=True))
    panel = {"": {name: (x, y) for name, y in curves.items()}}
    still = lines(panel, xlabel="$x_{t-1}$", colours=colours, labels="peak", yticks=[])
    data = {"alphas_cumprod": abar.tolist()}
    _display("posterior", data, still, "Two Gaussians, and their narrower product between them.")


def embedding_explorer() -> None:
    """Display controls for t and the size of the time embedding. Shows its entries, and how similar
    the embeddings of other times are.
    """
    times = torch.arange(0, 1000, 2)
    rows = SinusoidalTimeEmbedding(64)(times)
    curves = {"_": (times, rows @ rows[200] / 32)}
    colours = {"": COLOURS["prediction"]}
    still = lines({"similarity of every time to t = 400": curves}, xlabel="time", colours=colours)
    _display("embedding", {}, still, "Similarity to t = 400: a peak of 1 there, ripples around it.")


def scrubber(
    frames: Mapping[str, Sequence[Tensor | Figure]],
    names: Sequence[str] = ("",),
    alt: str = "The last of the frames that the slider shows.",
    most: int = 40,
) -> None:
    """Display a slider over stored frames that also plays them. It needs no kernel.

    frames[caption] holds what that frame shows, one entry per name: images f[B,3,S,S] in [-1, 1],
    or figures. Names are HTML, such as "x<sub>t</sub>". At most `most` frames are stored, evenly
    spread, and the last one is the still that `alt` describes.
    """
    kept = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    stored = [list(frames.items())[k] for k in kept]
    data = {
        "frames": [{"caption": text, "images": [*map(_webp, shown)]} for text, shown in stored],
        "names": names,
    }
    last = stored[-1][1]
    tensors = {" " * k: each for k, each in enumerate(last) if isinstance(each, Tensor)}
    still = image_rows(tensors) if tensors else last[-1]
    _display("frames", data, still, alt)


def _webp(shown: Tensor | Figure) -> dict[str, Any]:
    """An image for a page, and how wide it is on the screen."""
    if isinstance(shown, Figure):
        image, width = rendered(shown, 2 * DPI), int(shown.get_figwidth() * DPI)
    else:
        image = image_grid(to_uint8(shown), columns=len(shown), tile=1)
        width = len(shown) * (256 if len(shown) == 1 else 128)
    file = io.BytesIO()
    image.save(file, format="webp", quality=80)
    return {"data": base64.b64encode(file.getvalue()).decode(), "width": width}
