"""Batches of images as one PNG."""

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ddpm_course.data.image_files import image_of
from ddpm_course.data.images import to_uint8
from ddpm_course.pretrained.files import atomic, new_folder


def image_grid(images: Tensor, columns: int | None = None, tile: int = 128) -> Image.Image:
    """u8[N,3,S,S] as one sheet, nearly square unless `columns` is given.

    Images below `tile` pixels are upsampled by a whole factor, and each pixel stays a square.
    """
    N, _, size, _ = images.shape
    columns = min(N, columns or math.ceil(math.sqrt(N)))
    rows = math.ceil(N / columns)
    blank = images.new_full((rows * columns - N, *images.shape[1:]), 255)
    tiles = torch.cat([images, blank]).view(rows, columns, 3, size, size)
    sheet = image_of(tiles.permute(2, 0, 3, 1, 4).reshape(3, rows * size, columns * size))
    factor = max(1, tile // size)
    return sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)


def save_image(path: Path, image: Image.Image) -> None:
    """Write a PNG atomically."""
    with atomic(path) as temporary:
        image.save(temporary, format="png")


def save_separately(folder: Path, images: Tensor) -> None:
    """Write u8[N,3,S,S] as PNGs into a new folder, unscaled: 00000.png and so on."""
    with new_folder(folder) as made:
        for k, image in enumerate(images):
            image_of(image).save(made / f"{k:05}.png")


def png_bytes(x: Tensor, tile: int = 128, columns: int | None = None) -> bytes:
    """f[N,3,S,S] in [-1, 1] as the bytes of a PNG for a live panel, fast rather than small."""
    buffer = io.BytesIO()
    image_grid(to_uint8(x), columns, tile).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
