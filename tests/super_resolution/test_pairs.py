"""Photographs beside their degraded copies."""

import math

import pytest
import torch
from PIL import Image

from ddpm_course.data.image_files import bytes_of, image_of
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.rng import generator
from ddpm_course.super_resolution.pairs import load_pairs, make_pairs, middle


def degrade(monkeypatch, blur=0.0, noise=0.0, quality=100):
    for name, value in (("BLUR", blur), ("NOISE", noise), ("QUALITY", quality)):
        monkeypatch.setattr(f"ddpm_course.super_resolution.pairs.{name}", value)


def test_without_degradation_a_copy_is_the_downsampled_image(monkeypatch):
    degrade(monkeypatch)
    high_res = synthetic_flowers(3, 64, seed=0)[0]
    low_res = make_pairs(high_res).low_res
    for image, copy in zip(high_res, low_res, strict=True):
        expected = bytes_of(image_of(image).resize((16, 16), Image.Resampling.BICUBIC))
        assert (copy.int() - expected.int()).abs().float().mean() < 1.5  # what JPEG leaves at 100


def test_noise_is_of_any_strength_up_to_the_worst(monkeypatch):
    degrade(monkeypatch, noise=8.0)
    grey = torch.full((60, 3, 128, 128), 128, dtype=torch.uint8)
    std = make_pairs(grey).low_res.float().flatten(1).std(1)
    assert std.max() == pytest.approx(8, rel=0.1)
    assert std.min() < 1
    assert std.mean() == pytest.approx(4, rel=0.2)


def test_blur_softens_an_edge_more_or_less(monkeypatch):
    """Blurred by a Gaussian of std 8·r, an edge of 255 rises by 255·4 / (√2π·8·r) per pixel."""
    degrade(monkeypatch, blur=8.0)
    edge = torch.zeros(40, 3, 128, 128, dtype=torch.uint8)
    edge[..., 64:] = 255
    steepest = make_pairs(edge).low_res.float().diff(dim=-1).amax((1, 2, 3))
    assert steepest.max() > 150
    drawn = torch.stack([torch.rand(3, generator=generator(0, k))[0] for k in range(40)])
    wide = drawn > 0.6  # wide enough for one low-resolution pixel to be a tangent
    slope = 255 * 4 / (math.sqrt(2 * math.pi) * 8 * drawn)
    torch.testing.assert_close(steepest[wide], slope[wide], rtol=0.1, atol=0)


def test_quality_leaves_traces(monkeypatch):
    high_res = synthetic_flowers(8, 64, seed=0)[0]
    degrade(monkeypatch)
    clean = make_pairs(high_res).low_res.float()
    degrade(monkeypatch, quality=20)
    assert (make_pairs(high_res).low_res.float() - clean).abs().flatten(1).mean(1).max() > 3


def test_a_copy_depends_on_its_number_alone():
    high_res = synthetic_flowers(4, 32, seed=0)[0]
    low_res = make_pairs(high_res).low_res
    assert torch.equal(make_pairs(high_res[:2]).low_res, low_res[:2])
    assert not torch.equal(make_pairs(high_res[[1]]).low_res, low_res[[1]])


def test_the_middle_of_a_photograph_is_reduced_by_averaging_whole_pixels():
    pattern = torch.randint(256, (3, 250, 300), generator=torch.Generator().manual_seed(0))
    doubled = pattern.to(torch.uint8).repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = middle(image_of(doubled))
    assert torch.equal(bytes_of(found), pattern.to(torch.uint8)[:, 13 : 13 + 224, 38 : 38 + 224])


def test_an_image_that_is_too_small_is_refused(tmp_path):
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
    [upright] = load_pairs("folder", tmp_path)[1].high_res
    assert (upright[0, 10].min(), upright[0, 213].max()) == (255, 0)
    lying.crop((0, 0, 250, 223)).save(tmp_path / "7.png", exif=exif)
    with pytest.raises(ValueError, match=r"7\.png cannot be read \(223 × 250 pixels are fewer"):
        load_pairs("folder", tmp_path)


def test_no_more_than_300_are_held_out(monkeypatch):
    many = torch.arange(3100).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    name = "ddpm_course.super_resolution.pairs.synthetic_flowers"
    monkeypatch.setattr(name, lambda *a, **k: (many, None))
    assert [len(part.high_res) for part in load_pairs("synthetic", "nowhere")] == [2800, 300]


def test_a_tenth_of_a_folder_is_held_out_and_never_trained_on(tmp_path):
    for k in range(20):
        Image.new("RGB", (224, 224), (12 * k, 0, 0)).save(tmp_path / f"{k:02}.png")
    train, held_out = load_pairs("folder", tmp_path)
    reds = [part.high_res[:, 0, 0, 0].tolist() for part in (train, held_out)]
    assert [len(part) for part in reds] == [18, 2]
    assert sorted(reds[0] + reds[1]) == [12 * k for k in range(20)]
    assert train.low_res.shape == (18, 3, 56, 56)
    again = load_pairs("folder", tmp_path)[1]
    assert torch.equal(again.high_res, held_out.high_res)
    assert torch.equal(again.low_res, held_out.low_res)


def test_what_there_is_no_super_resolution_of(tmp_path):
    with pytest.raises(ValueError, match=r"learns from flowers102, folder, synthetic; --data cats"):
        load_pairs("cats", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"not complete under .*ddpm-course download"):
        load_pairs("flowers102", tmp_path)
    for k in range(9):
        Image.new("RGB", (224, 224)).save(tmp_path / f"{k}.png")
    with pytest.raises(ValueError, match="10 images are the fewest, not 9"):
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
    colours = [part.high_res[:, :, 0, 0].tolist() for part in (train, held_out)]
    assert colours == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255]]]
    assert held_out.low_res.shape == (1, 3, 56, 56)
    monkeypatch.setattr("ddpm_course.super_resolution.pairs.SIDE", 600)
    with pytest.raises(ValueError, match=r"500 × 667 .* the photographs as Oxford publishes them"):
        load_pairs("flowers102", tmp_path)
