"""From the settings of a training run to what they mean: data, network and device."""

from contextlib import suppress
from dataclasses import replace
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
from ddpm_course.pretrained.files import read_json
from ddpm_course.pretrained.weights import CONFIG, checkpoint_folder, load_pretrained
from ddpm_course.schedules import SCHEDULES, NoiseSchedule
from ddpm_course.super_resolution.crops import middle_crops, pair_batches, refuse_crops
from ddpm_course.super_resolution.pairs import load_pairs, refuse_unknown
from ddpm_course.training.batches import image_batches
from ddpm_course.training.distributed import first_process_first, join_processes
from ddpm_course.training.monitoring import WithConditions
from ddpm_course.training.run_folder import SAMPLES, STATE, missing
from ddpm_course.training.settings import (
    FROM_WEIGHTS,
    DataSettings,
    NetworkSettings,
    RunSettings,
    preset_settings,
)
from ddpm_course.training.tracking import check_tracker
from ddpm_course.unet import UNet, weightless

MEASURED = 256  # held-out images: enough to rank two states of a run, and a second on a GPU


def stored_settings(folder: Path) -> RunSettings:
    """The settings that the run in `folder` was started with.

    Raises ValueError if there is no run to resume, or if a setting has the wrong type.
    """
    if name := missing(folder):
        raise ValueError(
            f"{folder} holds no run to resume, for lack of a {name}: start one without --resume, "
            "in a folder that is empty or new."
        )
    return RunSettings.from_record(stored_record(folder), folder / CONFIG)


def settings_for_weights(name_or_folder: str) -> RunSettings:
    """The defaults for a run that starts from pretrained weights.

    Network and noise schedule are those of the weights; batch size and learning rate suit the
    preset that their config.json names. Raises as `load_pretrained` does.
    """
    weights, folder = load_pretrained(name_or_folder), checkpoint_folder(name_or_folder)
    record = stored_record(folder) if (folder / CONFIG).is_file() else {}
    shared = {name: record[name] for name in FROM_WEIGHTS if name in record}
    shared |= {"prediction": weights.prediction, "timesteps": weights.schedule.T}
    shared |= {"init_from": str(name_or_folder), "dropout": weights.net.config["dropout"]}
    network = RunSettings.from_record(shared, folder / CONFIG).network
    defaults = preset_settings(network.preset) if "preset" in record else RunSettings()
    data = replace(defaults.data, image_size=weights.net.config["image_size"])
    return replace(defaults, data=data, network=network)


def stored_record(folder: Path) -> dict:
    """The record of a run in the folder's config.json. Raises ValueError if it is damaged."""
    record = read_json(folder / CONFIG).get("run", {})
    if not isinstance(record, dict):
        raise ValueError(f"{folder / CONFIG} holds no settings of a run: restore it from a copy.")
    return record


class Setup(NamedTuple):
    """A run that can begin."""

    denoiser: Denoiser
    batches: Batches
    images: Tensor
    """The training images u8[N,3,H,W]."""
    held_out: WithConditions | None
    """Images that are kept out of training, with their conditions; None if nothing needs them."""


def prepare(settings: RunSettings, weights: Denoiser | None = None) -> Setup:
    """Everything that a run needs. With `weights`, it starts from them, on their noise schedule.

    Whatever can be checked without the images is checked before they are read or downloaded. Raises
    ValueError for settings that do not fit, OSError where data is missing.
    """
    settings.check()
    check_tracker(settings.records.track)
    device = pick_device(settings.records.device)
    name, root, size = settings.data.data, settings.data.data_root, settings.data.image_size
    config, conditional = settings.training, settings.network.conditional
    measures = settings.records.held_out_every > 0

    schedule = weights.schedule if weights else _schedule(settings.network)
    network = weights.net.config if weights else PRESETS[settings.network.preset].network
    changes = {"dropout": settings.network.dropout, "image_size": size, "num_classes": None}
    network = {"has_level": False, **network, **changes}
    # This raises for what does not fit, before any image is read.
    Denoiser(weightless(network), schedule, settings.network.prediction)
    if measures:
        times_of(LOG_SNRS, schedule)
    if network["has_level"]:
        if conditional:
            raise ValueError("--conditional is not for an upscaler, which knows no labels.")
        refuse_unknown(name)
        refuse_crops(size, schedule)

    kept: WithConditions | None = None
    with first_process_first():
        if name.startswith("flowers102"):
            download_flowers102(root)
        if network["has_level"]:
            pairs, others = load_pairs(name, root)
            images, kept = pairs.high_res, middle_crops(others, size, MEASURED)
            batches = pair_batches(
                pairs, schedule, size, batch_size=config.batch_size, seed=config.seed,
                flip=config.flip, device=device,
            )  # fmt: skip
        else:
            if measures:  # first, since a data set without such images is refused unread
                kept = spread(held_out(name, root, size), MEASURED), {}
            data = load_data(name, root, size)
            images = data.images
            batches = image_batches(data, config, conditional=conditional, device=device)
            network["num_classes"] = data.num_classes if conditional else None

    torch.manual_seed(config.seed)
    denoiser = Denoiser(UNet(**network), schedule, settings.network.prediction)
    if weights:
        denoiser.clip = weights.clip
        start_from(denoiser.net, weights.net)
    return Setup(denoiser.to(device), batches, images, kept)


def refuse_runs_among_images(folder: Path, data: DataSettings) -> None:
    """Raise ValueError if a run would learn from sample grids: its own, as it writes them into
    `folder`, or those of another run that lies among the images.
    """
    root = Path(data.data_root)
    if data.data not in ("folder", "folder-all") or not root.is_dir():
        return
    samples = folder.absolute() / SAMPLES
    own = any(place.exists() and place.samefile(root) for place in (samples, *samples.parents))
    for run in [folder] if own else [state.parent for state in root.rglob(STATE)]:
        raise ValueError(
            f"The run {run} lies among the images in {root}, and its sample grids would be taken "
            "for some of them: keep images and runs in separate folders."
        )


def ends_in_noise(schedule: NoiseSchedule, size: int) -> bool:
    """Whether x_T looks like the pure noise that sampling starts from.

    The mean over size×size pixels of √ᾱ_T x_0 must not stand out from that of the noise, whose
    standard deviation is 1/size. Otherwise the network learns to read the brightness of an image
    off x_T, where sampling has none to read (Lin et al. 2024).
    """
    return float(schedule.sqrt_alphas_cumprod[-1]) * size <= 1


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


def _schedule(settings: NetworkSettings) -> NoiseSchedule:
    ends = {"beta_start": settings.beta_start, "beta_end": settings.beta_end}
    ends = {name: beta for name, beta in ends.items() if beta is not None}
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
