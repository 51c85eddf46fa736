"""What the notebooks show: photographs where they are at hand, else the starter set."""

import os
from pathlib import Path

import torch
from torch import Tensor

from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.images import ImageData
from ddpm_course.data.starter import starter
from ddpm_course.data.subsets import draw_per_class, take
from ddpm_course.rng import generator


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
            "`ddpm-course download` in the project's folder, then this notebook again."
        )
    return photographs, f"Data: photographs, Oxford 102 Flowers under {root}."


def example_images(number: int, size: int) -> tuple[Tensor, str]:
    """A few pictures of `example_data`, always the same, u8[number,3,size,size]; its sentence."""
    data, source = example_data(size)
    return data.images[torch.randperm(len(data.images), generator=generator(0))[:number]], source


def example_split(size: int) -> tuple[ImageData, ImageData, str]:
    """For a notebook that measures: training pictures, held-out ones, and what they are.

    Of Flowers-102, where it is at hand, `train` + `test`, and two of each species of `val`, so that
    all of it takes minutes. Else the starter set, whose first 102, one of each class, are held out.
    """
    data, source = example_data(size)
    try:
        val = flowers102(example_root(), size, "val")
        return data, draw_per_class(val, 2, seed=0), source
    except FileNotFoundError:
        rows = torch.arange(len(data.images))
        return take(data, rows[102:]), take(data, rows[:102]), source
