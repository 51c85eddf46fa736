"""From a data set to batches: epochs, mirroring and labels."""

import math
from dataclasses import replace

import pytest
import torch
from small import CLASSES, CONFIG, FLOWERS

from ddpm_course import image_batches, to_uint8
from ddpm_course.data.images import ImageData


def numbered(n):
    """n images; image k is filled with the value k and has the label k % CLASSES."""
    values = torch.arange(n, dtype=torch.uint8)
    return ImageData(values[:, None, None, None].expand(-1, 3, 8, 8), torch.arange(n) % CLASSES)


def numbers(batch):
    return to_uint8(batch["x0"])[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("batch_size", [2, 5, 7, 16])
def test_each_epoch_visits_every_image_once(batch_size):
    batch = image_batches(numbered(7), replace(CONFIG, batch_size=batch_size))
    seen = [k for step in range(21) for k in numbers(batch(step))]
    epochs = [seen[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_is_a_function_of_the_step_alone():
    forwards, backwards = (image_batches(FLOWERS, CONFIG, conditional=True) for _ in range(2))
    first = [forwards(step) for step in range(8)]
    second = [backwards(step) for step in reversed(range(8))][::-1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a["x0"], b["x0"])
        assert torch.equal(a["y"], b["y"])
    other = image_batches(FLOWERS, replace(CONFIG, seed=1))
    assert not torch.equal(other(0)["x0"], first[0]["x0"])


def test_batches_lie_between_minus_1_and_1():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    x0 = image_batches(ImageData(images, None), replace(CONFIG, batch_size=2))(0)["x0"]
    assert x0.dtype == torch.float32
    assert sorted(x0.unique().tolist()) == [-1, 1]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_belong_to_their_images_or_are_null_as_often_as_asked(share):
    config = replace(CONFIG, batch_size=50, label_dropout=share)
    batch = image_batches(numbered(16), config, conditional=True)
    batches = [batch(step) for step in range(40)]
    k = torch.tensor([n for b in batches for n in numbers(b)])
    y = torch.cat([b["y"] for b in batches])
    dropped = y == CLASSES
    spread = 4 * math.sqrt(share * (1 - share) / 2000)
    assert dropped.float().mean().item() == pytest.approx(share, abs=spread)
    assert torch.equal(y[~dropped], k[~dropped] % CLASSES)


@pytest.mark.parametrize(("flip", "share"), [(True, 0.5), (False, 0.0)])
def test_half_of_the_images_are_mirrored_left_to_right(flip, share):
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[..., :2, 0] = 255
    batch = image_batches(ImageData(images, None), replace(CONFIG, batch_size=50, flip=flip))
    x0 = torch.cat([batch(step)["x0"] for step in range(40)])
    mirrored = x0[:, 0, 0, -1] == 1
    assert torch.equal(x0[:, 0, 0, 0] == 1, ~mirrored)
    assert (x0[:, :, 2:] == -1).all()
    assert mirrored.float().mean().item() == pytest.approx(share, abs=4 * 0.5 / math.sqrt(2000))


def test_conditional_batches_need_labels():
    with pytest.raises(ValueError, match="no labels"):
        image_batches(ImageData(FLOWERS.images, None), CONFIG, conditional=True)
    assert list(image_batches(FLOWERS, CONFIG)(0)) == ["x0"]
