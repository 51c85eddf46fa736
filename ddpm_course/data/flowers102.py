"""Oxford 102 Flowers: downloaded through torchvision, decoded once."""

import socket
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from ddpm_course.data.cache import cached
from ddpm_course.data.image_files import PICTURES, square
from ddpm_course.data.images import ImageData

TRIES, PAUSE, STALLED = 3, 2.0, 60.0  # tries, and seconds after the first and without a byte


def flowers102(root: Path | str, size: int, split: str = "train+test") -> ImageData:
    """Oxford 102 Flowers (Nilsback & Zisserman 2008) under root/flowers-102, with labels 0..101.

    Images are squeezed to size×size as a whole, whatever their shape. `split` joins "train"
    (1,020 images), "val" (1,020) and "test" (6,149) with "+": the default trains on 7,169 and
    holds `val` out. Nothing is downloaded (see `download_flowers102`).

    Raises FileNotFoundError where the data set is missing, ValueError where it is damaged.
    """
    from torchvision.datasets import Flowers102  # here, because it takes seconds to import

    root = Path(root)
    folder = root / "flowers-102"
    mend = f"remove {folder} and run `{how_to_download(root)}`"

    def load(path: Path) -> Tensor:
        return square(path, size, mend, lambda image: image)

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
    """The command that fetches Flowers-102, to be named where it is missing."""
    return f"ddpm-course download --data-root {root}"


def _offline() -> str:
    return "Without it, `ddpm-course train --data starter` learns from flowers in the package."


def download_flowers102(root: Path | str) -> None:
    """Fetch Flowers-102 (about 350 MB) through torchvision, unless it is there already.

    What is cut short or fails its checksum is fetched again, `TRIES` times in all. Raises
    ConnectionError in one sentence if that does not help, ValueError for a folder of somebody's own
    pictures.
    """
    from torchvision.datasets import Flowers102

    lies = (Path(root) / "flowers-102").exists()
    if not lies and any(p.suffix.lower() in PICTURES for p in Path(root).glob("*")):
        raise ValueError(
            f"{root} holds pictures of its own, which `--data folder` learns from; for Flowers-102 "
            "name another --data-root."
        )

    def fetch() -> None:
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(STALLED)
        try:
            Flowers102(root, download=True)
        finally:
            socket.setdefaulttimeout(patience)

    for attempt in range(1, TRIES + 1):
        try:
            return fetch()
        except (URLError, HTTPException, RuntimeError, ConnectionError, TimeoutError) as error:
            if attempt == TRIES:
                raise ConnectionError(
                    f"Flowers-102 is not under {root} and could not be downloaded in {TRIES} "
                    f"tries ({error}): see to the network or proxy and run it again. {_offline()}"
                ) from error
            time.sleep(attempt * PAUSE)
    return None
