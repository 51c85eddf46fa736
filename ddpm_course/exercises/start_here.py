"""Exercises of notebook 00: pixels in and out, and how long a training is."""

import math

import torch

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises, Wrong, close, require, tensor_of

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

PIXELS = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)


def _test_to_unit(f) -> None:
    shape, x = tuple(PIXELS.shape), PIXELS.float()
    got = tensor_of(f(PIXELS.clone()), shape)
    whole = f"the result is {got.dtype}, whole numbers; nearly all pixels belong between −1 and 1."
    require(got.is_floating_point(), whole)
    require(got.dtype == torch.float32, f"the result is {got.dtype}; networks work in float32.")
    values = got.flatten()
    falls = (values.diff() < 0).nonzero().flatten().tolist()
    require(len(falls) < 255, "black and white are swapped: 0 is black and becomes −1.")
    if falls:
        k = falls[0]
        raise Wrong(
            f"{k} becomes {values[k]:.3g}, but {k + 1} falls back to {values[k + 1]:.3g}: uint8 "
            "starts again at 0 after 255, so make floats first and calculate then.",
        )
    part = tensor_of(f(PIXELS[1:2].clone()), (1, 1, 8, 8))
    require(
        close(part, got[1:2]),
        "one pixel value becomes different numbers in different batches: scale by fixed numbers, "
        "not by a minimum, maximum or mean of the images that came.",
    )
    mistakes = {
        "you scale to [0, 1]; here images lie around 0, as the noise does, from −1 to 1.": x / 255,
        "you divide by 128, so 255 becomes 0.992 and not 1: half of 255 is 127.5.": x / 128 - 1,
        "you moved the middle to 0 but did not divide: the values reach ±127.5.": x - 127.5,
        "the values run from 0 to 2: subtract 1 to centre them.": x / 127.5,
        "the values reach only ±0.5: the range is 2 wide, so divide by 127.5.": x / 255 - 0.5,
        "you made floats, but they still run from 0 to 255.": x,
    }
    for sentence, wrong in mistakes.items():
        require(not close(got, wrong), sentence)
    shades = len(values.unique())
    told = f"256 shades go in and {shades} come out: `//` and rounding throw the rest away."
    require(shades == 256, told)
    low, high = values[0].item(), values[-1].item()
    ends = close(low, -1.0) and close(high, 1.0)
    require(ends, f"0 becomes {low:.4g} and 255 becomes {high:.4g}, not −1 and 1.")
    right = dc.to_unit(PIXELS).flatten()
    k = int((values - right).abs().argmax())
    require(close(values, right), f"{k} becomes {values[k]:.4g}, not {right[k]:.4g}.")


@exercises.add(
    _test_to_unit,
    "Turn the whole numbers into floats first. The range 0..255 is 255 wide and [-1, 1] is 2 wide: "
    "shrink it to that, then move its middle to 0.",
)
def to_unit(images):
    """uint8 0..255 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def _test_to_uint8(f) -> None:
    shape = (1, 3, 10, 10)
    x = torch.linspace(-1.5, 1.5, 300).view(shape)
    given = x.clone()
    got = tensor_of(f(given), shape)
    require(close(given, x), "you write into x, which the caller still needs: leave out the `_`.")
    dtype = f"the result is {got.dtype}; an image is stored as torch.uint8."
    require(got.dtype == torch.uint8, dtype)
    inside, low, high = x.abs() < 0.99, (x > -1) & (x < 0), (x > 0) & (x < 1)
    mistakes = {
        "you multiply by 255 as if x ran from 0 to 1; it runs from −1, so add 1 and multiply by "
        "127.5.": (255 * x, high),
        "you forgot to add 1: half of the range is below 0, where uint8 has nothing.": (
            127.5 * x,
            high,
        ),
        "x + 1 runs from 0 to 2, so 255 is twice too much: multiply by 127.5.": (
            255 * (x + 1),
            low,
        ),
        "you multiply by 128, which takes 1 to 256, one more than uint8 holds: it is 127.5.": (
            128 * (x + 1),
            inside,
        ),
    }
    for sentence, (wrong, where) in mistakes.items():
        for values in (wrong.floor(), wrong.round()):
            require(not close(got[where], values[where]), sentence)
    dark, exact = got[low].unique(), 127.5 * (x + 1)
    grey = f"all that is below 0 becomes {dark[0]}: you clip to [0, 1], but x starts at −1."
    require(len(dark) > 1, grey)
    cut = (
        "you cut the decimals off, so 99.99 becomes 99 and images get darker: `.to(torch.uint8)` "
        "does not round, so do that first."
    )
    require(not close(got[inside], exact.floor()[inside]), cut)
    right = dc.to_uint8(x)
    for k in (got != right).flatten().nonzero().flatten().tolist():
        value, answer, wanted = (v.flatten()[k].item() for v in (x, got, right))
        wraps = ": what lies outside [-1, 1] wraps around in uint8, so clip first."
        end = wraps if abs(value) > 1 else "."
        raise Wrong(f"{value:.3f} becomes {answer}, not {wanted}{end}")
    back = tensor_of(f(dc.to_unit(PIXELS)), tuple(PIXELS.shape))
    require(close(back, PIXELS), "it does not undo `to_unit` for every pixel from 0 to 255.")


@exercises.add(
    _test_to_uint8,
    "Solve x = pixel/127.5 − 1 for the pixel. What a network returns can leave [-1, 1] and lie "
    "between two whole numbers, so there are two things to do before the type changes.",
)
def to_uint8(x):
    """Floats in [-1, 1] -> uint8 0..255; what lies outside is clipped."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _test_steps_of(f) -> None:
    epochs, images, batch_size = 280, 8189, 128
    got = f(epochs, images, batch_size)
    require(got is not None, "it returned None: does the function end with `return`?")
    got, seen = float(got), epochs * images
    mistakes = {
        "you leave out the epochs: every image is seen once in each of them.": (
            math.ceil(images / batch_size),
            images // batch_size,
            images / batch_size,
        ),
        "you leave out batch_size: one step works on a whole batch.": (seen,),
        "you round up in each epoch; here a batch that an epoch leaves unfilled goes on with the "
        "next one, so round once, at the end.": (epochs * math.ceil(images / batch_size),),
        "you drop what is left over in each epoch; a batch goes on with the next epoch, so round "
        "once, at the end.": (epochs * (images // batch_size),),
        "after 17913 steps some images are still to come: round up, neither down nor to the "
        "nearest.": (seen // batch_size,),
        f"it is {got:.2f}, but part of a step cannot be done: round up.": (seen / batch_size,),
    }
    for sentence, values in mistakes.items():
        require(got not in values, sentence)
    for case in ((280, 8189, 128), (2, 64, 32), (3, 100, 32), (1, 10, 32), (10, 7169, 64)):
        epochs, images, batch_size = case
        right, got = math.ceil(epochs * images / batch_size), f(*case)
        exact = epochs * images % batch_size == 0 and got == right + 1
        told = "the batches come out even, so there is no step to add: round up, don't add 1."
        require(not exact, f"for {epochs} · {images} images in batches of {batch_size} {told}")
        require(got == right, f"steps_of{case} is {got}, not {right}.")
        kind = type(got).__name__
        require(isinstance(got, int), f"it returned a {kind}; steps are counted, so an int.")


@exercises.add(
    _test_steps_of,
    "How many images does the whole training see, each counted as often as it is seen? They come "
    "in batches without a gap, and only the very last one may be left unfilled.",
)
def steps_of(epochs, images, batch_size):
    """Optimiser steps in which every image is seen `epochs` times."""
    return math.ceil(epochs * images / batch_size)
