"""From the settings of `ddpm-course train`, a flat dict that JSON can hold, to what they mean."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
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
from ddpm_course.presets import PRESETS
from ddpm_course.pretrained.files import digest, read_json
from ddpm_course.pretrained.weights import CONFIG
from ddpm_course.schedules import SCHEDULES, NoiseSchedule
from ddpm_course.super_resolution.crops import middle_crops, pair_batches, refuse_crops
from ddpm_course.super_resolution.pairs import load_pairs, refuse_unknown
from ddpm_course.training.batches import image_batches
from ddpm_course.training.config import MAY_CHANGE_ON_RESUME, TrainConfig
from ddpm_course.training.distributed import first_process_first, join_processes
from ddpm_course.training.monitoring import WithConditions
from ddpm_course.training.run_folder import STATE
from ddpm_course.unet import UNet

# What may differ between a run and its resumption. All else is read from the run's config.json.
FREE = {*MAY_CHANGE_ON_RESUME, "data_root", "device", "held_out_every", "sample_every", "track"}
MEASURED = 256  # pictures kept out: enough to rank two states of a run, and a second on a GPU


def settings_to_resume(folder: Path, settings: dict, given: set[str], kinds: dict) -> dict:
    """The settings that the run in `folder` was started with, but for the free ones `given` now.

    `kinds` has the type of each setting. Raises ValueError if there is no run, if one of the given
    settings would change it, or if a stored one is not of its type.
    """
    for name in (CONFIG, STATE):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} holds no run to resume, for lack of a {name}: start one without "
                "--resume, in a folder that is empty or new."
            )
    stored = read_json(folder / CONFIG).get("run", {})
    if not isinstance(stored, dict):
        raise ValueError(f"{folder / CONFIG} holds no settings of a run: restore it from a copy.")
    for name, value in stored.items():
        if not isinstance(value, kinds.get(name, object)):
            raise ValueError(
                f"The setting {name} in {folder / CONFIG} is of the wrong type ({value!r:.40}): "
                "restore the file from a copy."
            )
    for name in sorted(given - FREE):
        if settings[name] != stored.get(name):
            raise ValueError(
                f"The run in {folder} was started with --{name.replace('_', '-')} "
                f"{stored.get(name)}: leave the option out to go on, or start another run."
            )
    return settings | stored | {name: settings[name] for name in given}


def fill_in(settings: dict) -> dict:
    """The settings with the preset's values where none were given.

    Raises ValueError for an unknown preset.
    """
    if settings["preset"] not in PRESETS:
        raise ValueError(
            f"Unknown preset {settings['preset']!r}: choose one of {', '.join(PRESETS)}."
        )
    preset = PRESETS[settings["preset"]]
    defaults = {
        "image_size": preset.network["image_size"],
        "batch_size": preset.batch_size,
        "learning_rate": preset.learning_rate,
    }
    return settings | {k: v for k, v in defaults.items() if settings[k] is None}


class Setup(NamedTuple):
    """A run that can begin."""

    denoiser: Denoiser
    batches: Batches
    config: TrainConfig
    pictures: int
    """How many there are to learn from."""
    sha256: str
    """Of those pictures."""
    held_out: Callable[[], WithConditions]
    """Loads pictures that are kept out of training; raises ValueError where none are."""
    shown: dict[str, Tensor]
    """Conditions of the 16 samples that the run shows of itself."""


def prepare(settings: dict) -> Setup:
    """All that a run needs.

    What can be checked at once is checked before any data is read or downloaded. Raises
    ValueError for settings that do not fit, OSError where data is missing.
    """
    config = TrainConfig(**{field.name: settings[field.name] for field in fields(TrainConfig)})
    schedule = _schedule(settings)
    device = pick_device(settings["device"])
    chosen = {"dropout": settings["dropout"], "image_size": settings["image_size"]}
    network = PRESETS[settings["preset"]].network | chosen
    Denoiser(UNet(**network), schedule, settings["prediction"])
    name, root, size = (settings[key] for key in ("data", "data_root", "image_size"))
    enlarges, conditional = network.get("has_level", False), settings["conditional"]
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
            images = pairs.large
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
    denoiser = Denoiser(UNet(**network), schedule, settings["prediction"])
    sha256 = digest({"images": images})
    return Setup(denoiser.to(device), batches, config, len(images), sha256, kept, shown)


def _spread_held_out(name: str, root: str, size: int) -> WithConditions:
    return spread(held_out(name, root, size), MEASURED), {}


def _schedule(settings: dict) -> NoiseSchedule:
    name = settings["schedule"]
    if name not in SCHEDULES:
        raise ValueError(f"Unknown schedule {name!r}: choose one of {', '.join(SCHEDULES)}.")
    ends = {k: settings[k] for k in ("beta_start", "beta_end") if settings[k] is not None}
    if ends and name != "linear":
        raise ValueError("--beta-start and --beta-end belong to --schedule linear.")
    return SCHEDULES[name](settings["timesteps"], **ends)


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
    raise ValueError(f"There is no device {name!r} here: leave --device out, or say cpu.")
