"""ONNX files: onnxruntime computes what the network computes, and nothing is overwritten."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import command
from helpers import randomise

from ddpm_course import Denoiser, UNet, cosine_schedule, load_pretrained
from ddpm_course.pretrained.onnx_format import export_onnx


def denoiser(**network):
    net = UNet(channels=(8, 16), attention_levels=(1,), head_dim=8, image_size=8, **network)
    return Denoiser(randomise(net), cosine_schedule(50), "v")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "flowers32-tiny.onnx"
    assert command("export", "--onnx", path) == 0
    return path


def differs(path, net, inputs):
    """The largest difference between onnxruntime's output and the network's."""
    feeds = {{"x": "x_t"}.get(name, name): value.numpy() for name, value in inputs.items()}
    theirs = onnxruntime.InferenceSession(path).run(["prediction"], feeds)[0]
    with torch.no_grad():
        return np.abs(theirs - net(**inputs).numpy()).max()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnxruntime_computes_what_the_network_computes(shipped, batch):
    net, generator = load_pretrained().net, torch.Generator().manual_seed(batch)
    inputs = {
        "x": torch.randn(batch, 3, 32, 32, generator=generator),
        "t": torch.randint(1000, (batch,), generator=generator),
        "y": torch.randint(103, (batch,), generator=generator),
    }
    assert differs(shipped, net, inputs) < 1e-4


def test_the_file_has_what_a_sampler_needs_in_half_the_bytes_and_no_path_of_this_machine(shipped):
    content = shipped.read_bytes()
    facts = {p.key: json.loads(p.value) for p in onnx.load_from_string(content).metadata_props}
    ours = load_pretrained()
    assert facts.pop("alphas_cumprod") == ours.schedule.alphas_cumprod.tolist()
    assert facts == {"prediction": "v", "clip": True, "num_classes": 102}
    assert len(content) < 2.2 * sum(p.numel() for p in ours.net.parameters())
    assert b".py" not in content


def test_float32_weights_of_a_network_without_labels_are_kept_to_the_last_bit(tmp_path):
    ours = denoiser()
    export_onnx(tmp_path / "net.onnx", ours)
    stored = {
        onnx.numpy_helper.to_array(weight).tobytes()
        for weight in onnx.load(tmp_path / "net.onnx").graph.initializer
    }
    assert ours.net.conv_in.weight.detach().numpy().tobytes() in stored
    inputs = {"x": torch.randn(3, 3, 8, 8), "t": torch.tensor([0, 20, 49])}
    assert differs(tmp_path / "net.onnx", ours.net, inputs) < 1e-4


@pytest.mark.parametrize("more", [{"has_level": True}, {"in_channels": 6}])
def test_a_network_with_more_inputs_is_refused(tmp_path, more):
    with pytest.raises(ValueError, match="no input for that, so it cannot be exported"):
        export_onnx(tmp_path / "net.onnx", denoiser(**more))


def test_a_file_is_never_replaced(tmp_path):
    mine = tmp_path / "net.onnx"
    mine.write_text("mine")
    assert "name another file, or remove it" in command("export", "--onnx", mine)
    assert mine.read_text() == "mine"


def test_without_its_packages_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    says = command("export", "--onnx", tmp_path / "net.onnx")
    assert says.endswith("install `ddpm-course[onnx]`.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [[], ["--onnx", "a.onnx", "--to-diffusers", "b"]])
def test_export_writes_one_thing_at_a_time(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("export", *names).endswith("--to-diffusers FOLDER or --onnx FILE.")
    assert not list(tmp_path.iterdir())
