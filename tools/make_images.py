"""Make every image in images/: uv run python tools/make_images.py"""

import base64
import io
import json
from pathlib import Path

import torch
from PIL import Image, ImageOps

import ddpm_course as dc
from ddpm_course.data.grids import image_grid, save_image
from ddpm_course.data.images import to_uint8
from ddpm_course.diffusion import Denoise, Denoiser
from ddpm_course.lab.figures import DPI, image_rows, rendered
from ddpm_course.pretrained.files import atomic
from ddpm_course.pretrained.weights import COURSE, UPSCALER
from ddpm_course.rng import image_generators, randn
from ddpm_course.super_resolution.model import DRAWN, upscale
from ddpm_course.training.speed import autocast

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "images"


def generated(seed: int, number: int, sampler: str, steps: int, **options) -> torch.Tensor:
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
    save_image(IMAGES / f"{COURSE}.png", image_grid(generated(0, 24, "ddpm", 250), columns=8))


def steps() -> None:
    """Few steps of DPM-Solver++ against 250 of DDPM, a row each, from the same noise."""
    rows = {"DDPM, 250 steps": generated(0, 8, "ddpm", 250)}
    for n in (30, 20, 15, 10, 6):
        rows[f"DPM-Solver++, {n}"] = generated(0, 8, "dpm_solver_pp_2m", n, spacing="logsnr")
    figure = image_rows({name: dc.to_unit(images) for name, images in rows.items()}, scale=3)
    save_image(IMAGES / f"{COURSE}-steps.png", rendered(figure, DPI))


def guided_flowers() -> tuple[Denoiser, Denoise]:
    """The course's denoiser, and the same guided towards eight species, a sunflower first."""
    denoiser = dc.load_pretrained(COURSE)
    return denoiser, dc.guided(denoiser, torch.tensor([53, 73, 77, 88, 50, 42, 94, 29]), 2.0)


def animation() -> None:
    """Eight flowers on their way out of the noise, 50 steps of DDIM, as an animated WebP."""
    (denoiser, denoise), generators = guided_flowers(), image_generators(0, 8)
    x_T = randn((8, *denoiser.image_shape), generators)
    grid = dc.timesteps(denoiser.schedule, 50)
    states = [x_T, *(x for _, x, _ in dc.ddim(denoise, x_T, denoiser.schedule, grid))]
    frames = [image_grid(to_uint8(x), columns=4, tile=128) for x in states[::2]]
    with atomic(IMAGES / f"{COURSE}.webp") as temporary:
        frames[0].save(
            temporary, format="webp", save_all=True, append_images=frames[1:], loop=0, quality=60,
            duration=[500, *[120] * (len(frames) - 2), 3000],
        )  # fmt: skip


def enlarged() -> None:
    """Eight flowers as they were generated, seed 0, guided, and at four times the resolution."""
    denoiser, denoise = guided_flowers()
    shape = (8, *denoiser.image_shape)
    x = dc.sample(denoise, shape, denoiser.schedule, sampler="ddpm", steps=100)
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
    """The middle of one figure of each notebook, twice as dense as README shows it."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        number, cells = path.name[:2], json.loads(path.read_text(encoding="utf-8"))["cells"]
        [data] = [
            output["data"]["image/png"]
            for cell in cells
            for output in cell.get("outputs", [])
            if (alt := output.get("metadata", {}).get("image/png", {}).get("alt"))
            and alt.startswith(PICTURED[number])
        ]
        figure = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
        save_image(IMAGES / "notebooks" / f"{number}.png", ImageOps.fit(figure, (320, 160)))


if __name__ == "__main__":
    for make in (flowers, steps, animation, enlarged, notebooks):
        make()
