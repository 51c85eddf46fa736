"""What the package ships: trained weights, and flowers generated with them."""

import csv
import json

import pytest
import torch
from command_line import SMALL, command, make_small
from helpers import tool
from safetensors import safe_open

from ddpm_course import guided, load_data, load_pretrained, sample, to_uint8, to_unit, x0_error
from ddpm_course.data.datasets import held_out
from ddpm_course.data.subsets import spread
from ddpm_course.evaluation.distances import psnr
from ddpm_course.pretrained.weights import CHECKPOINTS, CONFIG, COURSE, MODEL, UPSCALER, shipped
from ddpm_course.super_resolution.model import downsampled, upsampled, upscale

MEGABYTES = {"flowers32-tiny": 3.3, "flowers64-small": 24.5, "flowers-upscaler": 4.2}


@pytest.mark.parametrize("name", shipped())
def test_checkpoint_is_small_half_precision_and_has_its_card(name):
    folder = CHECKPOINTS / name
    assert round((folder / MODEL).stat().st_size / 1e6, 1) <= MEGABYTES[name]
    with safe_open(folder / MODEL, framework="pt") as file:
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds.pop("alphas_cumprod") == torch.float64
    assert set(kinds.values()) == {torch.float16}
    run = json.loads((folder / CONFIG).read_text())["run"]
    assert run["conditional"] == (name != UPSCALER)
    assert run["label_dropout"] == 0.1
    card = (folder / "README.md").read_text()
    assert f"{run['steps']:,} steps" in card
    where = "held-out crops" if name == UPSCALER else "`val`"
    assert f"| x̂₀ error on {where} | {run['x0_error']:.4f} |" in card
    with (folder / "curve.csv").open() as file:
        curve = [float(row["loss"]) for row in csv.DictReader(file)]
    assert curve[-1] < 0.8 * curve[0]


def test_all_checkpoints_together_are_small():
    assert sum(path.stat().st_size for path in CHECKPOINTS.rglob("*")) < 36e6


def test_error_on_held_out_flowers_is_that_of_the_card(real_flowers):
    """On 24 of the 1,020 images, so the figure may differ a little."""
    denoiser = load_pretrained(COURSE)
    data = held_out("flowers102", real_flowers, denoiser.net.config["image_size"])
    error = x0_error(denoiser, spread(data, 24)).mean().item()
    recorded = json.loads((CHECKPOINTS / COURSE / CONFIG).read_text())["run"]["x0_error"]
    assert error == pytest.approx(recorded, rel=0.1)


def test_the_shipped_upscaler_agrees_with_its_input_and_adds_detail():
    """The upscaled images agree with their input to 35 dB, and are sharper than interpolation."""
    small = load_data("starter", "nowhere", 32).images[:4]
    large = upscale(load_pretrained(UPSCALER), small)
    assert large.shape == (4, 3, 128, 128)
    assert psnr(to_uint8(downsampled(to_unit(large))), small).min() > 35

    def sharpness(images):
        return images.float().diff(dim=-1).abs().mean((1, 2, 3))

    assert (sharpness(large) > 1.1 * sharpness(to_uint8(upsampled(to_unit(small))))).all()


def test_starter_set_comes_from_the_shipped_model():
    """Images 0 and 1 once more; in float32 here, whatever the precision was."""
    data, denoiser = load_data("starter", "nowhere", 32), load_pretrained(COURSE)
    denoise = guided(denoiser, data.labels[:2], 2.0)
    shape = (2, *denoiser.image_shape)
    x = sample(denoise, shape, denoiser.schedule, sampler="ddpm", steps=50)
    difference = (to_uint8(x).float() - data.images[:2].float()).abs().mean()
    other = (to_uint8(x).float() - data.images[2:4].float()).abs().mean()
    assert difference < 5 < other


@pytest.mark.parametrize("size", [16, 32, 64])
def test_starter_set_comes_in_any_size(size):
    images, labels = load_data("starter", "nowhere", size)
    assert images.shape == (512, 3, size, size)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [k % 102 for k in range(512)]
    assert images.float().std() > 40
    assert len(images.flatten(1).unique(dim=0)) == 512


@pytest.mark.parametrize("kind", [("--conditional",), ("--preset", "upscaler")])
def test_a_run_becomes_a_checkpoint_with_its_card(tmp_path, monkeypatch, kind):
    script = tool("ship_weights")
    monkeypatch.setattr(script, "CHECKPOINTS", tmp_path / "shipped")
    make_small(monkeypatch)
    run = tmp_path / "run"
    assert command("train", *SMALL, "--steps", "2", *kind, "--out", run) == 0
    script.main(run, "new")
    made = load_pretrained(tmp_path / "shipped" / "new")
    assert made.net.config == load_pretrained(run).net.config
    card = (tmp_path / "shipped" / "new" / "README.md").read_text()
    assert card.startswith("# new\n")
    assert "| training | 2 steps of 2" in card
    assert "{" not in card
    assert "ddpm-course train --data synthetic" in card
