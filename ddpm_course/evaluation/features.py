"""Feature extractors for comparing sets of images, by name in `EXTRACTORS`."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_course.data.images import to_uint8, to_unit
from ddpm_course.evaluation.classifier import BATCH_SIZE, load_classifier

Extractor = Callable[[Tensor], Tensor]
"""Images f[B,3,S,S] in [-1, 1] -> features f[B,D]."""


def pixels() -> Extractor:
    """The pixel values themselves."""
    return lambda x: x.flatten(1)


def inception() -> Extractor:
    """The 2,048 features of the Inception network that papers report FID and KID with (torchmetrics
    and torch-fidelity; images are upsampled to 299×299). Its weights, 91 MB, are downloaded once.

    Raises ModuleNotFoundError without the packages, ConnectionError without network.
    """
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Inception's features need torchmetrics: install `ddpm-course[inception]`."
        ) from error
    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"])
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"Inception's weights could not be downloaded ({error}): the course's own classifiers "
            "need no network connection."
        ) from error
    return lambda x: network(to_uint8(x))


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "half-a": lambda: load_classifier("half-a").features,
    "half-b": lambda: load_classifier("half-b").features,
    "pixels": pixels,
    "inception": inception,
}


@torch.no_grad()
def features(extract: Extractor, images: Tensor) -> Tensor:
    """Features of images u8[N,3,S,S], f[N,D]."""
    return torch.cat([extract(to_unit(part)) for part in images.split(BATCH_SIZE)])
