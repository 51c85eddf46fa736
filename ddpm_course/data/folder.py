"""Your own photographs: every image below a folder, a tenth of them held out."""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ddpm_course.data.cache import cached
from ddpm_course.data.image_files import images_below, middle_square, square
from ddpm_course.data.images import ImageData
from ddpm_course.rng import generator

NAMED = 5  # damaged images in one sentence


def whole_folder(root: Path | str, size: int) -> ImageData:
    """Every image below a folder, cropped to its middle square; no labels.

    Raises FileNotFoundError without a folder or images in it, ValueError that names those that
    cannot be read.
    """
    sources = images_below(Path(root))

    def decode() -> ImageData:
        images, bad = [], []
        for path in tqdm(sources, "reading images", unit="image", disable=None, leave=False):
            try:
                images.append(square(path, size, "replace or remove it", middle_square))
            except ValueError as error:
                bad.append(str(error))
        if bad:
            more = f" So are {len(bad) - NAMED} more." if len(bad) > NAMED else ""
            raise ValueError(" ".join(bad[:NAMED]) + more)
        return ImageData(torch.stack(images), None)

    return cached(Path(root) / ".ddpm_course" / f"{size}px.safetensors", sources, decode)


def parted(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images [N,...] to learn from, and those that are held out: a random tenth, at most 300."""
    order, number = torch.randperm(len(images), generator=generator(0)), min(300, len(images) // 10)
    return images[order[number:]], images[order[:number]]


def folder(root: Path | str, size: int) -> ImageData:
    """`whole_folder` without the images of `held_out`."""
    return ImageData(parted(whole_folder(root, size).images)[0], None)
