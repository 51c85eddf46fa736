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
from PIL import Image
from torch import Tensor

from ddpm_course.data.grids import image_grid
from ddpm_course.data.images import to_uint8
from ddpm_course.diffusion import q_posterior, q_sample
from ddpm_course.lab.figures import image_rows, lines, show
from ddpm_course.lab.style import COLOURS
from ddpm_course.layers import SinusoidalTimeEmbedding
from ddpm_course.rng import generator
from ddpm_course.schedules import NoiseSchedule, linear_schedule

PAGES = Path(__file__).parent / "html"
HIDE_STILL = """<style>
  .jp-OutputArea-child:has(.lab-panel) + .jp-OutputArea-child, .output:has(.lab-panel) + .output
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
    abar, beta, t = schedule.alphas_cumprod, schedule.betas, schedule.T // 2
    x0, x_t = torch.tensor([1.0], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)
    mean, variance = q_posterior(x0, x_t, t, t - 1, schedule)
    grid, alpha = np.linspace(-3, 3, 400), float(1 - beta[t])

    def gaussian(mean: float, variance: float):
        return grid, np.exp(-((grid - mean) ** 2) / (2 * variance)) / np.sqrt(variance)

    curves = {
        "given $x_0$": gaussian(float(abar[t - 1].sqrt() * x0), float(1 - abar[t - 1])),
        "given $x_t$": gaussian(x_t.item() / alpha**0.5, (1 - alpha) / alpha),
        "given both": gaussian(mean.item(), float(variance)),
    }
    colours = dict(zip(curves, (COLOURS[c] for c in ("x0", "x_t", "prediction")), strict=True))
    still = lines({"": curves}, xlabel="$x_{t-1}$", colours=colours, labels="peak", yticks=[])
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


def trajectory_slider(trajectory: Sequence[tuple[int, Tensor, Tensor]], most: int = 40) -> None:
    """Display a slider along a trajectory of (t, x_t, x̂_0), images f[B,3,S,S], and play it.

    At most `most` of its stops are stored, evenly spread.
    """
    kept = np.linspace(0, len(trajectory) - 1, min(most, len(trajectory))).round().astype(int)
    stops = [trajectory[k] for k in kept]
    frames = [{"caption": f"t = {t}", "images": [_webp(x), _webp(x0)]} for t, x, x0 in stops]
    names = ["x<sub>t</sub>, the sample so far", "x̂<sub>0</sub>, the network's prediction"]
    shown = [stops[k * (len(stops) - 1) // 5] for k in range(6)]
    rows = {
        "$x_t$": torch.stack([x[0] for _, x, _ in shown]),
        r"$\hat{x}_0$": torch.stack([x0[0] for _, _, x0 in shown]),
    }
    still = image_rows(rows, [f"$t = {t}$" for t, _, _ in shown])
    data = {"frames": frames, "names": names, "width": 128 * len(stops[0][1])}
    _display("frames", data, still, "A sample and its prediction at six times.")


def _webp(x: Tensor) -> str:
    file = io.BytesIO()
    images: Image.Image = image_grid(to_uint8(x), columns=len(x), tile=1)
    images.save(file, format="webp", quality=80)
    return base64.b64encode(file.getvalue()).decode()
