"""Picture files as u8[3,H,W], upright, in RGB, on white; one sentence for those that are bad."""

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
KINDS = 5  # that are named of those left out


def pictures_below(root: Path) -> list[Path]:
    """Every picture below a folder, sorted. Raises FileNotFoundError where there is none."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder of pictures: name one with --data-root.")
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
    if not found:
        raise FileNotFoundError(f"{root} holds no pictures ({', '.join(PICTURES)}).")
    return found


def left_out(root: Path | str) -> str:
    """How many files below a folder are of kinds that `pictures_below` does not read, such as
    "3 .heic, 1 .txt"; "" if there are none. Hidden ones do not count.
    """
    names = (p.relative_to(root) for p in Path(root).rglob("*") if p.is_file())
    seen = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    kinds = Counter(name.suffix.lower() or "without a suffix" for name in seen)
    others = sorted((-number, kind) for kind, number in kinds.items() if kind not in PICTURES)
    told = [f"{-number} {kind}" for number, kind in others[:KINDS]]
    if rest := -sum(number for number, _ in others[KINDS:]):
        told.append(f"{rest} of other kinds")
    return ", ".join(told)


def square(path: Path, size: int, mend: str, crop: Callable[[Image.Image], Image.Image]) -> Tensor:
    """A picture as u8[3,size,size], cropped by `crop`, then squeezed to a square."""
    cropped = open_picture(path, mend, crop)
    return bytes_of(cropped.resize((size, size), Image.Resampling.LANCZOS))


def open_picture(
    path: Path, mend: str, crop: Callable[[Image.Image], Image.Image] = lambda upright: upright
) -> Image.Image:
    """A picture in RGB, upright as its EXIF data say, on white where it is transparent; `crop`
    cuts it. Raises ValueError for a bad one, with `mend` as the way out.
    """
    with _opened(path, mend) as image:
        return crop(_in_rgb(ImageOps.exif_transpose(image)))


def size_of(path: Path, mend: str) -> tuple[int, int]:
    """Height and width of a picture as it is stored, without decoding it; raises as above."""
    with _opened(path, mend) as image:
        return image.height, image.width


def bytes_of(picture: Image.Image) -> Tensor:
    """A picture in RGB as u8[3,H,W]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def middle_square(image: Image.Image) -> Image.Image:
    """The middle square of a picture."""
    side = min(image.size)
    return ImageOps.fit(image, (side, side))


@contextmanager
def _opened(path: Path, mend: str) -> Iterator[Image.Image]:
    """Whatever Pillow says of a bad picture becomes one sentence."""
    try:
        with warnings.catch_warnings():  # a large picture is no attack until it is refused as one
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"The picture {path} cannot be read ({error}): {mend}.") from error


def _in_rgb(image: Image.Image) -> Image.Image:
    """8 bits a channel. Raises ValueError for more, which Pillow would cut off, not scale down."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of kind {image.mode}; save it with 8 bits a channel")
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
