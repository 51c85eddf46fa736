"""How good samples are: their distance from photographs never trained on, and whether they are
copies of the photographs that were.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_course.data.images import ImageData, to_uint8
from ddpm_course.data.subsets import draw_per_class, halves, labels_of, least_per_class
from ddpm_course.diffusion import Denoiser, guided
from ddpm_course.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    nearer_share,
    nearest,
)
from ddpm_course.evaluation.features import EXTRACTORS, features
from ddpm_course.samplers import sample

UNSEEN = {"half-a": 1, "half-b": 0}  # the half that each classifier has not learned from
COPIED = 1 / 3  # of the distance to the second nearest


class Distances(NamedTuple):
    """From one set of images to another, as the mean over the extractors."""

    kernel: float
    frechet: float


class Copying(NamedTuple):
    """Signs of copying, as the mean over the extractors.

    nearer: the chance that a sample is nearer to the training images of its class than a held-out
        image is: ½ for new images, up to 1 for copies. The mean over the classes.
    error: its standard error, from the spread over the classes.
    copied: the share of samples whose nearest training image is less than a third as far as the
        second nearest (Yoon et al. 2023).

    Each of the two half-classifiers compares with one half of the training images. So with them
    copies of the whole set reach only about ¾ and one half: copies of the other half look new.
    Pixels have no such limit.
    """

    nearer: float
    error: float
    copied: float


class Judge:
    """Compares sets of images with held-out ones, equally many per class.

    A network responds differently to images that it learned from. So the default extractors are two
    classifiers: each learned from one half of the training images and is compared on the other. The
    result is the mean over the two.

    Args:
        held_out: images with labels that neither the model nor an extractor has learned from.
        train: the training images of the model, with labels; for the two classifiers all of
            Flowers-102's `train` + `test`, which their halves are of.
        extractors: names in `EXTRACTORS`.

    Attributes:
        per_class: images per class in every set: as many as the rarest class has in `held_out`.
    """

    def __init__(
        self, held_out: ImageData, train: ImageData, extractors: Sequence[str] = tuple(UNSEEN)
    ):
        self.per_class = least_per_class(held_out)
        self.held_out = draw_per_class(held_out, self.per_class, seed=0)
        self.extractors = {name: EXTRACTORS[name]() for name in extractors}
        parts = halves(train)
        self.unseen = {
            name: parts[UNSEEN[name]] if name in UNSEEN else train for name in extractors
        }
        self._held_out_features = {
            name: features(extract, self.held_out.images)
            for name, extract in self.extractors.items()
        }

    def distances(self, images: Tensor | dict[str, Tensor]) -> Distances:
        """From images u8[N,3,S,S], or each extractor's own, to the held-out ones.

        Compare with `floor` only for `per_class` images per class: with fewer the Fréchet distance
        is higher. The kernel distance is lower than for labels chosen at random, because no class
        is more frequent by chance.
        """
        found = []
        for name, extract in self.extractors.items():
            mine = features(extract, images if isinstance(images, Tensor) else images[name])
            theirs = self._held_out_features[name]
            found.append([kernel_distance(mine, theirs), frechet_distance(mine, theirs)])
        return Distances(*torch.tensor(found, dtype=torch.float64).mean(0).tolist())

    def floor(self, seed: int) -> Distances:
        """From random training images, `per_class` per class, to the held-out ones: the distances
        between two sets of real images.
        """
        chosen = {n: draw_per_class(part, self.per_class, seed) for n, part in self.unseen.items()}
        return self.distances({name: data.images for name, data in chosen.items()})

    def copying(self, samples: ImageData) -> Copying:
        """Whether samples, with their labels, are nearer to the training images than the held-out
        images are. Equally many per class are compared.

        A bland image is near to everything, so read `nearer` together with `copied`. Raises
        ValueError for samples of a single class, which have no spread over classes.
        """
        y, y_held_out = labels_of(samples), labels_of(self.held_out)
        if len(y.unique()) < 2:
            raise ValueError("Copying is measured by the spread over classes: sample at least two.")
        found = []
        for name, extract in self.extractors.items():
            train = self.unseen[name]
            reference, y_train = features(extract, train.images), labels_of(train)
            mine = features(extract, samples.images)
            ours, _ = nearest(mine, reference, 2, (y, y_train))
            theirs, _ = nearest(self._held_out_features[name], reference, 2, (y_held_out, y_train))
            shares = [nearer_share(ours[y == k, 0], theirs[y_held_out == k, 0]) for k in y.unique()]
            share = torch.tensor(shares, dtype=torch.float64)
            copied = (ours[:, 0] < COPIED * ours[:, 1]).double().mean()
            found.append([share.mean(), share.std() / len(share) ** 0.5, copied])
        return Copying(*torch.tensor(found, dtype=torch.float64).mean(0).tolist())


def draw_classes(
    denoiser: Denoiser,
    per_class: int,
    *,
    guidance: float = 1.0,
    batch_size: int = 128,
    **settings,
) -> ImageData:
    """`per_class` samples of every class, class by class, from a class-conditional denoiser.

    They are generated `batch_size` at a time. `settings` go to `sample` (sampler, steps, spacing,
    seed, progress, ...). Raises ValueError for a network without classes.
    """
    classes = denoiser.net.config["num_classes"]
    if classes is None:
        raise ValueError("Samples of every class need a class-conditional network.")
    labels, device = torch.arange(classes).repeat_interleave(per_class), denoiser.device
    images = []
    for first in range(0, len(labels), batch_size):
        y = labels[first : first + batch_size].to(device)
        denoise = denoiser.bind(y=y) if guidance == 1 else guided(denoiser, y, guidance)
        shape = (len(y), *denoiser.image_shape)
        x = sample(denoise, shape, denoiser.schedule, first=first, device=device, **settings)
        images.append(to_uint8(x).cpu())
    return ImageData(torch.cat(images), labels)
