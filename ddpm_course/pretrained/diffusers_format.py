"""The folder layout of 🤗 diffusers' DDPMPipeline, written and read without importing diffusers.

model_index.json                     names the two parts
scheduler/scheduler_config.json      the noise schedule
unet/config.json, unet/diffusion_pytorch_model.safetensors

Our network speaks the dialect of `google/ddpm-cifar10-32`, so weights pass as they are. A folder
in another dialect is refused by the name of what this network does not have.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.files import (
    load_tensors,
    new_folder,
    read_json,
    save_tensors,
    write_text,
)
from ddpm_course.schedules import (
    NoiseSchedule,
    cosine_schedule,
    from_betas,
    linear_schedule,
    rescale_zero_terminal_snr,
)
from ddpm_course.unet import EPS, UNet, network_with, norm_groups

INDEX, WEIGHTS = "model_index.json", "diffusion_pytorch_model.safetensors"
PREDICTION_TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
CLASS_CONDITIONAL = "class_conditional"

# What diffusers takes for granted where a config.json says nothing.
UNET_DEFAULTS: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D"] + 3 * ["AttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": 3 * ["AttnUpBlock2D"] + ["UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
SCHEDULER_DEFAULTS: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "beta_schedule": "linear",
    "trained_betas": None,
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "prediction_type": "epsilon",
    "thresholding": False,
    "rescale_betas_zero_snr": False,
    "variance_type": "fixed_small",
}
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")
# Names that attention weights had before diffusers 0.16; google/ddpm-* still has them.
OLD_NAMES = {
    ".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."
}  # fmt: skip


def diffusers_config(net: UNet) -> dict[str, Any]:
    """Arguments of diffusers' `UNet2DModel` for the same network; a state dict of `net` loads
    into it as it is.

    Raises ValueError for a network with inputs that UNet2DModel or its pipelines do not have.
    """
    config, levels = net.config, range(len(net.config["channels"]))
    if config["has_level"] or config["in_channels"] != config["out_channels"]:
        raise ValueError(
            "This network reads more than the picture (`level`, or another picture beside it); a "
            "DDPMPipeline has no place for that, so it cannot be exported."
        )
    attends = [level in config["attention_levels"] for level in levels]
    classes = config["num_classes"]
    return UNET_DEFAULTS | {
        "sample_size": config["image_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "block_out_channels": config["channels"],
        "layers_per_block": config["blocks"],
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "attention_head_dim": config["head_dim"],
        "add_attention": config["mid_attention"],
        "norm_num_groups": norm_groups(config["channels"]),
        "norm_eps": EPS,
        "num_class_embeds": None if classes is None else classes + 1,
        "dropout": config["dropout"],
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "downsample_padding": 0,
    }


def export_diffusers(folder: Path | str, denoiser: Denoiser) -> None:
    """Write `denoiser` so that `DDPMPipeline.from_pretrained(folder)` and DDIMPipeline open it.

    A class-conditional network becomes the unconditional one that it is for its null class: that
    row of the class embedding is folded into the bias that it was always added to. The whole
    network goes to the folder `class_conditional` beside it, for direct calls with class_labels.

    Raises ValueError if the folder has something in it, or diffusers has no such network.
    """
    net, state = denoiser.net, denoiser.net.state_dict()
    config = diffusers_config(net)
    with new_folder(Path(folder)) as root:
        if net.null_class is not None:
            _write_unet(root / CLASS_CONDITIONAL, config, state)
            null = state.pop("class_embedding.weight")[net.null_class]
            bias = state["time_embedding.linear_2.bias"]
            state["time_embedding.linear_2.bias"] = bias + null
        _write_unet(root / "unet", config | {"num_class_embeds": None}, state)
        _write_json(root / "scheduler" / "scheduler_config.json", _scheduler_config(denoiser))
        parts = {"scheduler": ["diffusers", SCHEDULERS[0]], "unet": ["diffusers", "UNet2DModel"]}
        _write_json(root / INDEX, {"_class_name": "DDPMPipeline", **parts})
        write_text(root / "README.md", _card(Path(folder).resolve().name, denoiser))


def load_diffusers(folder: Path) -> Denoiser:
    """The denoiser in a folder that diffusers wrote, also in the flat layout of google/ddpm-*.

    How to sample (spacing, offset, variance) is the sampler's choice here, and not taken over.
    Raises ValueError by the name of what this network or schedule does not have, and for damaged
    files; FileNotFoundError for missing ones.
    """
    if read_json(folder / INDEX).get("unet") != ["diffusers", "UNet2DModel"]:
        raise ValueError(f"{folder / INDEX} names no UNet2DModel: only those can be opened here.")
    nested = (folder / "unet").is_dir()
    unet, scheduler = (folder / "unet", folder / "scheduler") if nested else (folder, folder)
    network = _network(unet / "config.json")
    tensors, _ = load_tensors(unet / WEIGHTS)
    try:
        net = network_with(network, {_modern(name): value for name, value in tensors.items()})
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{unet / WEIGHTS} does not fit the config.json beside it.") from error
    return _denoiser(net, scheduler / "scheduler_config.json").eval()


def _network(path: Path) -> dict[str, Any]:
    """The arguments of `UNet` for a config.json of UNet2DModel."""
    said = {name: value for name, value in read_json(path).items() if not name.startswith("_")}
    config = UNET_DEFAULTS | said
    try:
        network = {
            "channels": config["block_out_channels"],
            "attention_levels": [
                k for k, kind in enumerate(config["down_block_types"]) if kind == "AttnDownBlock2D"
            ],
            "blocks": config["layers_per_block"],
            "head_dim": config["attention_head_dim"],
            "mid_attention": config["add_attention"],
            "image_size": config["sample_size"],
            **{name: config[name] for name in ("in_channels", "out_channels", "dropout")},
        }
        with torch.device("meta"):
            expected = diffusers_config(UNet(**network))
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise ValueError(f"{path} describes no network that fits here ({error}).") from error
    for name, value in config.items():
        if value != expected.get(name):
            raise ValueError(_unlike(path, name, value, [expected.get(name)]))
    return network


def _denoiser(net: UNet, path: Path) -> Denoiser:
    said = read_json(path)
    config = SCHEDULER_DEFAULTS | said
    predictions = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()}
    known = {
        "_class_name": SCHEDULERS,
        "prediction_type": tuple(predictions),
        "variance_type": VARIANCES,
        "thresholding": (False,),
        "clip_sample": (True, False),
        "clip_sample_range": (1.0,),
        "rescale_betas_zero_snr": (True, False),
    }
    for name, values in known.items():
        if config.get(name) not in values:
            raise ValueError(_unlike(path, name, config.get(name), values))
    try:
        schedule = _schedule(config)
        if config["rescale_betas_zero_snr"]:
            schedule = rescale_zero_terminal_snr(schedule)
        prediction = predictions[config["prediction_type"]]
        return Denoiser(net, schedule, prediction, clip=config["clip_sample"])
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise ValueError(f"{path} describes no schedule that fits here ({error}).") from error


def _schedule(config: dict[str, Any]) -> NoiseSchedule:
    T, kind = config["num_train_timesteps"], config["beta_schedule"]
    if (betas := config["trained_betas"]) is not None:
        table = torch.as_tensor(betas, dtype=torch.float64)
        if table.shape != (T,):
            raise ValueError(f"{T} steps, but trained_betas of shape {list(table.shape)}")
        if table[-1] == 1:  # zero terminal SNR, which no β < 1 reaches
            return NoiseSchedule(torch.cat([torch.ones(1), (1 - table).cumprod(0)]))
        return from_betas(table)
    if kind == "linear":
        return linear_schedule(T, config["beta_start"], config["beta_end"])
    if kind == "squaredcos_cap_v2":
        return cosine_schedule(T)
    raise ValueError(f"beta_schedule = {kind!r} is neither linear nor squaredcos_cap_v2")


def _scheduler_config(denoiser: Denoiser) -> dict[str, Any]:
    """The schedule by its two ends if it is linear, else β by β."""
    betas = denoiser.schedule.betas[1:]
    ends = {"beta_start": betas[0].item(), "beta_end": betas[-1].item()}
    straight = torch.linspace(ends["beta_start"], ends["beta_end"], len(betas), dtype=betas.dtype)
    linear = torch.allclose(betas, straight, rtol=0, atol=1e-12)
    return {
        "_class_name": SCHEDULERS[0],
        **SCHEDULER_DEFAULTS,
        "num_train_timesteps": len(betas),
        **(ends if linear else {"trained_betas": betas.tolist()}),
        "prediction_type": PREDICTION_TYPES[denoiser.prediction],
        "clip_sample": denoiser.clip,
        "timestep_spacing": "trailing",  # diffusers' default never visits T
    }


def _unlike(path: Path, name: str, value: Any, here: Iterable) -> str:
    return f"{path} says {name} = {value!r}; here it can only be {' or '.join(map(repr, here))}."


def _modern(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _write_unet(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    _write_json(folder / "config.json", {"_class_name": "UNet2DModel", **config})
    save_tensors(folder / WEIGHTS, state)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")


def _card(name: str, denoiser: Denoiser) -> str:
    size, classes = denoiser.net.config["image_size"], denoiser.net.config["num_classes"]
    T = denoiser.schedule.T
    steps = next(n for n in range(min(T, 50), 0, -1) if T % n == 0)
    card = f"""---
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags:
- ddpm
- ddpm_course
---

# {name}

A denoising diffusion model of {size}×{size} pictures, trained with `ddpm_course`. It predicts
{PREDICTION_TYPES[denoiser.prediction]} over T = {T} steps.

```python
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained("{name}")
pipeline(num_inference_steps={steps}, use_clipped_model_output=True).images[0]
```

Choose a number of steps that divides {T}: with another, diffusers' grid may leave the schedule.
"""
    if classes is not None:
        card += f"""
`unet` draws without a label. The folder `{CLASS_CONDITIONAL}` holds the same network with
{classes + 1} classes for direct calls: `UNet2DModel.from_pretrained("{name}",
subfolder="{CLASS_CONDITIONAL}")`; the last class, {classes}, means "no label".
"""
    return card
