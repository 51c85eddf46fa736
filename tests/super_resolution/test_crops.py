"""Crops of image pairs: the same place in both, from everywhere, in batches named by their step."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch.nn.functional import interpolate

from ddpm_course import cosine_schedule, to_unit
from ddpm_course.rng import LEVEL, generator, randn
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.super_resolution import crops
from ddpm_course.super_resolution.crops import middle_crops
from ddpm_course.super_resolution.model import LEVELS, upsampled
from ddpm_course.super_resolution.pairs import Pairs

pair_batches = partial(crops.pair_batches, batch_size=8, seed=0)


def ramps(number=8):
    """Linear ramps, each in its own direction. Bicubic interpolation of the low-resolution image
    gives the high-resolution one, except at the border.
    """
    draw = torch.Generator().manual_seed(0)
    slope = 2 * torch.randint(-2, 3, (number, 3, 2), generator=draw)

    def ramp(places):
        rows, columns = places[:, None], places[None, :]
        a, b = slope[..., 0, None, None], slope[..., 1, None, None]
        return (128 + a * (rows - 7.5) + b * (columns - 7.5)).round().to(torch.uint8)

    return Pairs(ramp((torch.arange(64) + 0.5) / 4 - 0.5), ramp(torch.arange(16)))


CLEAN = NoiseSchedule(1 - 1e-12 * torch.arange(LEVELS + 2, dtype=torch.float64))


def test_crops_of_both_images_of_a_pair_show_the_same_place():
    batch = pair_batches(ramps(), CLEAN, 32)
    for step in range(6):
        got = batch(step)
        inside = (..., slice(8, -8), slice(8, -8))
        difference = (got["x0"] - got["low_res"])[inside].abs().max()
        assert difference < 1.1 / 127.5  # one grey level, for rounding
    assert got["x0"].shape == got["low_res"].shape == (8, 3, 32, 32)


def test_crops_come_from_everywhere_and_half_are_mirrored():
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    place = torch.stack([rows, columns, columns]).to(torch.uint8)[None]
    data = Pairs(place, place[..., ::4, ::4])
    batch = pair_batches(data, CLEAN, 32, batch_size=400)(0)
    x0 = (batch["x0"] * 127.5 + 127.5).round()
    tops, lefts = x0[:, 0, 0, 0], x0[:, 1, 0].amin(1)
    for corners in (tops, lefts):
        assert sorted(set(corners.tolist())) == list(range(0, 36, 4))
    assert (x0[:, 1, 0, 0] > x0[:, 1, 0, -1]).float().mean() == pytest.approx(0.5, abs=0.08)
    unflipped = pair_batches(data, CLEAN, 32, flip=False)(0)["x0"]
    assert (unflipped[:, 1, 0, 0] < unflipped[:, 1, 0, -1]).all()


def test_the_low_resolution_image_is_as_noisy_as_its_level(monkeypatch):
    name = "ddpm_course.super_resolution.model.upsampled"
    monkeypatch.setattr(name, lambda x: interpolate(x, scale_factor=4))
    schedule = cosine_schedule(1000)
    black = torch.zeros(4, 3, 128, 128, dtype=torch.uint8)
    data = Pairs(black, black[..., ::4, ::4])
    batch = pair_batches(data, schedule, 128, batch_size=400, flip=False)(0)
    level = batch["level"]
    assert level.min() < 5
    assert level.max() > LEVELS - 5
    assert level.float().mean() == pytest.approx(LEVELS / 2, rel=0.1)
    abar = schedule.alphas_cumprod[level].float()
    torch.testing.assert_close(
        batch["low_res"].flatten(1).std(1), (1 - abar).sqrt(), rtol=0.1, atol=1e-4
    )
    torch.testing.assert_close(batch["low_res"].flatten(1).mean(1), -abar.sqrt(), rtol=0, atol=0.03)
    noise = interpolate(randn((400, 3, 32, 32), generator(0, 0, LEVEL)), scale_factor=4)
    abar = abar[:, None, None, None]
    torch.testing.assert_close(batch["low_res"], (1 - abar).sqrt() * noise - abar.sqrt())


def test_pair_batches_are_functions_of_the_step_and_use_every_image_once():
    shade = (16 * torch.arange(16, dtype=torch.uint8))[:, None, None, None]
    data = Pairs(shade.expand(16, 3, 32, 32), shade.expand(16, 3, 8, 8))
    forwards, backwards = (pair_batches(data, CLEAN, 16) for _ in range(2))
    steps = {step: forwards(step) for step in range(4)}
    for step in reversed(range(4)):
        for name, value in backwards(step).items():
            assert torch.equal(value, steps[step][name])
    seen = [torch.cat([steps[k]["x0"][:, 0, 0, 0] for k in pair]) for pair in ((0, 1), (2, 3))]
    for epoch in seen:
        assert Counter(epoch.tolist()) == Counter(to_unit(16 * torch.arange(16)).tolist())
    assert not torch.equal(*seen)


@pytest.mark.parametrize("size", [30, 68])
def test_crops_that_cannot_be_cut_are_refused(size):
    with pytest.raises(ValueError, match=f"Crops of {size} pixels .* multiple of 4, at most 64"):
        pair_batches(ramps(), CLEAN, size)


def test_middle_crops_come_with_what_the_low_resolution_copies_show():
    data = ramps()
    images, cond = middle_crops(data, 32, 5)
    assert torch.equal(images.images, data.high_res[:5, :, 16:48, 16:48])
    assert torch.equal(cond["low_res"], upsampled(to_unit(data.low_res[:5]))[..., 16:48, 16:48])
    assert cond["level"].tolist() == [0] * 5
    assert (to_unit(images.images) - cond["low_res"]).abs().max() < 1.1 / 127.5
