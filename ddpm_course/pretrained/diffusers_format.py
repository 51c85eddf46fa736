"""Folders of 🤗 diffusers' DDPMPipeline: written by diffusers itself, and opened from its configs.

model_index.json                     names the two parts
scheduler/scheduler_config.json      the noise schedule
unet/config.json, unet/diffusion_pytorch_model.safetensors

Our network speaks the dialect of `google/ddpm-cifar10-32`, so weights map one to one. A folder in
another dialect is refused, and the setting that our network does not have is named.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.files import load_tensors, new_folder, read_json, write_text
from ddpm_course.schedules import (
    NoiseSchedule,
    cosine_schedule,
    from_betas,
    linear_schedule,
    rescale_zero_terminal_snr,
)
from ddpm_course.unet import EPS, UNet, network_with, norm_groups

INDEX, WEIGHTS = "model_index.json", "diffusion_pytorch_model.safetensors"
CLASS_CONDITIONAL = "class_conditional"
PREDICTION_TYPES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
# Settings of a scheduler that concern us, with the values that fit here.
SCHEDULER: dict[str, tuple] = {
    "_class_name": ("DDPMScheduler", "DDIMScheduler"),
    "prediction_type": tuple(PREDICTION_TYPES.values()),
    "variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    "thresholding": (False,),
    "clip_sample": (True, False),
    "clip_sample_range": (1.0,),
    "rescale_betas_zero_snr": (True, False),
}
# Names that attention weights had before diffusers 0.16; google/ddpm-* still has them.
OLD_NAMES = {
    ".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."
}  # fmt: skip


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
            scheduler = diffusers.DDPMScheduler(**_scheduler_config(denoiser))
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
    network = _network(unet / "config.json")
    tensors = {_modern(name): value for name, value in load_tensors(unet / WEIGHTS)[0].items()}
    try:
        net = network_with(network, tensors)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{unet / WEIGHTS} does not fit the config.json beside it.") from error
    return _denoiser(net, scheduler / "scheduler_config.json").eval()


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
            ours = defaults | diffusers_config(UNet(**network))
    except Exception as error:  # whatever our network makes of a damaged config
        raise ValueError(f"{path} describes no network that fits here ({error}).") from error
    for name, value in config.items():
        if value != ours.get(name):
            raise ValueError(_differs(path, name, value, [ours.get(name)]))
    return network


def _denoiser(net: UNet, path: Path) -> Denoiser:
    config = _defaults(_diffusers().DDPMScheduler) | read_json(path)
    for name, values in SCHEDULER.items():
        if config.get(name) not in values:
            raise ValueError(_differs(path, name, config.get(name), values))
    predictions = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()}
    try:
        schedule = _schedule(config)
        if config["rescale_betas_zero_snr"]:
            schedule = rescale_zero_terminal_snr(schedule)
        prediction = predictions[config["prediction_type"]]
        return Denoiser(net, schedule, prediction, clip=config["clip_sample"])
    except Exception as error:  # whatever our schedules make of a damaged config
        raise ValueError(f"{path} describes no schedule that fits here ({error}).") from error


def _schedule(config: dict[str, Any]) -> NoiseSchedule:
    """In float64: diffusers' own table is float32."""
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
    """Arguments of `DDPMScheduler`: a linear schedule by its two ends, any other by its table."""
    betas = denoiser.schedule.betas[1:]
    ends = {"beta_start": betas[0].item(), "beta_end": betas[-1].item()}
    straight = torch.linspace(ends["beta_start"], ends["beta_end"], len(betas), dtype=betas.dtype)
    linear = torch.allclose(betas, straight, rtol=0, atol=1e-12)
    return {
        "num_train_timesteps": len(betas),
        **(ends if linear else {"trained_betas": betas.tolist()}),
        "prediction_type": PREDICTION_TYPES[denoiser.prediction],
        "clip_sample": denoiser.clip,
        "timestep_spacing": "trailing",  # diffusers' default never visits T
    }


def _differs(path: Path, name: str, value: Any, ours: Iterable) -> str:
    return f"{path} has {name} = {value!r}; here it can only be {' or '.join(map(repr, ours))}."


def _modern(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _card(name: str, denoiser: Denoiser) -> str:
    T, classes = denoiser.schedule.T, denoiser.net.config["num_classes"]
    facts = {
        "name": name,
        "size": denoiser.net.config["image_size"],
        "prediction": PREDICTION_TYPES[denoiser.prediction],
        "T": T,
        "steps": next(n for n in range(min(T, 50), 0, -1) if T % n == 0),
        "folder": CLASS_CONDITIONAL,
        "classes": classes,
    }
    text = (Path(__file__).parent / "diffusers_card.md").read_text(encoding="utf-8")
    for_all, if_conditional = text.format(**facts).split("<!-- class-conditional -->\n")
    return for_all if classes is None else for_all + if_conditional
