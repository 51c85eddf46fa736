"""The starter set: flowers in the package, so that the course runs without a download."""

from itertools import product
from pathlib import Path

import torch
from PIL import Image

from ddpm_course.data.image_files import bytes_of
from ddpm_course.data.images import ImageData

STARTER, STARTER_COLUMNS = Path(__file__).parent / "starter.png", 16


def starter(root: Path | str, size: int) -> ImageData:
    """512 flowers drawn by the course's own model, in the package; `root` is not read.

    Seed 0, none left out; image k was drawn for label k % 102 (see `tools/make_starter.py`).
    """
    with Image.open(STARTER) as sheet:
        tile = sheet.width // STARTER_COLUMNS
        boxes = product(range(0, sheet.height, tile), range(0, sheet.width, tile))
        tiles = [sheet.crop((x, y, x + tile, y + tile)).convert("RGB") for y, x in boxes]
    images = torch.stack(
        [bytes_of(picture.resize((size, size), Image.Resampling.LANCZOS)) for picture in tiles]
    )
    return ImageData(images, torch.arange(len(images)) % 102)
