import json
import re

import pytest
import torch
from helpers import contents

from ddpm_course import Denoiser, UNet, cosine_schedule, linear_schedule, load_pretrained
from ddpm_course.pretrained.files import load_tensors, save_tensors
from ddpm_course.pretrained.weights import save_pretrained, shipped


@pytest.fixture
def saved(small_net, tmp_path):
    """A folder with weights, as the package writes it."""
    save_pretrained(tmp_path / "saved", Denoiser(small_net, cosine_schedule(100), "v"))
    return tmp_path / "saved"


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("clip", [True, False])
def test_a_denoiser_comes_back(small_net, tmp_path, prediction, clip):
    denoiser = Denoiser(small_net, linear_schedule(100), prediction, clip).train()
    save_pretrained(tmp_path, denoiser, run={"steps": 3})
    loaded = load_pretrained(tmp_path)
    assert (loaded.prediction, loaded.clip) == (prediction, clip)
    assert not any(part.training for part in loaded.modules())
    assert denoiser.training
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(x, 60), denoiser.eval()(x, 60))
    assert json.loads((tmp_path / "config.json").read_text())["run"] == {"steps": 3}
    assert sorted(contents(tmp_path)) == ["config.json", "model.safetensors"]


def test_the_schedule_comes_back_to_the_last_bit(saved):
    table = load_pretrained(saved).schedule.alphas_cumprod
    assert table.dtype == torch.float64
    assert torch.equal(table, cosine_schedule(100).alphas_cumprod)


def test_every_option_of_the_network_comes_back(tmp_path):
    options = dict(channels=[8, 24], attention_levels=[0], head_dim=None, blocks=1, dropout=0.25, num_classes=5, image_size=16)  # noqa: E501  # fmt: skip
    save_pretrained(tmp_path, Denoiser(UNet(**options), cosine_schedule(10), "v"))
    net = load_pretrained(tmp_path).net
    assert {name: net.config[name] for name in options} == options
    assert net.null_class == 5


def test_fp16_weights_are_computed_with_in_fp32(saved):
    tensors, _ = load_tensors(saved / "model.safetensors")
    halved = {k: v.half() if v.dtype == torch.float32 else v for k, v in tensors.items()}
    save_tensors(saved / "model.safetensors", halved)
    loaded = load_pretrained(saved)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.schedule.alphas_cumprod, tensors["alphas_cumprod"])
    torch.testing.assert_close(
        loaded.net.conv_in.weight, tensors["conv_in.weight"], rtol=1e-3, atol=1e-6
    )


def refused(folder, phrase, error=ValueError):
    """Loading ends in one sentence."""
    with pytest.raises(error) as caught:
        load_pretrained(folder)
    sentence = str(caught.value)
    assert re.search(phrase, sentence), sentence
    assert "\n" not in sentence
    assert len(sentence) < 400


NETWORK = dict(channels=[8, 16], attention_levels=[1], head_dim=8, image_size=8)
MISMATCHED = "does not describe the weights beside it .*both files must come from the same run"


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"network": NETWORK | {"channels": [8, 24]}}, f"size mismatch for .*{MISMATCHED[-30:]}"),
        ({"network": NETWORK | {"depth": 3}}, f"depth.*{MISMATCHED[-30:]}"),
        ({"network": None}, MISMATCHED),
        ({"prediction": "score"}, "Unknown prediction 'score'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(saved, changes, phrase):
    change_config(saved, **changes)
    refused(saved, phrase)


def test_weights_of_a_wrapped_network_load_as_what_they_are(saved):
    """DistributedDataParallel and torch.compile put a word before every name."""
    tensors, _ = load_tensors(saved / "model.safetensors")
    expected = load_pretrained(saved).net.state_dict()
    save_tensors(
        saved / "model.safetensors", {f"module._orig_mod.{k}": v for k, v in tensors.items()}
    )
    loaded = load_pretrained(saved).net.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_unknown_names_and_incomplete_folders_are_refused(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", tmp_path / "shipped")
    refused("roses", r"roses is neither a folder .*\(none yet\)", FileNotFoundError)
    save_pretrained(tmp_path / "shipped" / "tulips", load_pretrained(saved))
    refused("roses", r"shipped with the package \(tulips\)", FileNotFoundError)
    for name in ("config.json", "model.safetensors"):
        (saved / name).rename(tmp_path / name)
        refused(saved, "is neither a folder with", FileNotFoundError)
        (tmp_path / name).rename(saved / name)
    refused(saved / "config.json", "is neither a folder with", FileNotFoundError)


def test_shipped_checkpoints_are_found_by_name_from_any_folder(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", tmp_path / "shipped")
    assert shipped() == []
    save_pretrained(tmp_path / "shipped" / "tulips", load_pretrained(saved))
    monkeypatch.chdir(tmp_path)
    assert shipped() == ["tulips"]
    assert load_pretrained("tulips").prediction == "v"


def test_saving_over_weights_on_a_full_disk_keeps_them(saved, small_net, full_disk):
    before = contents(saved)
    with full_disk(5000), pytest.raises(OSError, match=r"model\.safetensors"):
        save_pretrained(saved, Denoiser(small_net, cosine_schedule(100), "v"))
    assert contents(saved) == before
