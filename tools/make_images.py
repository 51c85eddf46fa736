"""Make every picture in images/: uv run python tools/make_images.py"""

import base64
import io
import json
from pathlib import Path

import torch
from PIL import Image

import ddpm_course as dc
from ddpm_course.data.grids import image_grid, save_image
from ddpm_course.data.images import to_uint8
from ddpm_course.pretrained.files import atomic
from ddpm_course.pretrained.weights import COURSE, UPSCALER
from ddpm_course.rng import generator, image_generators, randn
from ddpm_course.super_resolution.model import DRAWN, upscale
from ddpm_course.training.speed import autocast

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "images"


def forward() -> None:
    """A procedural flower on its way into noise under the cosine schedule, T = 1000."""
    flower = dc.to_unit(dc.synthetic_flowers(1, 64, seed=5)[0])
    t = torch.tensor([0, 100, 200, 350, 500, 650, 800, 1000])
    noise = torch.randn(flower.shape, generator=generator(0)).expand(len(t), -1, -1, -1)
    x = dc.q_sample(flower.expand_as(noise), t, noise, dc.cosine_schedule(1000))
    save_image(IMAGES / "forward.png", image_grid(to_uint8(x), columns=len(t)))


def drawn(seed: int, number: int, sampler: str, steps: int, **options) -> torch.Tensor:
    """Flowers of the course's checkpoint, unguided, u8[number,3,S,S]."""
    denoiser = dc.load_pretrained(COURSE)
    shape = (number, *denoiser.image_shape)
    with autocast("auto", torch.device("cpu")):
        x = dc.sample(
            denoiser, shape, denoiser.schedule, sampler=sampler, steps=steps, seed=seed, **options
        )
    return to_uint8(x)


def flowers() -> None:
    """24 flowers, seed 0, none left out."""
    save_image(IMAGES / f"{COURSE}.png", image_grid(drawn(0, 24, "ddpm", 250), columns=8))


def steps() -> None:
    """Few steps of DPM-Solver++ against 250 of DDPM, a row each, from the same noise."""
    rows = [drawn(0, 8, "ddpm", 250)]
    rows += [drawn(0, 8, "dpm_solver_pp_2m", n, spacing="logsnr") for n in (30, 20, 15, 10, 6)]
    save_image(IMAGES / f"{COURSE}-steps.png", image_grid(torch.cat(rows), columns=8))


def animation() -> None:
    """Eight flowers on their way out of the noise, 50 steps of DDIM, as an animated WebP."""
    denoiser, generators = dc.load_pretrained(COURSE), image_generators(0, 8)
    x_T = randn((8, *denoiser.image_shape), generators)
    grid = dc.timesteps(denoiser.schedule, 50)
    walk = [x_T, *(x for _, x, _ in dc.ddim(denoiser, x_T, denoiser.schedule, grid))]
    frames = [image_grid(to_uint8(x), columns=8, tile=96) for x in walk]
    with atomic(IMAGES / f"{COURSE}.webp") as temporary:
        frames[0].save(
            temporary, format="webp", save_all=True, append_images=frames[1:], loop=0, quality=60,
            duration=[500, *[60] * (len(frames) - 2), 3000],
        )  # fmt: skip


def enlarged() -> None:
    """Eight flowers as they were drawn, seed 0, guided, and four times as large."""
    y = torch.tensor([53, 73, 77, 88, 50, 42, 94, 29])
    denoiser = dc.load_pretrained(COURSE)
    x = dc.sample(
        dc.guided(denoiser, y, 2.0), (8, *denoiser.image_shape), denoiser.schedule,
        sampler="ddpm", steps=100,
    )  # fmt: skip
    small = to_uint8(x)
    squares = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    large = upscale(dc.load_pretrained(UPSCALER), small, level=DRAWN)
    save_image(IMAGES / f"{UPSCALER}.png", image_grid(torch.cat([squares, large]), columns=8))


PICTURED = {
    "00": "Twelve small pictures", "01": "A flower at seven times", "02": "Three flowers of dots",
    "03": "Five convolutions: a square spot", "04": "Samples (recorded)",
    "05": "Two rows between two flowers",
    "06": "Six drawn flowers", "07": "Seven flowers at five scales",
    "08": "Four flowers drawn at 32",
    "09": "Four flowers; below, four smooth discs",
}  # fmt: skip
"""The figure of each notebook that stands for it in README, by how its alternative text begins."""


def notebooks() -> None:
    """One figure of each notebook, small, as it was committed there."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        number, cells = path.name[:2], json.loads(path.read_text(encoding="utf-8"))["cells"]
        [data] = [
            output["data"]["image/png"]
            for cell in cells
            for output in cell.get("outputs", [])
            if (alt := output.get("metadata", {}).get("image/png", {}).get("alt"))
            and alt.startswith(PICTURED[number])
        ]
        picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        picture.thumbnail((360, 180))
        save_image(IMAGES / "notebooks" / f"{number}.png", picture)


if __name__ == "__main__":
    for make in (forward, flowers, steps, animation, enlarged, notebooks):
        make()
