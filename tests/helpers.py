"""What several rooms of tests use."""

import importlib.util
from pathlib import Path

import torch

from ddpm_course.schedules import (
    cosine_schedule,
    linear_schedule,
    rescale_zero_terminal_snr,
    sigmoid_schedule,
)

ROOT = Path(__file__).resolve().parents[1]
SCHEDULES = {
    "linear": linear_schedule(1000),
    "linear, 350": linear_schedule(350),
    "cosine": cosine_schedule(1000),
    "sigmoid": sigmoid_schedule(1000),
    "ending in noise": rescale_zero_terminal_snr(linear_schedule(1000)),
}


def randomise(module, seed=0):
    """Weights N(0, 1/fan_in), biases and norm shifts N(0, 0.1²): zero-initialised layers would
    make two networks equal whatever they compute.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        if parameter.ndim > 1:
            noise = noise / parameter[0].numel() ** 0.5
        else:
            noise = 0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0)
        parameter.data = noise
    return module


def contents(folder):
    """Every file below a folder, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def replay(monkeypatch, noises):
    """Make diffusers add the given noises, one per step."""
    queue = iter(noises)
    for module in ("scheduling_ddpm", "scheduling_ddim"):
        monkeypatch.setattr(
            f"diffusers.schedulers.{module}.randn_tensor", lambda *a, **k: next(queue)
        )


def tool(name):
    """A script of `tools/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
