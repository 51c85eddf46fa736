"""Oxford 102 Flowers: downloaded with pooch, verified by torchvision, decoded once."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pooch
import torch
from requests.exceptions import RequestException
from torch import Tensor
from torch.utils.data import ConcatDataset

from ddpm_course.data.cache import cached
from ddpm_course.data.image_files import is_image, square
from ddpm_course.data.images import ImageData

TRIES = 3
OFFLINE = "Without it, `ddpm-course train --data starter` learns from flowers in the package."


def flowers102(root: Path | str, size: int, split: str = "train+test") -> ImageData:
    """Oxford 102 Flowers (Nilsback & Zisserman 2008) under root/flowers-102, with labels 0..101.

    Images are squeezed to size×size as a whole, whatever their shape. `split` joins "train"
    (1,020 images), "val" (1,020) and "test" (6,149) with "+": the default has 7,169 images and
    holds `val` out. Nothing is downloaded (see `download_flowers102`).

    Raises FileNotFoundError where the data set is missing, ValueError where it is damaged.
    """
    folder = Path(root) / "flowers-102"
    remedy = f"remove {folder} and run `{_command(root)}`"
    photographs = open_flowers102(
        root, split, lambda path: square(path, size, remedy, lambda image: image)
    )

    def decode() -> ImageData:
        images, labels = zip(*(photographs[k] for k in range(len(photographs))), strict=True)
        return ImageData(torch.stack(images), torch.tensor(labels))

    sources = [*sorted(folder.glob("*.mat")), *sorted((folder / "jpg").glob("*.jpg"))]
    return cached(folder / "cache" / f"{split}-{size}px.safetensors", sources, decode)


def open_flowers102(
    root: Path | str, split: str, load: Callable[[Path], Tensor]
) -> ConcatDataset[tuple[Tensor, int]]:
    """The photographs of a split as (load(path), label), loaded when they are asked for.

    Raises FileNotFoundError where the data set is missing.
    """
    from torchvision.datasets import Flowers102  # here, because it takes seconds to import

    try:
        return ConcatDataset([Flowers102(root, part, loader=load) for part in split.split("+")])
    except RuntimeError as error:
        raise FileNotFoundError(
            f"Flowers-102 is not complete under {root}: run `{_command(root)}`. {OFFLINE}"
        ) from error


def species() -> list[str]:
    """The names of Oxford's 102 species, in the order of their labels."""
    from torchvision.datasets import Flowers102

    return list(Flowers102.classes)


def download_flowers102(root: Path | str) -> None:
    """Download Flowers-102 (about 350 MB) in torchvision's layout, unless it is there already.

    A file that is cut short or fails its checksum is downloaded again, `TRIES` times in all, and
    never kept. Raises ConnectionError in one sentence if that does not help, ValueError for a
    folder of the user's own images.
    """
    from torchvision.datasets import Flowers102
    from torchvision.datasets.utils import extract_archive

    folder = Path(root) / "flowers-102"
    if not folder.exists() and any(is_image(path) for path in Path(root).glob("*")):
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
            bad = f" {folder / name} is damaged." if (folder / name).exists() else ""
            raise ConnectionError(
                f"{name} of Flowers-102 could not be downloaded to {folder} in {TRIES} tries "
                f"({reason}): check the network or proxy and try again.{bad} {OFFLINE}"
            ) from error
        if name.endswith(".tgz"):
            extract_archive(path, str(folder))
    Flowers102(root)


def _command(root: Path | str) -> str:
    return f"ddpm-course download --data-root {root}"
