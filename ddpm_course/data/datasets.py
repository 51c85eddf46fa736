"""The data sets by name, whole or held out. Each loader is f(root, size).

All 8,189 flowers are 101 MB at 64×64, so a data set is held in memory (or on the GPU) whole; no
worker processes are needed.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.folder import folder, parted, whole_folder
from ddpm_course.data.images import ImageData
from ddpm_course.data.starter import starter
from ddpm_course.data.synthetic import synthetic_flowers


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
    """Images like those of the data set `name` that are not in it: Flowers-102's `val` split, a
    tenth of a folder, or procedural flowers of another seed.

    Raises ValueError for a data set that holds none out.
    """
    if name == "flowers102":
        return flowers102(root, size, split="val")
    if name == "synthetic":
        return ImageData(*synthetic_flowers(512, size, seed=1))
    if name == "folder":
        rest, images = parted(whole_folder(root, size).images)
        if not len(images):
            raise ValueError(
                "A tenth of the images is held out to measure on, so 10 are the fewest, not "
                f"{len(rest)}: leave --held-out-every out."
            )
        return ImageData(images, None)
    raise ValueError(
        f"The data set {name} holds no images out of training to measure on: flowers102 and "
        "folder do."
    )
