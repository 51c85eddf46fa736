"""Batches of images as one PNG."""

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ddpm_course.data.images import to_uint8
from ddpm_course.pretrained.files import atomic, new_folder


def image_grid(images: Tensor, columns: int | None = None, tile: int = 128) -> Image.Image:
    """u8[N,3,S,S] as one sheet, nearly square unless `columns` is given.

    Images below `tile` pixels are enlarged by a whole factor, and each pixel stays a square.
    """
    N, _, size, _ = images.shape
    columns = min(N, columns or math.ceil(math.sqrt(N)))
    rows = math.ceil(N / columns)
    blank = images.new_full((rows * columns - N, *images.shape[1:]), 255)
    tiles = torch.cat([images, blank]).view(rows, columns, 3, size, size)
    picture = tiles.permute(0, 3, 1, 4, 2).reshape(rows * size, columns * size, 3)
    factor = max(1, tile // size)
    shape = (columns * size * factor, rows * size * factor)
    return Image.fromarray(picture.cpu().numpy()).resize(shape, Image.Resampling.NEAREST)


def save_image(path: Path, picture: Image.Image) -> None:
    """Write a PNG atomically."""
    with atomic(path) as temporary:
        picture.save(temporary, format="png")


def save_separately(folder: Path, images: Tensor) -> None:
    """Write u8[N,3,S,S] as PNGs into a new folder, unscaled: 00000.png and so on."""
    with new_folder(folder) as made:
        for k, image in enumerate(images.cpu()):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(made / f"{k:05}.png")


def png_bytes(x: Tensor, tile: int = 128, columns: int | None = None) -> bytes:
    """f[N,3,S,S] in [-1, 1] as the bytes of a PNG for a live panel, fast rather than small."""
    buffer = io.BytesIO()
    image_grid(to_uint8(x), columns, tile).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
