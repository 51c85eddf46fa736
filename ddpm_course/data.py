"""Pictures as one uint8 tensor: Flowers-102, one's own, the starter set, procedural flowers.

All 8,189 flowers are 101 MB at 64×64, so a data set is held in memory (or on the GPU) whole; no
worker processes are needed. Each loader is f(root, size) and is listed in `DATASETS`.
"""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from http.client import HTTPException
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ddpm_course.files import load_tensors, save_tensors
from ddpm_course.invocation import command
from ddpm_course.picture_files import PICTURES, bytes_of, middle_square, pictures_below, square
from ddpm_course.rng import generator
from ddpm_course.synthetic import synthetic_flowers

STARTER, STARTER_COLUMNS = Path(__file__).parent / "starter.png", 16
TRIES, PAUSE, STALLED = 3, 2.0, 60.0  # tries, and seconds after the first and without a byte
NAMED = 5  # bad pictures in one sentence


class ImageData(NamedTuple):
    """images u8[N,3,size,size]; labels i64[N] from 0, or None where pictures have none."""

    images: Tensor
    labels: Tensor | None

    @property
    def num_classes(self) -> int | None:
        return None if self.labels is None else int(self.labels.max()) + 1


def to_unit(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1], the range that networks and samplers work in."""
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Floats in [-1, 1] -> uint8; what lies outside is clipped. Undoes `to_unit` exactly."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


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
    return _cached(folder / "cache" / f"{split}-{size}px.safetensors", sources, decode)


def species() -> list[str]:
    """The names of Oxford's 102 species, in the order of their labels."""
    from torchvision.datasets import Flowers102

    return list(Flowers102.classes)


def how_to_download(root: Path | str) -> str:
    """The command that fetches Flowers-102, to be named where it is missing."""
    return command("download", "--data-root", root)


def _offline() -> str:
    way = command("train", "--data", "starter")
    return f"Without it, `{way}` learns from flowers in the package."


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


def whole_folder(root: Path | str, size: int) -> ImageData:
    """Every picture below a folder, cropped to its middle square; no labels.

    Raises FileNotFoundError without a folder or a picture in it, ValueError that names those that
    cannot be read.
    """
    sources = pictures_below(Path(root))

    def decode() -> ImageData:
        images, bad = [], []
        for path in tqdm(sources, "reading pictures", unit="picture", disable=None, leave=False):
            try:
                images.append(square(path, size, "replace or remove it", middle_square))
            except ValueError as error:
                bad.append(str(error))
        if bad:
            more = f" So are {len(bad) - NAMED} more." if len(bad) > NAMED else ""
            raise ValueError(" ".join(bad[:NAMED]) + more)
        return ImageData(torch.stack(images), None)

    return _cached(Path(root) / ".ddpm_course" / f"{size}px.safetensors", sources, decode)


def parted(images: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [N,...] to learn from, and those that are held out: a random tenth, at most 300."""
    order, number = torch.randperm(len(images), generator=generator(0)), min(300, len(images) // 10)
    return images[order[number:]], images[order[:number]]


def folder(root: Path | str, size: int) -> ImageData:
    """`whole_folder` without the pictures that `held_out` has."""
    return ImageData(parted(whole_folder(root, size).images)[0], None)


def starter(root: Path | str, size: int) -> ImageData:
    """512 flowers drawn by the course's own model, in the package; `root` is not read.

    Seed 0, none left out; image k was drawn for label k % 102 (see `.ci/make_starter.py`).
    """
    with Image.open(STARTER) as sheet:
        tile = sheet.width // STARTER_COLUMNS
        boxes = product(range(0, sheet.height, tile), range(0, sheet.width, tile))
        tiles = [sheet.crop((x, y, x + tile, y + tile)).convert("RGB") for y, x in boxes]
    images = torch.stack(
        [bytes_of(picture.resize((size, size), Image.Resampling.LANCZOS)) for picture in tiles]
    )
    return ImageData(images, torch.arange(len(images)) % 102)


def synthetic(root: Path | str, size: int) -> ImageData:
    """2,048 procedural flowers of seed 0 with their species; `root` is not read."""
    return ImageData(*synthetic_flowers(2048, size, seed=0))


DATASETS: dict[str, Callable[[Path, int], ImageData]] = {
    "flowers102": flowers102,
    "flowers102-all": partial(flowers102, split="train+val+test"),
    "folder": folder,
    "folder-all": whole_folder,
    "starter": starter,
    "synthetic": synthetic,
}


def load_data(name: str, root: Path | str, size: int) -> ImageData:
    """The data set of that name in `DATASETS`. Raises ValueError for an unknown one."""
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}: choose one of {', '.join(DATASETS)}.")
    return DATASETS[name](Path(root), size)


def held_out(name: str, root: Path | str, size: int) -> ImageData:
    """Pictures like those of the data set `name`, none of which is in it: Flowers-102's `val`
    split, a tenth of a folder, or procedural flowers of another seed.

    Raises ValueError for a data set that keeps none out.
    """
    if name == "flowers102":
        return flowers102(root, size, split="val")
    if name == "synthetic":
        return ImageData(*synthetic_flowers(512, size, seed=1))
    if name == "folder":
        rest, images = parted(whole_folder(root, size).images)
        if not len(images):
            raise ValueError(
                "A tenth of the pictures is held out to measure on, so 10 are the fewest, not "
                f"{len(rest)}: leave --held-out-every out."
            )
        return ImageData(images, None)
    raise ValueError(
        f"The data set {name} keeps no pictures out of training to measure on: flowers102 and "
        "folder do."
    )


def example_root() -> Path:
    """Where the notebooks look for photographs: DDPM_DATA_ROOT, by default ../data beside them."""
    return Path(os.environ.get("DDPM_DATA_ROOT", "../data")).resolve()


def example_data(size: int) -> tuple[ImageData, str]:
    """A data set for a notebook, and a sentence that says what it is.

    Flowers-102 (`train` + `test`) if it lies under `example_root()`, else the starter set. Nothing
    is downloaded.
    """
    root = example_root()
    try:
        photographs = flowers102(root, size)
    except FileNotFoundError:
        return starter(root, size), (
            "Data: starter set, flowers drawn by this course's own model. For photographs, run "
            f"`{command('download')}` in the project's folder, then this notebook again."
        )
    return photographs, f"Data: photographs, Oxford 102 Flowers under {root}."


def example_images(number: int, size: int) -> tuple[Tensor, str]:
    """A few pictures of `example_data`, always the same, u8[number,3,size,size]; its sentence."""
    data, source = example_data(size)
    return data.images[torch.randperm(len(data.images), generator=generator(0))[:number]], source


_UNSAVED: dict[Path, tuple[str, ImageData]] = {}


def _cached(cache: Path, sources: Iterable[Path], decode: Callable[[], ImageData]) -> ImageData:
    """decode(), or what it gave last time if no source has changed since."""
    facts = [f"{p.name} {(s := p.stat()).st_size} {s.st_mtime_ns}" for p in sources]
    fingerprint = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    if _UNSAVED.get(cache, ("",))[0] == fingerprint:
        return _UNSAVED[cache][1]
    try:
        tensors, metadata = load_tensors(cache)
        if metadata.get("fingerprint") == fingerprint:
            return ImageData(tensors["images"], tensors.get("labels"))
    except (OSError, ValueError, KeyError):
        pass  # no cache, or a damaged one: decoding makes it anew
    data = decode()
    tensors = {name: value for name, value in data._asdict().items() if value is not None}
    try:
        save_tensors(cache, tensors, {"fingerprint": fingerprint})
    except OSError:  # a read-only folder costs time at the next start, not at the next call
        _UNSAVED[cache] = fingerprint, data
    return data
