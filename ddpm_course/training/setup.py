"""From the settings of a training run to what they mean: data, network and device."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_course.data.batching import Batches
from ddpm_course.data.datasets import held_out, load_data
from ddpm_course.data.flowers102 import download_flowers102
from ddpm_course.data.subsets import spread
from ddpm_course.diffusion import Denoiser
from ddpm_course.evaluation.denoising import LOG_SNRS, times_of
from ddpm_course.presets import PRESETS
from ddpm_course.pretrained.files import digest, read_json
from ddpm_course.pretrained.weights import CONFIG, checkpoint_folder, load_pretrained
from ddpm_course.schedules import SCHEDULES, NoiseSchedule
from ddpm_course.super_resolution.crops import middle_crops, pair_batches, refuse_crops
from ddpm_course.super_resolution.pairs import load_pairs, refuse_unknown
from ddpm_course.training.batches import image_batches
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.distributed import first_process_first, join_processes
from ddpm_course.training.monitoring import WithConditions
from ddpm_course.training.run_folder import STATE
from ddpm_course.training.settings import (
    FROM_WEIGHTS,
    NetworkSettings,
    RunSettings,
    preset_settings,
)
from ddpm_course.training.tracking import check_tracker
from ddpm_course.unet import UNet

MEASURED = 256  # held-out images: enough to rank two states of a run, and a second on a GPU


def stored_settings(folder: Path) -> RunSettings:
    """The settings that the run in `folder` was started with.

    Raises ValueError if there is no run to resume, or if a setting has the wrong type.
    """
    for name in (CONFIG, STATE):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} holds no run to resume, for lack of a {name}: start one without "
                "--resume, in a folder that is empty or new."
            )
    if not isinstance(read_json(folder / CONFIG).get("run", {}), dict):
        raise ValueError(f"{folder / CONFIG} holds no settings of a run: restore it from a copy.")
    return RunSettings.from_record(stored_record(folder), folder / CONFIG)


def settings_for_weights(name_or_folder: str) -> RunSettings:
    """The defaults for a run that starts from pretrained weights.

    Network and noise schedule are those of the weights; batch size and learning rate suit the
    preset that their config.json names. Raises as `load_pretrained` does.
    """
    weights, folder = load_pretrained(name_or_folder), checkpoint_folder(name_or_folder)
    record = stored_record(folder)
    shared = {name: record[name] for name in FROM_WEIGHTS if name in record}
    shared |= {"prediction": weights.prediction, "timesteps": weights.schedule.T}
    shared |= {"init_from": str(name_or_folder), "dropout": weights.net.config["dropout"]}
    network = RunSettings.from_record(shared, folder / CONFIG).network
    defaults = preset_settings(network.preset) if "preset" in record else RunSettings()
    data = replace(defaults.data, image_size=weights.net.config["image_size"])
    return replace(defaults, data=data, network=network)


def stored_record(folder: Path) -> dict:
    """The record of a run in the folder's config.json; empty where there is none."""
    path = folder / CONFIG
    record = read_json(path).get("run") if path.is_file() else None
    return record if isinstance(record, dict) else {}


class Setup(NamedTuple):
    """A run that can begin."""

    denoiser: Denoiser
    batches: Batches
    config: TrainConfig
    images: int
    """Number of training images."""
    sha256: str
    """Digest of those images."""
    held_out: Callable[[], WithConditions]
    """Loads images that are kept out of training; raises ValueError where there are none."""
    shown: dict[str, Tensor]
    """Conditions for the sample grids."""


def prepare(settings: RunSettings, weights: Denoiser | None = None) -> Setup:
    """Everything that a run needs. With `weights`, it starts from them, on their noise schedule.

    What can be checked at once is checked before any data is read or downloaded. Raises
    ValueError for settings that do not fit, OSError where data is missing.
    """
    config = settings.training.config()
    for name, least in (("sample_every", 1), ("held_out_every", 0)):
        if (value := getattr(settings.records, name)) < least:
            raise ValueError(f"{name} must be {least} or more, not {value}.")
    check_tracker(settings.records.track)
    device = pick_device(settings.training.device)
    name, root, size = settings.data.data, settings.data.data_root, settings.data.image_size
    chosen, conditional = settings.network, settings.network.conditional
    schedule = weights.schedule if weights else _schedule(chosen)
    network = weights.net.config if weights else PRESETS[chosen.preset].network
    network = network | {"dropout": chosen.dropout, "image_size": size, "num_classes": None}
    Denoiser(UNet(**network), schedule, chosen.prediction)
    if settings.records.held_out_every > 0:
        times_of(LOG_SNRS, schedule)
    enlarges = network.get("has_level", False)
    if enlarges and conditional:
        raise ValueError("--conditional belongs to networks that draw: the upscaler has no labels.")
    if enlarges:
        refuse_unknown(name)
        refuse_crops(size, schedule)

    shown: dict[str, Tensor] = {}
    with first_process_first():
        if name.startswith("flowers102"):
            download_flowers102(root)
        if enlarges:
            pairs, others = load_pairs(name, root)
            images = pairs.high_res
            batches = pair_batches(
                pairs, schedule, size, batch_size=config.batch_size, seed=config.seed,
                flip=config.flip, device=device,
            )  # fmt: skip
            kept = partial(middle_crops, others, size, MEASURED)
            _, shown = middle_crops(others, size, 16)
        else:
            data = load_data(name, root, size)
            images = data.images
            batches = image_batches(data, config, conditional=conditional, device=device)
            kept = partial(_spread_held_out, name, root, size)
            if conditional:
                network["num_classes"] = data.num_classes
    torch.manual_seed(config.seed)
    denoiser = Denoiser(UNet(**network), schedule, chosen.prediction)
    if weights:
        denoiser.clip = weights.clip
        start_from(denoiser.net, weights.net)
    sha256 = digest({"images": images})
    return Setup(denoiser.to(device), batches, config, len(images), sha256, kept, shown)


def start_from(net: UNet, pretrained: UNet) -> None:
    """Copy pretrained weights into `net`, which differs from `pretrained` at most in its labels.

    If the numbers of classes differ, `net` starts as the unconditional part of `pretrained`: the
    embedding of "no label" moves into the bias that it was always added to, and every row of a new
    label table starts at 0.
    """
    state = pretrained.state_dict()
    if net.null_class != pretrained.null_class:
        table = state.pop("class_embedding.weight", None)
        if table is not None:
            bias = "time_embedding.linear_2.bias"
            state[bias] = state[bias] + table[pretrained.null_class]
        if net.class_embedding is not None:
            state["class_embedding.weight"] = torch.zeros_like(net.class_embedding.weight)
    net.load_state_dict(state)


def _spread_held_out(name: str, root: str, size: int) -> WithConditions:
    return spread(held_out(name, root, size), MEASURED), {}


def _schedule(settings: NetworkSettings) -> NoiseSchedule:
    ends = {name: getattr(settings, name) for name in ("beta_start", "beta_end")}
    ends = {name: beta for name, beta in ends.items() if beta is not None}
    if ends and settings.schedule != "linear":
        raise ValueError("--beta-start and --beta-end belong to --schedule linear.")
    return SCHEDULES[settings.schedule](settings.timesteps, **ends)


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is a CUDA GPU, else Apple's MPS, else the CPU.

    Under `torchrun`, where several processes each need one, it is this process's own.
    Raises ValueError if it is not there.
    """
    if several := join_processes(name):
        return several
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    with suppress(RuntimeError):  # a number that is not there, as in cuda:9
        if available.get(name.split(":")[0], False):
            return torch.empty(0, device=name).device
    raise ValueError(f"There is no device {name!r} here: leave --device out, or choose cpu.")
