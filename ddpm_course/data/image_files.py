"""Image files: the ones below a folder, and what one holds in RGB, upright and cropped."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SYSTEM = {  # what macOS, Windows, Linux and network drives leave in a folder, beside hidden names
    "__macosx", "network trash folder", "temporary items",
    "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini", "lost+found",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",
}  # fmt: skip
KINDS = 5  # of files left out that are named
TURNS = {  # what turns an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Crop = Callable[[Image.Image], Image.Image]


def images_below(root: Path) -> list[Path]:
    """Every image file below a folder, sorted. Raises FileNotFoundError where there is none."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder of images: name one with --data-root.")
    found = [path for path in _files_below(root, set()) if is_image(path)]
    if not found:
        raise FileNotFoundError(f"{root} holds no images ({', '.join(SUFFIXES)}).")
    return found


def left_out(root: Path | str) -> str:
    """How many files below a folder are of kinds that `images_below` does not read, such as
    "3 .heic, 1 .txt"; "" if there are none. Hidden ones do not count.
    """
    suffixes = (path.suffix.lower() for path in _files_below(Path(root), set()))
    kinds = Counter(suffix or "without a suffix" for suffix in suffixes if suffix not in SUFFIXES)
    named = [f"{number} {kind}" for kind, number in kinds.most_common(KINDS)]
    if rest := sum(number for _, number in kinds.most_common()[KINDS:]):
        named.append(f"{rest} of other kinds")
    return ", ".join(named)


def is_image(path: Path) -> bool:
    """Whether a file's name is that of an image, and not of a hidden or system file."""
    return path.suffix.lower() in SUFFIXES and not _hidden(path)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in SYSTEM


def _files_below(folder: Path, visited: set[Path]) -> Iterator[Path]:
    """The files of a folder in order, with those of its subfolders and of the folders that it links
    to, each folder once. Hidden and system ones are left out.
    """
    if folder.resolve() in visited:
        return
    visited.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if _hidden(path):
            continue
        if path.is_dir():
            yield from _files_below(path, visited)
        elif path.is_file():
            yield path


def square(path: Path, size: int, remedy: str, crop: Crop) -> Tensor:
    """An image file as u8[3,size,size], cropped by `crop`, then squeezed to a square."""
    cropped = open_image(path, remedy, crop)
    return bytes_of(cropped.resize((size, size), Image.Resampling.LANCZOS))


def open_image(path: Path, remedy: str, crop: Crop = lambda upright: upright) -> Image.Image:
    """An image file in RGB, turned upright by its EXIF data, on white where it is transparent, and
    cropped by `crop`. Raises ValueError for a damaged file; `remedy` then says what to do.
    """
    with _opened(path, remedy) as image:
        image.load()
        return crop(_in_rgb(_upright(image)))


def size_of(path: Path, remedy: str) -> tuple[int, int]:
    """Height and width of an image as stored, without decoding it; raises as `open_image`."""
    with _opened(path, remedy) as image:
        return image.height, image.width


def bytes_of(image: Image.Image) -> Tensor:
    """An RGB image as u8[3,H,W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def image_of(image: Tensor) -> Image.Image:
    """u8[3,H,W] as an RGB image."""
    return Image.fromarray(image.permute(1, 2, 0).cpu().numpy())


def middle_square(image: Image.Image) -> Image.Image:
    """The middle square of an image."""
    side = min(image.size)
    return ImageOps.fit(image, (side, side))


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[Image.Image]:
    """Whatever a decoder raises becomes one sentence."""
    try:
        with warnings.catch_warnings():  # odd metadata and large images do no harm
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"The image {path} cannot be read ({reason}): {remedy}.") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned by its EXIF orientation alone: Pillow's `exif_transpose` also rewrites the rest, and
    fails on metadata that nobody needs.
    """
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata
        turn = None
    return image if turn is None else image.transpose(turn)


def _in_rgb(image: Image.Image) -> Image.Image:
    """8 bits per channel. Raises ValueError for more, which Pillow would clip, not scale."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels are of kind {image.mode}; save it with 8 bits per channel")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
