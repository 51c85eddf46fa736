"""Photographs beside small, slightly spoilt copies: what a super-resolver learns from.

A clean, sharp small picture is what a network would be trained on if pictures were only made
smaller. Those that it is given later were photographed, compressed or drawn by another network, so
each copy is blurred a little, shrunk, and gets a little noise and the traces of JPEG, once and for
all.
"""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ddpm_course.data.flowers102 import how_to_download
from ddpm_course.data.folder import parted
from ddpm_course.data.image_files import bytes_of, pictures_below, square
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.rng import generator

SCALE = 4
"""How many times larger the large picture is, a side."""
SIDE = 224
"""Pixels a side of the large pictures, a multiple of SCALE."""
BLUR, NOISE, QUALITY = 1.5, 4.0, 75
"""The worst: blur as std in large pixels, noise as std in grey levels, quality of JPEG."""


class Pairs(NamedTuple):
    """large u8[N,3,224,224]; small u8[N,3,56,56], its spoilt copies."""

    large: Tensor
    small: Tensor


def load_pairs(name: str, root: Path | str) -> tuple[Pairs, Pairs]:
    """Pairs of the data set of that name in `LARGE` to train on, and others that are held out.

    Raises ValueError for an unknown name or a picture that is too small, FileNotFoundError where
    there are none.
    """
    refuse_unknown(name)
    train, held_out = LARGE[name](Path(root))
    return make_pairs(train), make_pairs(held_out)


def refuse_unknown(name: str) -> None:
    """Raise ValueError for a name that is not in `LARGE`."""
    if name not in LARGE:
        raise ValueError(f"Super-resolution learns from {', '.join(LARGE)}; --data {name} is none.")


def make_pairs(large: Tensor) -> Pairs:
    """Each of the pictures u8[N,3,S,S] with its small copy; the k-th is spoilt as k says."""
    return Pairs(large, torch.stack([spoilt(x, generator(0, k)) for k, x in enumerate(large)]))


def spoilt(large: Tensor, draw: torch.Generator) -> Tensor:
    """A small copy u8[3,S/4,S/4] of u8[3,S,S], blurred, noisy and compressed by random amounts."""
    blur, noise, quality = torch.rand(3, generator=draw).tolist()
    side = large.shape[-1] // SCALE
    picture = _to_pillow(large).filter(ImageFilter.GaussianBlur(blur * BLUR))
    small = bytes_of(picture.resize((side, side), Image.Resampling.BICUBIC))
    noisy = small + noise * NOISE * torch.randn(small.shape, generator=draw)
    buffer = io.BytesIO()
    _to_pillow(noisy.round().clamp(0, 255).to(torch.uint8)).save(
        buffer, "jpeg", quality=round(QUALITY + quality * (100 - QUALITY)), subsampling=0
    )
    return bytes_of(Image.open(buffer))


def middle(image: Image.Image) -> Image.Image:
    """The middle 224×224 pixels of a picture that was first reduced by the largest whole factor
    that leaves so many: each pixel is the mean of whole pixels, sharper than interpolation.
    """
    if min(image.size) < SIDE:
        raise ValueError(
            f"{' × '.join(map(str, image.size))} pixels are fewer than {SIDE} × {SIDE}"
        )
    reduced = image.reduce(min(image.size) // SIDE)
    left, top = ((length - SIDE) // 2 for length in reduced.size)
    return reduced.crop((left, top, left + SIDE, top + SIDE))


def _flowers102(root: Path) -> tuple[Tensor, Tensor]:
    """`train` + `test`, and `val`, from photographs of the original resolution."""
    from torchvision.datasets import Flowers102  # here, because it takes seconds to import

    remedy = "super-resolution needs the photographs as Oxford publishes them"

    def load(*splits: str) -> Tensor:
        parts = [
            Flowers102(root, name, loader=lambda p: square(p, SIDE, remedy, middle))
            for name in splits
        ]
        return torch.stack([part[k][0] for part in parts for k in range(len(part))])

    try:
        return load("train", "test"), load("val")
    except RuntimeError as error:
        raise FileNotFoundError(
            f"Flowers-102 is not complete under {root}: run `{how_to_download(root)}`."
        ) from error


def _folder(root: Path) -> tuple[Tensor, Tensor]:
    """The pictures below a folder, a random tenth of them (at most 300) held out."""
    return _parted(square(p, SIDE, "replace or remove it", middle) for p in pictures_below(root))


def _synthetic(root: Path) -> tuple[Tensor, Tensor]:
    """Procedural flowers; `root` is not read."""
    return _parted(synthetic_flowers(64, SIDE, seed=0)[0])


def _parted(pictures: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    train, held_out = parted(torch.stack(list(pictures)))
    if not len(held_out):
        raise ValueError(f"A tenth is held out, so 10 pictures are the fewest, not {len(train)}.")
    return train, held_out


def _to_pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


LARGE: dict[str, Callable[[Path], tuple[Tensor, Tensor]]] = {
    "flowers102": _flowers102,
    "folder": _folder,
    "synthetic": _synthetic,
}
