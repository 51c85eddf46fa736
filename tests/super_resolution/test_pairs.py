"""Photographs beside their spoilt copies, and the batches of crops that are made of them."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ddpm_course import TrainConfig, cosine_schedule, to_unit
from ddpm_course.data.image_files import bytes_of
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.rng import LEVEL, generator, randn
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.super_resolution.model import LEVELS, upsampled
from ddpm_course.super_resolution.pairs import Pairs, load_pairs, make_pairs, middle
from ddpm_course.training.batches import middle_crops, pair_batches

CONFIG = TrainConfig(batch_size=8)


def spoil(monkeypatch, blur=0.0, noise=0.0, quality=100):
    for name, value in (("BLUR", blur), ("NOISE", noise), ("QUALITY", quality)):
        monkeypatch.setattr(f"ddpm_course.super_resolution.pairs.{name}", value)


# ---- spoilt copies


def test_an_unspoilt_copy_is_the_picture_made_smaller(monkeypatch):
    spoil(monkeypatch)
    large = synthetic_flowers(3, 64, seed=0)[0]
    small = make_pairs(large).small
    for picture, copy in zip(large, small, strict=True):
        whole = Image.fromarray(picture.permute(1, 2, 0).numpy())
        expected = bytes_of(whole.resize((16, 16), Image.Resampling.BICUBIC))
        assert (copy.int() - expected.int()).abs().float().mean() < 1.5  # what JPEG leaves at 100


def test_noise_is_of_any_strength_up_to_the_worst(monkeypatch):
    spoil(monkeypatch, noise=8.0)
    grey = torch.full((60, 3, 128, 128), 128, dtype=torch.uint8)
    std = make_pairs(grey).small.float().flatten(1).std(1)
    assert std.max() == pytest.approx(8, rel=0.1)
    assert std.min() < 1
    assert std.mean() == pytest.approx(4, rel=0.2)


def test_blur_softens_an_edge_more_or_less(monkeypatch):
    """A Gaussian's: blurred by 8·r, an edge of 255 rises by 255·4 / (√2π·8·r) a small pixel."""
    spoil(monkeypatch, blur=8.0)
    edge = torch.zeros(40, 3, 128, 128, dtype=torch.uint8)
    edge[..., 64:] = 255
    steepest = make_pairs(edge).small.float().diff(dim=-1).amax((1, 2, 3))
    assert steepest.max() > 150
    drawn = torch.stack([torch.rand(3, generator=generator(0, k))[0] for k in range(40)])
    wide = drawn > 0.6  # wide enough for one small pixel to be a tangent
    slope = 255 * 4 / (math.sqrt(2 * math.pi) * 8 * drawn)
    torch.testing.assert_close(steepest[wide], slope[wide], rtol=0.1, atol=0)


def test_quality_leaves_traces(monkeypatch):
    large = synthetic_flowers(8, 64, seed=0)[0]
    spoil(monkeypatch)
    clean = make_pairs(large).small.float()
    spoil(monkeypatch, quality=20)
    assert (make_pairs(large).small.float() - clean).abs().flatten(1).mean(1).max() > 3


def test_a_copy_depends_on_its_number_alone():
    large = synthetic_flowers(4, 32, seed=0)[0]
    small = make_pairs(large).small
    assert torch.equal(make_pairs(large[:2]).small, small[:2])
    assert not torch.equal(make_pairs(large[[1]]).small, small[[1]])


def test_the_middle_of_a_photograph_is_reduced_by_averaging_whole_pixels():
    pattern = torch.randint(256, (3, 250, 300), generator=torch.Generator().manual_seed(0))
    doubled = pattern.to(torch.uint8).repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = middle(Image.fromarray(doubled.permute(1, 2, 0).numpy()))
    assert torch.equal(bytes_of(found), pattern.to(torch.uint8)[:, 13 : 13 + 224, 38 : 38 + 224])


def test_a_picture_that_is_too_small_is_refused(tmp_path):
    for k in range(10):
        Image.new("RGB", (300, 224 - (k == 7))).save(tmp_path / f"{k}.png")
    with pytest.raises(ValueError, match=r"7\.png cannot be read \(300 × 223 pixels are fewer"):
        load_pairs("folder", tmp_path)


def test_photographs_are_turned_upright_before_they_are_judged_and_cut(tmp_path):
    """EXIF orientation 6: stored lying, shown standing, so 224 wide and 250 high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (250, 224))
    lying.paste("red", (0, 0, 125, 224))  # the left half goes to the top
    for k in range(10):
        lying.save(tmp_path / f"{k}.png", exif=exif)
    [upright] = load_pairs("folder", tmp_path)[1].large
    assert (upright[0, 10].min(), upright[0, 213].max()) == (255, 0)
    lying.crop((0, 0, 250, 223)).save(tmp_path / "7.png", exif=exif)
    with pytest.raises(ValueError, match=r"7\.png cannot be read \(223 × 250 pixels are fewer"):
        load_pairs("folder", tmp_path)


def test_no_more_than_300_are_held_out(monkeypatch):
    many = torch.arange(3100).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    name = "ddpm_course.super_resolution.pairs.synthetic_flowers"
    monkeypatch.setattr(name, lambda *a, **k: (many, None))
    assert [len(part.large) for part in load_pairs("synthetic", "nowhere")] == [2800, 300]


def test_a_tenth_of_a_folder_is_held_out_and_never_trained_on(tmp_path):
    for k in range(20):
        Image.new("RGB", (224, 224), (12 * k, 0, 0)).save(tmp_path / f"{k:02}.png")
    train, held_out = load_pairs("folder", tmp_path)
    reds = [part.large[:, 0, 0, 0].tolist() for part in (train, held_out)]
    assert [len(part) for part in reds] == [18, 2]
    assert sorted(reds[0] + reds[1]) == [12 * k for k in range(20)]
    assert train.small.shape == (18, 3, 56, 56)
    again = load_pairs("folder", tmp_path)[1]
    assert torch.equal(again.large, held_out.large)
    assert torch.equal(again.small, held_out.small)


def test_what_there_is_no_super_resolution_of(tmp_path):
    with pytest.raises(ValueError, match=r"learns from flowers102, folder, synthetic; --data cats"):
        load_pairs("cats", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"not complete under .*ddpm-course download"):
        load_pairs("flowers102", tmp_path)
    for k in range(9):
        Image.new("RGB", (224, 224)).save(tmp_path / f"{k}.png")
    with pytest.raises(ValueError, match="10 pictures are the fewest, not 9"):
        load_pairs("folder", tmp_path)


def test_of_flowers102_val_is_held_out(tmp_path, monkeypatch):
    class Splits(list):
        def __init__(self, root, split, loader):
            path = tmp_path / f"{split}.png"
            Image.new(
                "RGB", (500, 667), {"train": "red", "test": "lime", "val": "blue"}[split]
            ).save(path)
            super().__init__([(loader(path), 0)])

    monkeypatch.setattr("torchvision.datasets.Flowers102", Splits)
    train, held_out = load_pairs("flowers102", tmp_path)
    colours = [part.large[:, :, 0, 0].tolist() for part in (train, held_out)]
    assert colours == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255]]]
    assert held_out.small.shape == (1, 3, 56, 56)
    monkeypatch.setattr("ddpm_course.super_resolution.pairs.SIDE", 600)
    with pytest.raises(ValueError, match=r"500 × 667 .* the photographs as Oxford publishes them"):
        load_pairs("flowers102", tmp_path)


# ---- batches of crops


def ramps(number=8):
    """Pictures that rise in a straight line, each in its own direction: bicubic interpolation of
    the small one is the large one, but for the border.
    """
    draw = torch.Generator().manual_seed(0)
    slope = 2 * torch.randint(-2, 3, (number, 3, 2), generator=draw)

    def ramp(places):
        rows, columns = places[:, None], places[None, :]
        a, b = slope[..., 0, None, None], slope[..., 1, None, None]
        return (128 + a * (rows - 7.5) + b * (columns - 7.5)).round().to(torch.uint8)

    return Pairs(ramp((torch.arange(64) + 0.5) / 4 - 0.5), ramp(torch.arange(16)))


CLEAN = NoiseSchedule(1 - 1e-12 * torch.arange(LEVELS + 2, dtype=torch.float64))


def test_crops_of_large_and_small_pictures_show_the_same_place():
    batch = pair_batches(ramps(), CONFIG, CLEAN, 32)
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
    batch = pair_batches(data, replace(CONFIG, batch_size=400), CLEAN, 32)(0)
    x0 = (batch["x0"] * 127.5 + 127.5).round()
    tops, lefts = x0[:, 0, 0, 0], x0[:, 1, 0].amin(1)
    for corners in (tops, lefts):
        assert sorted(set(corners.tolist())) == list(range(0, 36, 4))
    assert (x0[:, 1, 0, 0] > x0[:, 1, 0, -1]).float().mean() == pytest.approx(0.5, abs=0.08)
    unflipped = pair_batches(data, replace(CONFIG, flip=False), CLEAN, 32)(0)["x0"]
    assert (unflipped[:, 1, 0, 0] < unflipped[:, 1, 0, -1]).all()


def test_the_small_picture_is_as_noisy_as_its_level_says(monkeypatch):
    name = "ddpm_course.super_resolution.model.upsampled"
    monkeypatch.setattr(name, lambda x: interpolate(x, scale_factor=4))
    schedule = cosine_schedule(1000)
    black = torch.zeros(4, 3, 128, 128, dtype=torch.uint8)
    data = Pairs(black, black[..., ::4, ::4])
    config = replace(CONFIG, batch_size=400, flip=False)
    batch = pair_batches(data, config, schedule, 128)(0)
    level = batch["level"]
    assert level.min() < 5
    assert level.max() > LEVELS - 5
    assert level.float().mean() == pytest.approx(LEVELS / 2, rel=0.1)
    abar = schedule.alphas_cumprod[level].float()
    torch.testing.assert_close(
        batch["low_res"].flatten(1).std(1), (1 - abar).sqrt(), rtol=0.1, atol=1e-4
    )
    torch.testing.assert_close(batch["low_res"].flatten(1).mean(1), -abar.sqrt(), rtol=0, atol=0.03)
    noise = interpolate(randn((400, 3, 32, 32), generator(CONFIG.seed, 0, LEVEL)), scale_factor=4)
    abar = abar[:, None, None, None]
    torch.testing.assert_close(batch["low_res"], (1 - abar).sqrt() * noise - abar.sqrt())


def test_pair_batches_are_functions_of_the_step_and_see_every_picture_once():
    shade = (16 * torch.arange(16, dtype=torch.uint8))[:, None, None, None]
    data = Pairs(shade.expand(16, 3, 32, 32), shade.expand(16, 3, 8, 8))
    forwards, backwards = (pair_batches(data, CONFIG, CLEAN, 16) for _ in range(2))
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
        pair_batches(ramps(), CONFIG, CLEAN, size)


def test_middle_crops_are_told_what_the_small_copies_show():
    data = ramps()
    images, told = middle_crops(data, 32, 5)
    assert torch.equal(images.images, data.large[:5, :, 16:48, 16:48])
    assert torch.equal(told["low_res"], upsampled(to_unit(data.small[:5]))[..., 16:48, 16:48])
    assert told["level"].tolist() == [0] * 5
    assert (to_unit(images.images) - told["low_res"]).abs().max() < 1.1 / 127.5
