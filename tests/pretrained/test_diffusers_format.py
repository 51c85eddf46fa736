"""Folders that 🤗 diffusers opens and runs, and folders of theirs that open here."""

import inspect
import json
import re

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from helpers import SCHEDULES, randomise, replay
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from ddpm_course import (
    PRESETS,
    Denoiser,
    UNet,
    cosine_schedule,
    ddim,
    ddpm,
    from_betas,
    linear_schedule,
    load_pretrained,
    timesteps,
)
from ddpm_course.pretrained.diffusers_format import (
    SCHEDULER_DEFAULTS,
    UNET_DEFAULTS,
    export_diffusers,
)
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


@pytest.mark.parametrize("num_classes", [None, 102])
@pytest.mark.parametrize("name", PRESETS)
@torch.no_grad()
def test_network_outputs_equal_those_of_diffusers(tmp_path, name, num_classes):
    fewer = {"in_channels": 3, "has_level": False, "image_size": 16, "num_classes": num_classes}
    ours = denoiser(**PRESETS[name].network | fewer)
    export_diffusers(tmp_path / "out", ours)
    x, t = randn(SHAPE, generator(0)), torch.tensor([0, 999])
    theirs = UNet2DModel.from_pretrained(tmp_path / "out", subfolder="unet")
    close(ours.net(x, t), theirs(x, t).sample)
    if num_classes:
        y = torch.tensor([5, 102])
        whole = UNet2DModel.from_pretrained(tmp_path / "out", subfolder="class_conditional")
        close(ours.net(x, t, y), whole(x, t, class_labels=y).sample)
        with pytest.raises(AssertionError):  # the label does something in this test
            close(ours.net(x, t, y), theirs(x, t).sample)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@torch.no_grad()
def test_a_sampling_run_equals_that_of_diffusers(tmp_path, monkeypatch, schedule, prediction):
    if prediction == "eps" and schedule.alphas_cumprod[-1] == 0:
        pytest.skip("refused by Denoiser")
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
def test_both_pipelines_open_the_folder_and_draw(tmp_path):
    ours = denoiser(num_classes=3)
    export_diffusers(tmp_path / "out", ours)
    theirs = DDIMPipeline.from_pretrained(tmp_path / "out")
    theirs.set_progress_bar_config(disable=True)
    drawn = theirs(
        2, generator(0), num_inference_steps=10, use_clipped_model_output=True, output_type="np"
    ).images
    x, ts = torch.randn(SHAPE, generator=generator(0)), timesteps(ours.schedule, 10)
    *_, (_, expected, _) = ddim(ours, x, ours.schedule, ts)
    expected = (expected / 2 + 0.5).clamp(0, 1)
    close(expected.permute(0, 2, 3, 1), torch.from_numpy(drawn), 1e-4)
    ancestral = DDPMPipeline.from_pretrained(tmp_path / "out")
    ancestral.set_progress_bar_config(disable=True)
    assert ancestral(1, num_inference_steps=3).images[0].size == (16, 16)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_what_was_exported_comes_back(tmp_path, schedule):
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


def test_what_diffusers_saves_opens_here(tmp_path):
    torch.manual_seed(0)
    net = UNet2DModel(**UNET_DEFAULTS | CIFAR | {"block_out_channels": (8, 16, 16, 16)} | GROUPS)
    scheduler = DDPMScheduler(500, beta_schedule="squaredcos_cap_v2", prediction_type="sample")
    DDPMPipeline(net, scheduler).save_pretrained(tmp_path / "theirs")
    ours = load_pretrained(tmp_path / "theirs")
    assert (ours.prediction, ours.clip, ours.schedule.T) == ("x0", True, 500)
    x, t = randn((2, 3, 32, 32), generator(0)), torch.tensor([0, 499])
    with torch.no_grad():
        close(ours.net(x, t), net.eval()(x, t).sample)


# google/ddpm-cifar10-32, to the letter: the flat layout, with attention under its old names.
CIFAR = {
    "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3,
    "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-06, "norm_num_groups": 32,
    "out_channels": 3, "sample_size": 32, "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
GROUPS = {"norm_num_groups": 2}
LINEAR = {
    "_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02,
    "beta_schedule": "linear", "beta_start": 0.0001, "clip_sample": True,
    "num_train_timesteps": 1000, "trained_betas": None, "variance_type": "fixed_large",
}  # fmt: skip
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def public(folder, unet=CIFAR, scheduler=LINEAR, weights=None):
    """A folder laid out like the public checkpoints."""
    folder.mkdir()
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline", **parts}))
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel", **unet}))
    (folder / "scheduler_config.json").write_text(json.dumps(scheduler))
    save_file(weights or {}, folder / "diffusion_pytorch_model.safetensors")
    return folder


@torch.no_grad()
def test_a_public_checkpoint_opens(tmp_path):
    net = randomise(UNet(**PRESETS["base"].network | {"attention_levels": (1,), "image_size": 32}))
    state = {}
    for name, tensor in net.state_dict().items():
        for new, old in OLD.items():
            name = name.replace(new, old)
        state[name] = tensor
    assert "mid_block.attentions.0.proj_attn.bias" in state
    folder = public(tmp_path / "public", weights=state)
    ours, theirs = load_pretrained(folder), UNet2DModel.from_pretrained(folder)
    assert (ours.prediction, ours.clip, ours.schedule.T) == ("eps", True, 1000)
    torch.testing.assert_close(ours.schedule.betas[[1, 1000]], torch.tensor([1e-4, 0.02]).double())
    x, t = randn((2, 3, 32, 32), generator(0)), torch.tensor([0, 999])
    close(ours.net(x, t), theirs(x, t).sample)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("act_fn", "gelu"), ("attn_norm_num_groups", 8),
        ("center_input_sample", True), ("class_embed_type", "timestep"),
        ("down_block_types", ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D", "DownBlock2D"]),
        ("downsample_padding", 1), ("downsample_type", "resnet"), ("flip_sin_to_cos", True),
        ("freq_shift", 0), ("mid_block_scale_factor", 2), ("mid_block_type", None),
        ("norm_eps", 1e-5), ("norm_num_groups", 16), ("num_class_embeds", 10),
        ("resnet_time_scale_shift", "scale_shift"), ("time_embedding_dim", 64),
        ("time_embedding_type", "fourier"), ("upsample_type", "resnet"), ("cross_attention", 1),
        ("up_block_types", ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"]),
    ],
)  # fmt: skip
def test_another_network_is_refused_by_the_name_of_what_differs(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf"config.json says {name} = .* can only be"):
        load_pretrained(public(tmp_path / "public", CIFAR | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_class_name", "EulerDiscreteScheduler"), ("thresholding", True),
        ("clip_sample_range", 2.0), ("variance_type", "learned_range"),
        ("prediction_type", "flow"),
        ("beta_schedule", "scaled_linear"), ("trained_betas", [0.1, 2.0]),
        ("trained_betas", "x"), ("num_train_timesteps", 0), ("beta_end", None),
    ],
)  # fmt: skip
def test_another_schedule_is_refused_by_the_name_of_what_differs(tmp_path, name, value):
    weights = UNet(**SMALL).state_dict()
    unet = CIFAR | {
        "block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1,
        "sample_size": 16, "attention_head_dim": None, **GROUPS,
    }  # fmt: skip
    assert load_pretrained(public(tmp_path / "good", unet, LINEAR, weights)).schedule.T == 1000
    said = LINEAR | {name: value}
    with pytest.raises(ValueError, match=f"says {name} = .* can only be|fits here"):
        load_pretrained(public(tmp_path / "public", unet, said, weights))


def test_the_defaults_are_those_of_diffusers():
    """A config.json says only what differs from them."""
    theirs = inspect.signature(UNet2DModel.__init__).parameters
    listed = {
        k: list(p.default) if isinstance(p.default, tuple) else p.default
        for k, p in theirs.items()
        if k != "self"
    }
    assert listed == UNET_DEFAULTS
    theirs = inspect.signature(DDPMScheduler.__init__).parameters
    assert {k: theirs[k].default for k in SCHEDULER_DEFAULTS} == SCHEDULER_DEFAULTS


def test_a_schedule_that_is_not_quite_linear_is_not_taken_for_linear(tmp_path):
    betas = linear_schedule(10).betas[1:].clone()
    betas[4] += 1e-6
    export_diffusers(tmp_path / "out", denoiser(from_betas(betas)))
    said = json.loads((tmp_path / "out/scheduler/scheduler_config.json").read_text())
    assert said["trained_betas"] == pytest.approx(betas.tolist(), abs=1e-15)


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
    state = load_file(tmp_path / "flowers/unet/diffusion_pytorch_model.safetensors")
    assert "class_embedding.weight" not in state


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, full_disk):
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"used exists"):
        export_diffusers(tmp_path / "used", denoiser())
    with full_disk(2000), pytest.raises(OSError, match="File too large"):
        export_diffusers(tmp_path / "new", denoiser())
    assert [p.name for p in tmp_path.iterdir()] == ["used"]


@pytest.mark.parametrize("more", [{"has_level": True}, {"in_channels": 6}])
def test_a_network_that_reads_more_than_the_picture_is_refused_in_a_sentence(tmp_path, more):
    with pytest.raises(ValueError, match="no place for that, so it cannot be exported"):
        export_diffusers(tmp_path / "out", denoiser(**more))


@pytest.mark.parametrize(("T", "steps"), [(1000, 50), (350, 50), (20, 20), (61, 1), (90, 45)])
def test_the_cards_snippet_runs_and_its_steps_divide_T(tmp_path, monkeypatch, T, steps):
    export_diffusers(tmp_path / "flowers", denoiser(cosine_schedule(T)))
    monkeypatch.chdir(tmp_path)
    card = (tmp_path / "flowers/README.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert f"num_inference_steps={steps}," in snippet
    names = {}
    exec(snippet.replace("(num_", "(output_type='np', num_"), names)
    assert T % steps == 0


def test_where_the_steps_do_not_divide_T_diffusers_grid_may_leave_the_schedule():
    """Why the card says what it says."""
    theirs = DDIMScheduler(1000, timestep_spacing="trailing")
    theirs.set_timesteps(61)
    assert theirs.timesteps[-1] == -1


def test_what_is_no_unet_is_refused(tmp_path):
    folder = public(tmp_path / "public")
    (folder / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    with pytest.raises(ValueError, match="names no UNet2DModel"):
        load_pretrained(folder)
