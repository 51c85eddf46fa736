"""Image files as u8[3,H,W], upright, in RGB, on white; one sentence for those that are damaged."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Crop = Callable[[Image.Image], Image.Image]
KINDS = 5  # of files left out that are named


def pictures_below(root: Path) -> list[Path]:
    """Every image file below a folder, sorted. Raises FileNotFoundError where there is none."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder of images: name one with --data-root.")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if not found:
        raise FileNotFoundError(f"{root} holds no images ({', '.join(PICTURES)}).")
    return found


def left_out(root: Path | str) -> str:
    """How many files below a folder are of kinds that `pictures_below` does not read, such as
    "3 .heic, 1 .txt"; "" if there are none. Hidden ones do not count.
    """
    names = (p.relative_to(root) for p in Path(root).rglob("*") if p.is_file())
    seen = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    kinds = Counter(name.suffix.lower() or "without a suffix" for name in seen)
    others = sorted((-number, kind) for kind, number in kinds.items() if kind not in PICTURES)
    named = [f"{-number} {kind}" for number, kind in others[:KINDS]]
    if rest := -sum(number for number, _ in others[KINDS:]):
        named.append(f"{rest} of other kinds")
    return ", ".join(named)


def square(path: Path, size: int, remedy: str, crop: Crop) -> Tensor:
    """An image file as u8[3,size,size], cropped by `crop`, then squeezed to a square."""
    cropped = open_picture(path, remedy, crop)
    return bytes_of(cropped.resize((size, size), Image.Resampling.LANCZOS))


def open_picture(path: Path, remedy: str, crop: Crop = lambda upright: upright) -> Image.Image:
    """An image file in RGB, turned upright by its EXIF data, on white where it is transparent, and
    cropped by `crop`. Raises ValueError for a damaged file; `remedy` then tells what to do.
    """
    with _opened(path, remedy) as image:
        return crop(_in_rgb(ImageOps.exif_transpose(image)))


def size_of(path: Path, remedy: str) -> tuple[int, int]:
    """Height and width of an image as stored, without decoding it; raises as `open_picture`."""
    with _opened(path, remedy) as image:
        return image.height, image.width


def bytes_of(picture: Image.Image) -> Tensor:
    """An RGB image as u8[3,H,W]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def middle_square(image: Image.Image) -> Image.Image:
    """The middle square of an image."""
    side = min(image.size)
    return ImageOps.fit(image, (side, side))


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[Image.Image]:
    """Pillow's errors become one sentence."""
    try:
        with warnings.catch_warnings():  # a large image is fine until Pillow refuses it
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"The image {path} cannot be read ({error}): {remedy}.") from error


def _in_rgb(image: Image.Image) -> Image.Image:
    """8 bits per channel. Raises ValueError for more, which Pillow would clip, not scale."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of kind {image.mode}; save it with 8 bits per channel")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
