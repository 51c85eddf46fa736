"""Folders that 🤗 diffusers opens and runs, and folders of theirs that open here.

That equal weights give equal outputs, for every preset, is in tests/test_diffusers.py.
"""

import json
import re
import shutil
import sys

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from helpers import SCHEDULES, randomise, replay
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from ddpm_course import (
    Denoiser,
    UNet,
    cosine_schedule,
    ddim,
    ddpm,
    load_pretrained,
    timesteps,
)
from ddpm_course.pretrained.diffusers_format import export_diffusers
from ddpm_course.rng import generator, randn

SHAPE = (2, 3, 16, 16)
SMALL = dict(channels=(8, 16), attention_levels=(1,), blocks=1, head_dim=None, image_size=16)


def denoiser(schedule=None, prediction="v", clip=True, **network):
    net = randomise(UNet(**SMALL | network)).eval()
    return Denoiser(net, schedule or cosine_schedule(1000), prediction, clip)


def close(ours, theirs, tolerance=1e-5):
    scale = theirs.abs().max()
    assert scale > 0.1
    torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=tolerance)


# ---- export


@torch.no_grad()
def test_a_class_conditional_network_is_exported_without_labels_and_whole(tmp_path):
    ours = denoiser(num_classes=102)
    export_diffusers(tmp_path / "out", ours)
    x, t, y = randn(SHAPE, generator(0)), torch.tensor([0, 999]), torch.tensor([5, 102])
    unconditional = UNet2DModel.from_pretrained(tmp_path / "out", subfolder="unet")
    close(ours.net(x, t), unconditional(x, t).sample)
    whole = UNet2DModel.from_pretrained(tmp_path / "out", subfolder="class_conditional")
    close(ours.net(x, t, y), whole(x, t, class_labels=y).sample)
    with pytest.raises(AssertionError):  # the label matters in this test
        close(ours.net(x, t, y), unconditional(x, t).sample)


@pytest.mark.parametrize(
    ("schedule", "prediction"),
    [("linear", "eps"), ("linear, 350", "x0"), ("cosine", "v"), ("ending in noise", "v")],
)
@torch.no_grad()
def test_a_sampling_run_equals_that_of_diffusers(tmp_path, monkeypatch, schedule, prediction):
    schedule = SCHEDULES[schedule]
    ours = denoiser(schedule, prediction)
    export_diffusers(tmp_path / "out", ours)
    net = UNet2DModel.from_pretrained(tmp_path / "out", subfolder="unet")
    steps = 20 if schedule.T % 20 == 0 else 25  # their DDIM takes strides of T // steps
    ts = timesteps(schedule, steps)
    for kind, run in ((DDPMScheduler, ddpm), (DDIMScheduler, ddim)):
        theirs = kind.from_pretrained(tmp_path / "out", subfolder="scheduler")
        theirs.set_timesteps(steps)
        draw = generator(1)
        replay(monkeypatch, [randn(SHAPE, draw) for _ in range(steps)])
        x = randn(SHAPE, generator(0))
        *_, (_, expected, _) = run(ours, x, schedule, ts, generator(1))
        options = {} if kind is DDPMScheduler else {"use_clipped_model_output": True}
        for t in theirs.timesteps:
            x = theirs.step(net(x, t).sample, t, x, **options).prev_sample
        close(expected, x, 1e-4)


@torch.no_grad()
def test_both_pipelines_open_the_folder_and_generate(tmp_path):
    ours = denoiser()
    export_diffusers(tmp_path / "out", ours)
    theirs = DDIMPipeline.from_pretrained(tmp_path / "out")
    images = theirs(
        2, generator(0), num_inference_steps=10, use_clipped_model_output=True, output_type="np"
    ).images
    x, ts = torch.randn(SHAPE, generator=generator(0)), timesteps(ours.schedule, 10)
    *_, (_, expected, _) = ddim(ours, x, ours.schedule, ts)
    expected = (expected / 2 + 0.5).clamp(0, 1)
    close(expected.permute(0, 2, 3, 1), torch.from_numpy(images), 1e-4)
    ancestral = DDPMPipeline.from_pretrained(tmp_path / "out")
    assert ancestral(1, num_inference_steps=3).images[0].size == (16, 16)


def test_the_layout_is_the_hubs(tmp_path):
    export_diffusers(tmp_path / "flowers", denoiser(num_classes=102))
    files = sorted(str(p.relative_to(tmp_path / "flowers")) for p in tmp_path.rglob("*.*"))
    assert files == [
        "README.md",
        "class_conditional/config.json",
        "class_conditional/diffusion_pytorch_model.safetensors",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    card = ModelCard.load(tmp_path / "flowers/README.md")
    assert card.data.library_name == "diffusers"
    assert card.data.pipeline_tag == "unconditional-image-generation"
    assert "# flowers" in card.text
    assert "labels 0 to 102" in card.text
    state = load_file(tmp_path / "flowers/unet/diffusion_pytorch_model.safetensors")
    assert "class_embedding.weight" not in state


@pytest.mark.parametrize(("T", "steps"), [(350, 50), (61, 1)])
def test_the_cards_snippet_runs_and_its_steps_divide_T(tmp_path, monkeypatch, T, steps):
    export_diffusers(tmp_path / "flowers", denoiser(cosine_schedule(T)))
    monkeypatch.chdir(tmp_path)
    card = (tmp_path / "flowers/README.md").read_text()
    assert "class_conditional" not in card
    [snippet] = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert f"num_inference_steps={steps}," in snippet
    exec(snippet.replace("(num_", "(output_type='np', num_"), {})


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, full_disk):
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"used exists"):
        export_diffusers(tmp_path / "used", denoiser())
    with full_disk(2000), pytest.raises(OSError, match="File too large"):
        export_diffusers(tmp_path / "new", denoiser())
    assert [p.name for p in tmp_path.iterdir()] == ["used"]


@pytest.mark.parametrize("more", [{"has_level": True}, {"in_channels": 6}])
def test_a_network_with_more_inputs_is_refused(tmp_path, more):
    with pytest.raises(ValueError, match="no input for that, so it cannot be exported"):
        export_diffusers(tmp_path / "out", denoiser(**more))


def test_without_diffusers_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for call in (
        lambda: export_diffusers(tmp_path / "out", denoiser()),
        lambda: load_pretrained(public(tmp_path / "public", CIFAR)),
    ):
        with pytest.raises(ModuleNotFoundError, match=r"install `ddpm-course\[diffusers\]`"):
            call()


# ---- opening


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_exported_network_comes_back(tmp_path, schedule):
    ours = denoiser(schedule, "v", clip=False)
    export_diffusers(tmp_path / "out", ours)
    back = load_pretrained(tmp_path / "out")
    assert (back.prediction, back.clip, back.training) == ("v", False, False)
    assert back.net.config == ours.net.config
    for name, tensor in ours.net.state_dict().items():
        assert torch.equal(back.net.state_dict()[name], tensor), name
    torch.testing.assert_close(
        back.schedule.alphas_cumprod, schedule.alphas_cumprod, rtol=1e-9, atol=1e-15
    )


# google/ddpm-cifar10-32 with narrower channels: the flat layout, old names for attention weights.
CIFAR = {
    "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [8, 16, 16, 16],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3,
    "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-06, "norm_num_groups": 2,
    "out_channels": 3, "sample_size": 32, "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
LINEAR = {
    "_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02,
    "beta_schedule": "linear", "beta_start": 0.0001, "clip_sample": True,
    "num_train_timesteps": 1000, "trained_betas": None, "variance_type": "fixed_large",
}  # fmt: skip
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def public(folder, unet, scheduler=LINEAR):
    """A folder laid out like the public checkpoints; the weights are those for CIFAR."""
    network = SMALL | {"channels": (8, 16, 16, 16), "blocks": 2, "image_size": 32}
    state = {}
    for name, tensor in randomise(UNet(**network)).state_dict().items():
        for new, old in OLD.items():
            name = name.replace(new, old)
        state[name] = tensor
    assert "mid_block.attentions.0.proj_attn.bias" in state
    folder.mkdir()
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline", **parts}))
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel", **unet}))
    (folder / "scheduler_config.json").write_text(json.dumps(scheduler))
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    return folder


@torch.no_grad()
def test_a_public_checkpoint_opens(tmp_path):
    folder = public(tmp_path / "public", CIFAR)
    ours, theirs = load_pretrained(folder), UNet2DModel.from_pretrained(folder)
    assert (ours.prediction, ours.clip, ours.schedule.T) == ("eps", True, 1000)
    torch.testing.assert_close(ours.schedule.betas[[1, 1000]], torch.tensor([1e-4, 0.02]).double())
    x, t = randn((2, 3, 32, 32), generator(0)), torch.tensor([0, 999])
    close(ours.net(x, t), theirs(x, t).sample)


@torch.no_grad()
def test_what_diffusers_saves_opens_here(tmp_path):
    torch.manual_seed(0)
    net = UNet2DModel(**CIFAR)
    theirs = DDPMScheduler(500, beta_schedule="squaredcos_cap_v2", prediction_type="sample")
    DDPMPipeline(net, theirs).save_pretrained(tmp_path / "theirs")
    ours = load_pretrained(tmp_path / "theirs")
    assert (ours.prediction, ours.clip, ours.schedule.T) == ("x0", True, 500)
    torch.testing.assert_close(ours.schedule.betas[1:].float(), theirs.betas)
    x, t = randn((2, 3, 32, 32), generator(0)), torch.tensor([0, 499])
    close(ours.net(x, t), net.eval()(x, t).sample)


@pytest.mark.parametrize(
    ("how", "found", "remedy"),
    [
        ({"safe_serialization": False}, "model.bin is", r"from_pretrained\(FOLDER\)"),
        ({"variant": "fp16"}, "model.fp16.safetensors is", r"\(FOLDER, variant='fp16'\)"),
        ({"max_shard_size": 20_000}, "model-00001-of-", r"from_pretrained\(FOLDER\)"),
    ],
)
def test_weights_in_another_form_are_named_with_the_way_to_convert_them(
    tmp_path, how, found, remedy
):
    DDPMPipeline(UNet2DModel(**CIFAR), DDPMScheduler()).save_pretrained(tmp_path / "theirs")
    shutil.rmtree(tmp_path / "theirs/unet")
    UNet2DModel(**CIFAR).save_pretrained(tmp_path / "theirs/unet", **how)
    with pytest.raises(ValueError, match=f"{found}.*{remedy}.save_pretrained"):
        load_pretrained(tmp_path / "theirs")


DOWN = ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D", "DownBlock2D"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act_fn", "gelu"), ("class_embed_type", "timestep"), ("down_block_types", DOWN),
        ("freq_shift", 0), ("mid_block_type", None), ("norm_eps", 1e-5), ("num_class_embeds", 10),
        ("resnet_time_scale_shift", "scale_shift"), ("unheard_of", 1),
    ],
)  # fmt: skip
def test_another_network_is_refused_and_the_difference_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf"config.json has {name} = .* can only be"):
        load_pretrained(public(tmp_path / "public", CIFAR | {name: value}))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("_class_name", "EulerDiscreteScheduler", "can only be 'DDPMScheduler' or"),
        ("thresholding", True, "has thresholding = True; here it can only be False"),
        ("prediction_type", "flow", "can only be 'epsilon'"),
        ("num_train_timesteps", 10**9, "can only be from 1 to 100000"),
        ("beta_schedule", "cubic", "public cannot be opened here: cubic is not implemented"),
    ],
)
def test_another_schedule_is_refused_and_the_difference_named(tmp_path, name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(public(tmp_path / "public", CIFAR, LINEAR | {name: value}))
