"""Exercises of notebook 00: pixels in and out, and how long a training run is."""

import math

import torch

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

PIXELS = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)


@exercises.add(
    "Turn the whole numbers into floats first. The range 0..255 is 255 wide and [-1, 1] is 2 wide: "
    "shrink it to that, then move its middle to 0.",
    lambda: [(PIXELS.clone(),), (PIXELS[1:2].clone(),), (PIXELS[:, :, :3, :5].clone(),)],
    """
    return images.float() / 255
        You scale to [0, 1]. Here images run from −1 to 1, so that they lie around 0 as noise does.
    return images.float() / 128 - 1
        You divide by 128, so 255 becomes 0.992 instead of 1. Half of 255 is 127.5.
    return images * 2 / 255 - 1
    return (images - 128) / 127.5
        uint8 starts again at 0 after 255. Convert to float first and calculate then.
    return (images.float() - images.min()) / (images.max() - images.min()) * 2 - 1
    return (images.float() - images.float().mean()) / images.float().std()
        One pixel value becomes different numbers in different batches. Scale by fixed numbers, not
        by a minimum, maximum or mean of the images that come.
    """,
)
def to_unit(images):
    """uint8 0..255 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


@exercises.add(
    "Solve x = pixel/127.5 − 1 for the pixel. A network's output can leave [-1, 1] and lie between "
    "two whole numbers, so there are two things to do before the type changes.",
    lambda: [(torch.linspace(-1.5, 1.5, 300).view(1, 3, 10, 10),), (dc.to_unit(PIXELS),)],
    """
    return ((x + 1) * 127.5).round().int().to(torch.uint8)
        Values outside [-1, 1] wrap around in uint8, so clip first.
    round(). ->
        You cut the decimals off, so 99.99 becomes 99 and images get darker. `.to(torch.uint8)` does
        not round, so do that first.
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)
    return (x * 255).clamp(0, 255).to(torch.uint8)
    return (x * 255).clamp(0, 255).round().to(torch.uint8)
        You multiply by 255 as if x ran from 0 to 1. It runs from −1, so add 1 and multiply by
        127.5.
    return (x * 127.5).clamp(0, 255).round().to(torch.uint8)
        You forgot to add 1. Half of the range is below 0, where uint8 has nothing.
    return ((x + 1) * 255).clamp(0, 255).to(torch.uint8)
    return ((x + 1) * 255).clamp(0, 255).round().to(torch.uint8)
        x + 1 runs from 0 to 2, so 255 is twice too much. Multiply by 127.5.
    return ((x.clamp(-1, 1) + 1) * 128).clamp(0, 255).to(torch.uint8)
    return ((x.clamp(-1, 1) + 1) * 128).clamp(0, 255).round().to(torch.uint8)
    return ((x.clamp(-1, 1) + 1) * 128).int().to(torch.uint8)
        You multiply by 128. That takes 1 to 256, one more than uint8 holds, so use 127.5.
    clamp(-1, 1) -> clamp(0, 1)
        Everything below 0 becomes one grey. You clip to [0, 1], but x starts at −1.
    return ((x.tanh() + 1) * 127.5).round().to(torch.uint8)
    return ((x.tanh() + 1) * 127.5).to(torch.uint8)
        `tanh` also bends values inside [−1, 1]. Clipping leaves those as they are.
    return ((x - x.min()) / (x.max() - x.min()) * 255).round().to(torch.uint8)
    return ((x - x.min()) / (x.max() - x.min()) * 255).to(torch.uint8)
        You stretch each batch to its own minimum and maximum. Scale by fixed numbers and clip.
    """,
)
def to_uint8(x):
    """Floats in [-1, 1] -> uint8 0..255; values outside are clipped."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


@exercises.add(
    "How many images does the whole training run see, each counted as often as it is seen? They "
    "come in batches without a gap, and only the very last batch may be left unfilled.",
    lambda: [(280, 8189, 128), (2, 64, 32), (3, 100, 32), (1, 10, 32), (4, 50, 8), (7, 45, 4)],
    """
    return epochs * images // batch_size
    return round(epochs * images / batch_size)
        Some images are still to come after the last step. Round up, neither down nor to the
        nearest.
    return epochs * math.ceil(images / batch_size)
        You round up in each epoch. A batch that an epoch leaves unfilled goes on with the next
        epoch here, so round once, at the end.
    return epochs * (images // batch_size)
        You drop the rest of each epoch. A batch goes on with the next epoch, so round once, at the
        end.
    return epochs * images / batch_size
        You can't do part of a step, so round up.
    return epochs * images // batch_size + 1
    return round(epochs * images / batch_size + 0.5)
        Where the batches come out even there is no step to add. Round up instead of adding 1.
    """,
)
def steps_of(epochs, images, batch_size):
    """Optimiser steps in which every image is seen `epochs` times."""
    return math.ceil(epochs * images / batch_size)
