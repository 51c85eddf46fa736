"""Oxford 102 Flowers: downloaded with pooch, verified by torchvision, decoded once."""

import textwrap
from pathlib import Path

import pooch
import torch
from requests.exceptions import RequestException
from torch import Tensor

from ddpm_course.data.cache import cached
from ddpm_course.data.image_files import PICTURES, square
from ddpm_course.data.images import ImageData

TRIES = 3


def flowers102(root: Path | str, size: int, split: str = "train+test") -> ImageData:
    """Oxford 102 Flowers (Nilsback & Zisserman 2008) under root/flowers-102, with labels 0..101.

    Images are squeezed to size×size as a whole, whatever their shape. `split` joins "train"
    (1,020 images), "val" (1,020) and "test" (6,149) with "+": the default has 7,169 images and
    holds `val` out. Nothing is downloaded (see `download_flowers102`).

    Raises FileNotFoundError where the data set is missing, ValueError where it is damaged.
    """
    from torchvision.datasets import Flowers102  # here, because it takes seconds to import

    root = Path(root)
    folder = root / "flowers-102"
    remedy = f"remove {folder} and run `{how_to_download(root)}`"

    def load(path: Path) -> Tensor:
        return square(path, size, remedy, lambda image: image)

    try:
        parts = [Flowers102(root, split=name, loader=load) for name in split.split("+")]
    except RuntimeError as error:
        raise FileNotFoundError(
            f"Flowers-102 is not complete under {root}: run `{how_to_download(root)}`. {_offline()}"
        ) from error

    def decode() -> ImageData:
        pairs = [part[k] for part in parts for k in range(len(part))]
        images, labels = zip(*pairs, strict=True)
        return ImageData(torch.stack(images), torch.tensor(labels))

    sources = [*sorted(folder.glob("*.mat")), *sorted((folder / "jpg").glob("*.jpg"))]
    return cached(folder / "cache" / f"{split}-{size}px.safetensors", sources, decode)


def species() -> list[str]:
    """The names of Oxford's 102 species, in the order of their labels."""
    from torchvision.datasets import Flowers102

    return list(Flowers102.classes)


def how_to_download(root: Path | str) -> str:
    """The command that downloads Flowers-102, for messages where it is missing."""
    return f"ddpm-course download --data-root {root}"


def _offline() -> str:
    return "Without it, `ddpm-course train --data starter` learns from flowers in the package."


def download_flowers102(root: Path | str) -> None:
    """Download Flowers-102 (about 350 MB) in torchvision's layout, unless it is there already.

    A file that is cut short or fails its checksum is downloaded again, `TRIES` times in all, and
    never kept. Raises ConnectionError in one sentence if that does not help, ValueError for a
    folder of the user's own images.
    """
    from torchvision.datasets import Flowers102
    from torchvision.datasets.utils import extract_archive

    folder = Path(root) / "flowers-102"
    if not folder.exists() and any(p.suffix.lower() in PICTURES for p in Path(root).glob("*")):
        raise ValueError(
            f"{root} holds images of its own, which `--data folder` learns from; for Flowers-102 "
            "name another --data-root."
        )
    try:
        Flowers102(root)
        return
    except RuntimeError:
        pass  # not there, or not complete
    checksums = {name: f"md5:{md5}" for name, md5 in Flowers102._file_dict.values()}
    server = pooch.create(
        folder, Flowers102._download_url_prefix, registry=checksums, retry_if_failed=TRIES - 1
    )
    for name in checksums:  # the archive first: torchvision takes the tables for a sign of the rest
        try:
            path = server.fetch(name, progressbar=True)
        except (RequestException, ValueError) as error:
            reason = textwrap.shorten(str(error), 100, placeholder=" …")
            raise ConnectionError(
                f"{name} of Flowers-102 could not be downloaded to {folder} in {TRIES} tries "
                f"({reason}): check the network or proxy and try again. {_offline()}"
            ) from error
        if name.endswith(".tgz"):
            extract_archive(path, str(folder))
    Flowers102(root)
