"""Draw the starter set, 512 flowers of the course's model: uv run python tools/make_starter.py

Seed 0, none left out. Label k % 102 for image k, with light guidance.
"""

import torch

from ddpm_course import guided, load_pretrained, sample, to_uint8
from ddpm_course.data.grids import image_grid, save_image
from ddpm_course.data.starter import STARTER, STARTER_COLUMNS
from ddpm_course.pretrained.weights import COURSE
from ddpm_course.training.speed import autocast

NUMBER, GUIDANCE, STEPS = 512, 2.0, 50

if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    denoiser = load_pretrained(COURSE).to(device)
    images = []
    for first in range(0, NUMBER, 128):
        y = torch.arange(first, first + 128, device=device) % denoiser.net.config["num_classes"]
        with autocast("auto", device):
            x = sample(
                guided(denoiser, y, GUIDANCE), (128, *denoiser.image_shape), denoiser.schedule,
                sampler="ddpm", steps=STEPS, first=first, device=device,
            )  # fmt: skip
        images.append(to_uint8(x))
    save_image(STARTER, image_grid(torch.cat(images), STARTER_COLUMNS, tile=1))
    print(f"{STARTER.name}: {NUMBER} flowers, {STARTER.stat().st_size / 1000:.0f} kB")
