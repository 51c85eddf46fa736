"""Runs that take milliseconds: a few procedural flowers of 8×8 pixels and a tiny network."""

import csv

import torch

from ddpm_course import Denoiser, TrainConfig, UNet, cosine_schedule, image_batches, train
from ddpm_course.data.images import ImageData
from ddpm_course.data.synthetic import synthetic_flowers

CLASSES = 8
CONFIG = TrainConfig(
    steps=6, batch_size=4, learning_rate=1e-3, warmup_steps=2, precision="fp32", log_every=1,
    checkpoint_every=100,
)  # fmt: skip
IMAGES, LABELS = synthetic_flowers(10, 8, seed=0)
FLOWERS = ImageData(IMAGES, LABELS.index_fill(0, torch.tensor([0]), CLASSES - 1))


def make(dropout=0.0, conditional=False, prediction="v", schedule=None, channels=(8, 16)):
    torch.manual_seed(0)
    net = UNet(
        channels=channels, attention_levels=(), blocks=1, head_dim=8, dropout=dropout,
        num_classes=CLASSES if conditional else None, image_size=8,
    )  # fmt: skip
    return Denoiser(net, schedule or cosine_schedule(50), prediction)


def run(config=CONFIG, denoiser=None, **options):
    """All states of a run on the flowers."""
    return list(train(denoiser or make(), image_batches(FLOWERS, config), config, **options))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
