"""Folders of 🤗 diffusers' DDPMPipeline: written by diffusers itself, and opened from its configs.

model_index.json                     names the two parts
scheduler/scheduler_config.json      the noise schedule
unet/config.json, unet/diffusion_pytorch_model.safetensors

Our network speaks the dialect of `google/ddpm-cifar10-32`, so weights map one to one. A folder in
another dialect is refused, and the setting that our network does not have is named.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.files import (
    load_tensors,
    new_folder,
    one_line,
    read_json,
    write_text,
)
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.unet import EPS, UNet, network_with, norm_groups, weightless

INDEX, WEIGHTS = "model_index.json", "diffusion_pytorch_model.safetensors"
CLASS_CONDITIONAL = "class_conditional"
PREDICTION_TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
# Settings of a scheduler that concern us, with the values that fit here.
SCHEDULER: dict[str, Sequence] = {
    "num_train_timesteps": range(1, 100_001),
    "_class_name": ("DDPMScheduler", "DDIMScheduler"),
    "prediction_type": tuple(PREDICTION_TYPES.values()),
    "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    "thresholding": (False,),
    "clip_sample": (True, False),
    "clip_sample_range": (1.0,),
    "rescale_betas_zero_snr": (True, False),
}
# Names that attention weights had before diffusers 0.16; google/ddpm-* still has them.
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def diffusers_config(net: UNet) -> dict[str, Any]:
    """Arguments of diffusers' `UNet2DModel` for the same network; a state dict of `net` loads
    into it unchanged.

    Raises ValueError for a network with inputs that UNet2DModel or its pipelines do not have.
    """
    config, levels = net.config, range(len(net.config["channels"]))
    if config["has_level"] or config["in_channels"] != config["out_channels"]:
        raise ValueError(
            "This network takes more than the image (`level`, or another image beside it); a "
            "DDPMPipeline has no input for that, so it cannot be exported."
        )
    attends = [level in config["attention_levels"] for level in levels]
    classes = config["num_classes"]
    return {
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

    A class-conditional network becomes the unconditional network that it is for its null class:
    that row of the class embedding is folded into the bias that it was always added to. The whole
    network goes to the folder `class_conditional` beside it, for direct calls with class_labels.

    Raises ValueError if the folder has something in it or diffusers has no such network,
    ModuleNotFoundError without diffusers, OSError if the disk is full.
    """
    net, state = denoiser.net, denoiser.net.state_dict()
    config, diffusers = diffusers_config(net), _diffusers()

    def twin(**changes) -> Any:
        with torch.device("meta"):
            model = diffusers.UNet2DModel(**config | changes)
        model.load_state_dict(state, assign=True)
        return model

    try:
        with new_folder(Path(folder)) as root:
            if net.null_class is not None:
                twin().save_pretrained(root / CLASS_CONDITIONAL)
                null = state.pop("class_embedding.weight")[net.null_class]
                bias = state["time_embedding.linear_2.bias"]
                state["time_embedding.linear_2.bias"] = bias + null
            betas = denoiser.schedule.betas[1:].tolist()
            scheduler = diffusers.DDPMScheduler(
                len(betas),
                trained_betas=betas,
                prediction_type=PREDICTION_TYPES[denoiser.prediction],
                clip_sample=denoiser.clip,
                timestep_spacing="trailing",  # diffusers' default never visits T
            )
            pipeline = diffusers.DDPMPipeline(twin(num_class_embeds=None), scheduler)
            pipeline.save_pretrained(root)
            write_text(root / "README.md", _card(Path(folder).resolve().name, denoiser))
    except SafetensorError as error:  # its writer's kind of OSError
        raise OSError(f"{folder} could not be written: {error}.") from error


def load_diffusers(folder: Path) -> Denoiser:
    """The denoiser in a folder that diffusers wrote, also in the flat layout of google/ddpm-*.

    Settings for sampling (spacing, offset, variance) are not taken over: they are the sampler's.
    Raises ValueError that names what this network or schedule does not have, and for damaged
    files; FileNotFoundError for missing ones; ModuleNotFoundError without diffusers.
    """
    if read_json(folder / INDEX).get("unet") != ["diffusers", "UNet2DModel"]:
        raise ValueError(f"{folder / INDEX} names no UNet2DModel: only those can be opened here.")
    nested = (folder / "unet").is_dir()
    unet, scheduler = (folder / "unet", folder / "scheduler") if nested else (folder, folder)
    tensors = _weights(unet)
    try:
        net = network_with(_network(unet / "config.json"), tensors)
        return _denoiser(net, scheduler / "scheduler_config.json").eval()
    except (OSError, ModuleNotFoundError, _DiffersError):
        raise
    except Exception as error:  # whatever our classes make of a damaged config
        raise ValueError(f"{folder} cannot be opened here: {one_line(error)}") from error


def _diffusers() -> ModuleType:
    try:
        import diffusers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Folders of 🤗 diffusers need its package: install `ddpm-course[diffusers]`."
        ) from error
    return diffusers


def _defaults(kind: type) -> dict[str, Any]:
    """What a class of diffusers takes for a setting that its config file does not name."""
    parameters = inspect.signature(kind).parameters
    values = {name: parameter.default for name, parameter in parameters.items()}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _network(path: Path) -> dict[str, Any]:
    """The arguments of `UNet` for a config.json of UNet2DModel."""
    defaults = _defaults(_diffusers().UNet2DModel)
    given = {name: value for name, value in read_json(path).items() if not name.startswith("_")}
    config = defaults | given
    kinds = enumerate(config["down_block_types"])
    network = {
        "channels": config["block_out_channels"],
        "attention_levels": [k for k, kind in kinds if kind == "AttnDownBlock2D"],
        "blocks": config["layers_per_block"],
        "head_dim": config["attention_head_dim"],
        "mid_attention": config["add_attention"],
        "image_size": config["sample_size"],
        **{name: config[name] for name in ("in_channels", "out_channels", "dropout")},
    }
    ours = defaults | diffusers_config(weightless(network))
    for name, value in config.items():
        if value != ours.get(name):
            raise _differs(path, name, value, (ours.get(name),))
    return network


def _weights(unet: Path) -> dict[str, Tensor]:
    """The tensors under today's names. Of weights in another form the error names the remedy."""
    found = sorted(path.name for path in unet.glob("diffusion_pytorch_model*"))
    if found and WEIGHTS not in found:
        source = "FOLDER, variant='fp16'" if ".fp16." in found[0] else "FOLDER"
        raise ValueError(
            f"{unet / found[0]} is there, but only {WEIGHTS} is read. Convert it with "
            f"DDPMPipeline.from_pretrained({source}).save_pretrained(NEW_FOLDER)."
        )
    tensors, _ = load_tensors(unet / WEIGHTS)
    return {
        ".".join(RENAMED.get(part, part) for part in name.split(".")): tensor
        for name, tensor in tensors.items()
    }


def _denoiser(net: UNet, path: Path) -> Denoiser:
    defaults = _defaults(_diffusers().DDPMScheduler)
    config = defaults | read_json(path)
    for name, values in SCHEDULER.items():
        if config.get(name) not in values:
            raise _differs(path, name, config.get(name), values)
    betas = config["trained_betas"]
    if betas is None or config["rescale_betas_zero_snr"]:
        betas = _diffusers().DDPMScheduler(**{name: config[name] for name in defaults}).betas
    alphas = 1 - torch.as_tensor(betas, dtype=torch.float64)
    if alphas.shape != (config["num_train_timesteps"],):
        raise ValueError(f"{path} has trained_betas of shape {list(alphas.shape)}.")
    schedule = NoiseSchedule(torch.cat([torch.ones(1), alphas.cumprod(0)]))
    predictions = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()}
    return Denoiser(net, schedule, predictions[config["prediction_type"]], config["clip_sample"])


class _DiffersError(ValueError):
    """A setting that this network or schedule does not have."""


def _differs(path: Path, name: str, value: Any, ours: Sequence) -> _DiffersError:
    few = len(ours) < 5
    possible = " or ".join(map(repr, ours)) if few else f"from {ours[0]} to {ours[-1]}"
    return _DiffersError(f"{path} has {name} = {value!r:.80}; here it can only be {possible}.")


def _card(name: str, denoiser: Denoiser) -> str:
    T, classes = denoiser.schedule.T, denoiser.net.config["num_classes"]
    text = (
        (Path(__file__).parent / "diffusers_card.md")
        .read_text(encoding="utf-8")
        .format(
            name=name,
            size=denoiser.net.config["image_size"],
            prediction=PREDICTION_TYPES[denoiser.prediction],
            T=T,
            steps=next(n for n in range(min(T, 50), 0, -1) if T % n == 0),
            folder=CLASS_CONDITIONAL,
            classes=classes,
        )
    )
    for_all, if_conditional = text.split("<!-- class-conditional -->\n")
    return for_all if classes is None else for_all + if_conditional
