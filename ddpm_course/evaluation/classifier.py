"""A small flower classifier, for measuring the samples of diffusion models.

It names the species of an image. Its features, the layer before the last, are what sets of images
are compared by; this needs no download.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.data.subsets import labels_of
from ddpm_course.pretrained.files import load_tensors, save_tensors

CLASSIFIERS = Path(__file__).parent / "classifiers"
SIZE = 64
BATCH_SIZE = 256


class FlowerClassifier(nn.Module):
    """A plain residual network (He et al. 2015, arXiv:1512.03385): images -> species.

    Args:
        widths: channels after the stem and after each residual block; every one halves the size.
        num_classes: species, 102 for Oxford's flowers.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 48, 96, 192, 256), num_classes: int = 102):
        super().__init__()
        self.config = {"widths": list(widths), "num_classes": num_classes}
        stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
        blocks = [_halving(a, b) for a, b in pairwise(widths)]
        self.trunk = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.ReLU(), *blocks)
        self.head = nn.Linear(widths[-1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """f[B,3,S,S] in [-1, 1], any S -> f[B,widths[-1]]: the mean over the last feature map."""
        if x.shape[-2:] != (SIZE, SIZE):
            x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)
        return self.trunk(x.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """f[B,3,S,S] in [-1, 1], any S -> logits f[B,num_classes]."""
        return self.head(self.features(x))


def _halving(in_channels: int, channels: int) -> nn.Module:
    """A residual block of stride 2, f[B,in,H,W] -> f[B,out,H/2,W/2]."""
    from torchvision.models.resnet import BasicBlock  # here, because it takes seconds to import

    shortcut = nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride=2, bias=False), nn.BatchNorm2d(channels)
    )
    return BasicBlock(in_channels, channels, stride=2, downsample=shortcut)


def save_classifier(path: Path, model: FlowerClassifier, record: dict) -> None:
    """Write a classifier as one fp16 safetensors file; `record` is JSON about how it was made."""
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    save_tensors(path, weights, {"network": model.config, "record": record})


def load_classifier(name: str) -> FlowerClassifier:
    """A shipped classifier in eval mode on the CPU, computing in float32: "all" learned from
    Flowers-102's `train` + `test`, "half-a" and "half-b" from one of their `halves` each.
    """
    tensors, metadata = load_tensors(CLASSIFIERS / f"{name}.safetensors")
    model = FlowerClassifier(**metadata["network"])
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: FlowerClassifier, data: ImageData) -> float:
    """The share of images that the classifier recognises: its species is their label."""
    found = [model(to_unit(images)).argmax(1) for images in data.images.split(BATCH_SIZE)]
    return (torch.cat(found) == labels_of(data)).cpu().double().mean().item()
