"""A trained denoiser as two files, `config.json` and `model.safetensors`, and back again.

Nothing is unpickled, so opening a stranger's weights runs none of their code. The noise schedule is
stored as its float64 table ᾱ beside the weights, so any schedule comes back to the last bit.
"""

import json
from pathlib import Path

import torch

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.diffusers_format import INDEX, load_diffusers
from ddpm_course.pretrained.files import load_tensors, one_line, read_json, save_tensors, write_text
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.unet import network_with

CHECKPOINTS = Path(__file__).parent / "checkpoints"
"""The folder of the checkpoints that come with the package."""
COURSE = "flowers32-tiny"
"""The shipped checkpoint that the notebooks sample from, and `ddpm-course sample` by default."""
UPSCALER = "flowers-upscaler"
"""The shipped checkpoint for super-resolution."""
CONFIG, MODEL = "config.json", "model.safetensors"
SCHEDULE = "alphas_cumprod"


def save_pretrained(
    folder: Path | str,
    denoiser: Denoiser,
    run: dict | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `denoiser` to a folder; `run` is any JSON record of how it was made.

    `dtype` is how weights are stored, by default as they are; torch.float16 halves the file. Both
    files are written atomically. Raises OSError if the disk is full or read-only; what was there
    before is then still there.
    """
    config = {
        "network": denoiser.net.config,
        "prediction": denoiser.prediction,
        "clip": denoiser.clip,
        "run": run or {},
    }
    tensors = {k: v.to(dtype or v.dtype) for k, v in denoiser.net.state_dict().items()}
    tensors[SCHEDULE] = denoiser.schedule.alphas_cumprod
    save_tensors(Path(folder) / MODEL, tensors)  # first, since a full disk has no room for it
    write_text(Path(folder) / CONFIG, json.dumps(config, indent=2) + "\n")


def load_pretrained(name_or_folder: Path | str = COURSE) -> Denoiser:
    """A denoiser in eval mode on the CPU, from a folder or by the name of a shipped checkpoint;
    without either, the one that the course samples from.

    A folder in the layout of 🤗 diffusers (google/ddpm-*, or made by `ddpm-course export`) opens,
    too. Weights stored in fp16 become float32.

    Raises FileNotFoundError for an unknown name, ValueError for damaged or mismatched files,
    ModuleNotFoundError for a folder of 🤗 diffusers where that is not installed.
    """
    folder = checkpoint_folder(name_or_folder)
    if (folder / INDEX).is_file():
        return load_diffusers(folder)
    if not (folder / CONFIG).is_file() or not (folder / MODEL).is_file():
        known = ", ".join(shipped()) or "none yet"
        raise FileNotFoundError(
            f"{name_or_folder} is neither a folder with {CONFIG} and {MODEL} nor a checkpoint "
            f"shipped with the package ({known})."
        )
    config = read_json(folder / CONFIG)
    tensors, _ = load_tensors(folder / MODEL)
    try:
        schedule = NoiseSchedule(tensors.pop(SCHEDULE))
        net = network_with(config["network"], tensors)
        denoiser = Denoiser(net, schedule, config["prediction"], config["clip"])
    except Exception as error:  # whatever the constructors make of a damaged config
        raise ValueError(
            f"{folder / CONFIG} does not describe the weights beside it ({one_line(error)}): "
            "both files must come from the same run."
        ) from error
    return denoiser.eval()


def checkpoint_folder(name_or_folder: str | Path) -> Path:
    """The folder of that name or, where there is none, of the checkpoint shipped under it."""
    folder = Path(name_or_folder)
    by_name = not folder.exists() and folder.name == str(name_or_folder)
    return CHECKPOINTS / folder if by_name else folder


def shipped() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(path.parent.name for path in CHECKPOINTS.glob(f"*/{MODEL}"))
