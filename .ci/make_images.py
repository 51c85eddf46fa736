"""Make every picture in images/: uv run python .ci/make_images.py"""

from pathlib import Path

import torch

import ddpm_course as dc
from ddpm_course.data import to_uint8
from ddpm_course.pictures import image_grid, save_image
from ddpm_course.rng import generator

IMAGES = Path(__file__).resolve().parents[1] / "images"


def forward() -> None:
    """A procedural flower on its way into noise under the cosine schedule, T = 1000."""
    flower = dc.to_unit(dc.synthetic_flowers(1, 64, seed=5)[0])
    t = torch.tensor([0, 100, 200, 350, 500, 650, 800, 1000])
    noise = torch.randn(flower.shape, generator=generator(0)).expand(len(t), -1, -1, -1)
    x = dc.q_sample(flower.expand_as(noise), t, noise, dc.cosine_schedule(1000))
    save_image(IMAGES / "forward.png", image_grid(to_uint8(x), columns=len(t)))


if __name__ == "__main__":
    forward()
