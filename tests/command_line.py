"""Calling `ddpm-course` in this process, on data and networks so small that each call is quick."""

import shutil
import signal
import sys
import threading

import pytest
from helpers import randomise
from PIL import Image

from ddpm_course import Denoiser, UNet, cosine_schedule
from ddpm_course.cli.main import main
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.presets import PRESETS, Preset
from ddpm_course.pretrained.weights import save_pretrained
from ddpm_course.training.run_folder import INTERRUPTS

SMALL = ("--data", "synthetic", "--image-size", "8", "--batch-size", "2", "--device", "cpu")
TRAIN = ("train", *SMALL, "--steps", "2", "--timesteps", "50", "--precision", "fp32")
SAMPLE = ("sample", "--device", "cpu", "--steps", "2")
UPSCALES = dict(in_channels=6, has_level=True, mid_attention=False)


def make_small(patch):
    """Few images, and presets that are tinier: what the command does stays the same."""
    patch.setattr(
        "ddpm_course.data.datasets.synthetic_flowers",
        lambda n, *a, **k: synthetic_flowers(30, *a, **k),
    )
    patch.setattr(
        "ddpm_course.super_resolution.pairs.synthetic_flowers",
        lambda n, *a, **k: synthetic_flowers(10, *a, **k),
    )
    network = dict(channels=(8, 16, 16), attention_levels=(), head_dim=8, image_size=32)
    patch.setitem(PRESETS, "tiny", Preset(network, batch_size=4))
    patch.setitem(PRESETS, "upscaler", Preset(network | UPSCALES, batch_size=4))


@pytest.fixture(autouse=True)
def small_and_offline(monkeypatch, no_network):
    make_small(monkeypatch)


def command(*args):
    """Run `ddpm-course` in this process; its exit code, or the sentence that it exits with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ddpm-course", *map(str, args)])
        patch.setattr(threading, "excepthook", threading.excepthook)
        handlers = {number: signal.getsignal(number) for number in INTERRUPTS}
        try:
            main()
        except SystemExit as exit:
            return exit.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return 0


def weights_of(**network):
    net = UNet(channels=(8, 16), attention_levels=(), blocks=1, image_size=8, head_dim=8, **network)
    return Denoiser(randomise(net), cosine_schedule(50), "v")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps, made by the command."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        assert command(*TRAIN, "--out", folder) == 0
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, trained):
    """The working folder, with everything that the commands below stumble over.

    Damaged files are the subject of `test_malformed.py`.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    shutil.copytree(trained, "foreign")
    shutil.copy("run/model.safetensors", "foreign/training_state.safetensors")
    save_pretrained("labelled", weights_of(num_classes=4))
    save_pretrained("upscaler", weights_of(**UPSCALES))

    for name in ("flowers", "folder.png", "empty", "images"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (9, 9)).save("images/good.png")
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save("there.png")
    Image.new("RGB", (129, 8)).save("wide.png")
    Image.new("I;16", (9, 9)).save("deep.png")
    (tmp_path / "file").write_text("a file")
    return tmp_path
