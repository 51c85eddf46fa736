"""Parts of a data set: evenly spread, halves, a number per class."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_course.data.images import ImageData
from ddpm_course.rng import generator


def labels_of(data: ImageData) -> Tensor:
    """The labels i64[N]. Raises ValueError where there are none."""
    if data.labels is None:
        raise ValueError("These images have no labels, so they cannot be chosen by class.")
    return data.labels


def take(data: ImageData, rows: Tensor) -> ImageData:
    """The images in those rows, with their labels."""
    return ImageData(data.images[rows], None if data.labels is None else data.labels[rows])


def spread(data: ImageData, number: int) -> ImageData:
    """At most `number` of the images, evenly from first to last."""
    N = len(data.images)
    return take(data, torch.linspace(0, N - 1, min(number, N)).long())


def halves(data: ImageData) -> tuple[ImageData, ImageData]:
    """Two disjoint halves: of each class, every other image goes to the second."""
    turn = _turn(labels_of(data)) % 2
    return take(data, (turn == 0).nonzero()[:, 0]), take(data, (turn == 1).nonzero()[:, 0])


def draw_per_class(data: ImageData, number: int, seed: int) -> ImageData:
    """`number` random images of every class, none twice, class by class.

    Two sets of images are compared fairly only if each class has equally many in both. Otherwise a
    distance measures how often each species was photographed. Raises ValueError if a class has
    fewer, or there are no labels.
    """
    labels = labels_of(data)
    if number > (least := least_per_class(data)):
        raise ValueError(f"One of the classes has only {least} images, not {number}.")
    order = torch.randperm(len(labels), generator=generator(seed))
    chosen = order[_turn(labels[order]) < number]
    return take(data, chosen[labels[chosen].argsort(stable=True)])


def least_per_class(data: ImageData) -> int:
    """The number of images of the rarest class that occurs."""
    counts = labels_of(data).bincount()
    return int(counts[counts > 0].min())


def _turn(labels: Tensor) -> Tensor:
    """How many images of the same class come before each one."""
    return F.one_hot(labels).cumsum(0).gather(1, labels[:, None])[:, 0] - 1
