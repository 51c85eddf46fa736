"""Pairs of a high- and a low-resolution image, which an upscaler learns from.

The images that it receives later were photographed, compressed or generated, so they are not clean.
The low-resolution images of the pairs are therefore blurred a little before they are downsampled.
Then they get a little noise and the traces of JPEG, once and for all.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ddpm_course.data.flowers102 import open_flowers102
from ddpm_course.data.folder import parted
from ddpm_course.data.image_files import bytes_of, image_of, images_below, square
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.rng import generator

SCALE = 4
"""How many times larger the high-resolution image is in each dimension."""
SIDE = 224
"""Height and width in pixels of the high-resolution images, a multiple of SCALE."""
BLUR, NOISE, QUALITY = 1.5, 4.0, 75
"""The worst: blur as std in pixels of the high-resolution image, noise as std in grey levels,
quality of JPEG.
"""


class Pairs(NamedTuple):
    """high_res u8[N,3,224,224]; low_res u8[N,3,56,56], its degraded copies."""

    high_res: Tensor
    low_res: Tensor


def load_pairs(name: str, root: Path | str) -> tuple[Pairs, Pairs]:
    """Pairs of the data set of that name in `HIGH_RES` to train on, and others that are held out.

    Raises ValueError for an unknown name or an image that is too small, FileNotFoundError where
    there are none.
    """
    refuse_unknown(name)
    train, held_out = HIGH_RES[name](Path(root))
    return make_pairs(train), make_pairs(held_out)


def refuse_unknown(name: str) -> None:
    """Raise ValueError for a name that is not in `HIGH_RES`."""
    if name not in HIGH_RES:
        raise ValueError(
            f"Super-resolution learns from {', '.join(HIGH_RES)}; --data {name} is none."
        )


def make_pairs(high_res: Tensor) -> Pairs:
    """The images u8[N,3,S,S], each with a low-resolution copy; the k-th is degraded as k says."""
    copies = [degraded(image, generator(0, k)) for k, image in enumerate(high_res)]
    return Pairs(high_res, torch.stack(copies))


def degraded(high_res: Tensor, draw: torch.Generator) -> Tensor:
    """A copy u8[3,S/4,S/4] of u8[3,S,S], blurred, noisy and compressed by random amounts."""
    blur, noise, quality = torch.rand(3, generator=draw).tolist()
    side = high_res.shape[-1] // SCALE
    blurred = image_of(high_res).filter(ImageFilter.GaussianBlur(blur * BLUR))
    low_res = bytes_of(blurred.resize((side, side), Image.Resampling.BICUBIC))
    noisy = low_res + noise * NOISE * torch.randn(low_res.shape, generator=draw)
    buffer = io.BytesIO()
    image_of(noisy.round().clamp(0, 255).to(torch.uint8)).save(
        buffer, "jpeg", quality=round(QUALITY + quality * (100 - QUALITY)), subsampling=0
    )
    return bytes_of(Image.open(buffer))


def middle(image: Image.Image) -> Image.Image:
    """The middle 224×224 pixels of an image that was first reduced by the largest whole factor that
    leaves so many: each pixel is the mean of whole pixels, sharper than interpolation.
    """
    if min(image.size) < SIDE:
        raise ValueError(f"{image.width} × {image.height} pixels are fewer than {SIDE} × {SIDE}")
    reduced = image.reduce(min(image.size) // SIDE)
    left, top = ((length - SIDE) // 2 for length in reduced.size)
    return reduced.crop((left, top, left + SIDE, top + SIDE))


def _flowers102(root: Path) -> tuple[Tensor, Tensor]:
    """`train` + `test`, and `val`, from photographs of the original resolution."""
    remedy = "super-resolution needs the photographs as Oxford publishes them"

    def load(split: str) -> Tensor:
        photographs = open_flowers102(root, split, lambda path: square(path, SIDE, remedy, middle))
        return torch.stack([photographs[k][0] for k in range(len(photographs))])

    return load("train+test"), load("val")


def _folder(root: Path) -> tuple[Tensor, Tensor]:
    """The images below a folder, a random tenth of them (at most 300) held out."""
    images = [square(path, SIDE, "replace or remove it", middle) for path in images_below(root)]
    train, held_out = parted(torch.stack(images))
    if not len(held_out):
        raise ValueError(f"A tenth is held out, so 10 images are the fewest, not {len(train)}.")
    return train, held_out


def _synthetic(root: Path) -> tuple[Tensor, Tensor]:
    """64 procedural flowers, a tenth of them held out; `root` is not read."""
    return parted(synthetic_flowers(64, SIDE, seed=0)[0])


HIGH_RES: dict[str, Callable[[Path], tuple[Tensor, Tensor]]] = {
    "flowers102": _flowers102,
    "folder": _folder,
    "synthetic": _synthetic,
}
