"""What drawn pictures are worth: how far they are from photographs never trained on, and whether
they are copies of the photographs that were.
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
COPIED = 1 / 3


class Distances(NamedTuple):
    """From one set of pictures to another, in the mean over the extractors."""

    kernel: float
    frechet: float


class Copying(NamedTuple):
    """Signs of copying, in the mean over the extractors.

    nearer: the chance that a drawn picture lies nearer to the training pictures of its class than
        a held-out one does: ½ for new pictures, up to 1 for copies. The mean over the classes.
    error: its standard error, from the classes' spread.
    copied: the share of drawn pictures that lie less than a third as far from the nearest training
        picture as from the second nearest (Yoon et al. 2023).

    The two half-classifiers are each shown half of the training pictures, so with them copies of
    all of it reach only about ¾ and one half: what is copied from the other half looks new. Pixels
    have no such limit.
    """

    nearer: float
    error: float
    copied: float


class Judge:
    """Compares sets of pictures with held-out ones, class by class equally many.

    A network responds differently to pictures that it learned from. So the default
    extractors are two classifiers, each of which learned from one half of the training pictures and
    is shown the other half alone; what the judge says is the mean over the two.

    Args:
        held_out: pictures with labels that neither the model nor an extractor has learned from.
        train: the pictures that the model learned from, with labels; for the two classifiers all of
            Flowers-102's `train` + `test`, since it is that whose halves they know.
        extractors: names in `EXTRACTORS`.

    Attributes:
        per_class: pictures of each class in every set: as many as the rarest has in `held_out`.
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
        self._seen = {n: features(f, self.held_out.images) for n, f in self.extractors.items()}

    def distances(self, images: Tensor | dict[str, Tensor]) -> Distances:
        """From pictures u8[N,3,S,S], or each extractor's own, to the held-out ones. Compare it with
        `floor` only for `per_class` pictures of each class: with fewer the Fréchet distance is
        higher, and the kernel distance lower, since no class is drawn more often by chance.
        """
        if isinstance(images, Tensor):
            images = {name: images for name in self.extractors}
        pairs = [(features(f, images[n]), self._seen[n]) for n, f in self.extractors.items()]
        told = [(kernel_distance(a, b), frechet_distance(a, b)) for a, b in pairs]
        return Distances(*torch.tensor(told, dtype=torch.float64).mean(0).tolist())

    def floor(self, seed: int) -> Distances:
        """From a draw of training pictures, `per_class` of each class, to the held-out ones: what
        the distances are between two sets of real pictures.
        """
        draws = {n: draw_per_class(part, self.per_class, seed) for n, part in self.unseen.items()}
        return self.distances({name: draw.images for name, draw in draws.items()})

    def copying(self, drawn: ImageData) -> Copying:
        """Whether drawn pictures, with their labels, lie nearer to the training pictures than the
        held-out ones do. Equally many of each class are compared.

        A tame picture lies near to everything: read `nearer` together with `copied`. Raises
        ValueError for pictures of a single class, which leave no spread to tell an error by.
        """
        if len(labels_of(drawn).unique()) < 2:
            raise ValueError("Copying is told from the spread over classes: draw at least two.")
        told = []
        for name, extract in self.extractors.items():
            train = self.unseen[name]
            reference = features(extract, train.images)

            def look(data: ImageData, extract=extract, reference=reference, train=train) -> Tensor:
                classes = (labels_of(data), labels_of(train))
                return nearest(features(extract, data.images), reference, 2, classes)[0]

            ours, theirs = look(drawn), look(self.held_out)
            y, y_held_out = labels_of(drawn), labels_of(self.held_out)
            shares = [nearer_share(ours[y == k, 0], theirs[y_held_out == k, 0]) for k in y.unique()]
            share = torch.tensor(shares, dtype=torch.float64)
            copied = (ours[:, 0] < COPIED * ours[:, 1]).double().mean()
            told.append([share.mean(), share.std() / len(share) ** 0.5, copied])
        return Copying(*torch.tensor(told, dtype=torch.float64).mean(0).tolist())


def draw_classes(
    denoiser: Denoiser,
    per_class: int,
    *,
    guidance: float = 1.0,
    batch_size: int = 128,
    **settings,
) -> ImageData:
    """`per_class` pictures of every class, class by class, from a class-conditional denoiser.

    They are generated `batch_size` at a time. `settings` go to `sample` (sampler, steps, spacing,
    seed, progress, ...). Raises ValueError for a network without classes.
    """
    classes = denoiser.net.config["num_classes"]
    if classes is None:
        raise ValueError("Pictures of every class need a class-conditional network.")
    labels, device = torch.arange(classes).repeat_interleave(per_class), denoiser.device
    images = []
    for first in range(0, len(labels), batch_size):
        y = labels[first : first + batch_size].to(device)
        denoise = denoiser.bind(y=y) if guidance == 1 else guided(denoiser, y, guidance)
        shape = (len(y), *denoiser.image_shape)
        x = sample(denoise, shape, denoiser.schedule, first=first, device=device, **settings)
        images.append(to_uint8(x).cpu())
    return ImageData(torch.cat(images), labels)
