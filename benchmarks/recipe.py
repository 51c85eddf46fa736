"""How a long run should train, decided by short ones: uv run python benchmarks/recipe.py

Each arm changes one thing of the first, and all see equally many images. The network is that of the
preset `light`, on flowers of 32 pixels, where an hour of one CPU core says more than at 64. Two
seeds each; what was trained is kept in `runs/recipe/`, so two processes can share the work
(`--seeds 0` and `--seeds 1`) and the command as it stands puts the table together.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from judging import cell, collect, set_up
from measuring import pick_device, print_table, save
from torch import Tensor

from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.subsets import spread
from ddpm_course.diffusion import Denoiser
from ddpm_course.evaluation.denoising import x0_error
from ddpm_course.evaluation.quality import draw_classes
from ddpm_course.presets import PRESETS
from ddpm_course.pretrained.files import write_text
from ddpm_course.rng import NOISE, TIMES, generator, randn_like
from ddpm_course.samplers import usual_spacing
from ddpm_course.schedules import NoiseSchedule, cosine_schedule
from ddpm_course.training.batches import image_batches
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.ema import EMA
from ddpm_course.training.speed import autocast, make_optimizer
from ddpm_course.unet import UNet

SIZE, RATE, WARMED_UP = 32, 1e-3, 6400  # pixels per side, learning rate, images until it is reached
COLUMNS = ("x0_error", "kernel", "frechet", "recognised")

Decay = Callable[[float], float]
"""Share of the run that is over -> factor of the learning rate."""


def constant(done: float) -> float:
    return 1.0


def linear_last_third(done: float) -> float:
    return min(1.0, 3 * (1 - done))


def min_snr_5(t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """The weight of v's squared error at time t that stands for min(SNR, 5) on x_0's
    (Hang et al. 2023, arXiv:2303.09556)."""
    snr = schedule.log_snr[t].exp()
    return (snr.clamp(max=5) / (snr + 1)).float()


@dataclass
class Arm:
    decay: Decay = constant
    min_snr: bool = False
    batch_size: int = 64


ARMS = {
    "constant rate": Arm(),
    "min-SNR-5": Arm(min_snr=True),
    "linear over the last third": Arm(linear_last_third),
    "batch 32": Arm(batch_size=32),
}


def learn(arm: Arm, images: int, seed: int, data_root: Path) -> Denoiser:
    """The averaged weights after so many images."""
    device, data = pick_device(), flowers102(data_root, SIZE)
    torch.manual_seed(seed)
    network = PRESETS["light"].network | {"image_size": SIZE, "num_classes": 102}
    denoiser = Denoiser(UNet(**network), cosine_schedule(), "v").to(device)
    config = TrainConfig(batch_size=arm.batch_size, seed=seed)
    batches = image_batches(data, config, conditional=True, device=device)
    optimizer, ema = make_optimizer(denoiser.net, device), EMA(denoiser)
    steps, started = images // arm.batch_size, time.perf_counter()
    for step in range(steps):
        inputs = batches(step)
        t = torch.randint(1, 1001, (arm.batch_size,), generator=generator(seed, step, TIMES))
        noise = randn_like(inputs["x0"], generator(seed, step, NOISE, device=device))
        weight = min_snr_5(t, denoiser.schedule) if arm.min_snr else torch.ones(len(t))
        with autocast("auto", device):
            losses = denoiser.loss(t=t.to(device), noise=noise, **inputs)
        optimizer.zero_grad()
        (weight.to(device) * losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(denoiser.net.parameters(), 1.0)
        warm_up = min(1.0, (step + 1) * arm.batch_size / WARMED_UP)
        for group in optimizer.param_groups:
            group["lr"] = RATE * warm_up * arm.decay(step / steps)
        optimizer.step()
        ema.update(denoiser)
        if step % 100 == 0:
            speed = (step + 1) * arm.batch_size / (time.perf_counter() - started)
            print(f"  step {step}, loss {losses.mean():.4f}, {speed:.1f} images/s", flush=True)
    return ema.model


def main(
    images: Annotated[int, typer.Option(help="Images that each arm sees.")] = 36_000,
    seeds: str = "0,1",
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    device, bench = pick_device(), set_up(data_root, SIZE, threads)
    val = spread(bench.val, 256)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in map(int, seeds.split(",")):
        for name, arm in ARMS.items():
            path = Path(f"runs/recipe/{name}-{images}-{seed}.json")
            if not path.is_file():
                print(f"{name}, seed {seed}", flush=True)
                denoiser = learn(arm, images, seed, data_root)
                draw = partial(draw_classes, sampler="ddim", spacing=usual_spacing("ddim"))
                with torch.no_grad(), autocast("auto", device):
                    error = x0_error(denoiser, val).mean().item()
                    drawn = draw(denoiser, bench.judge.per_class, steps=10, seed=seed)
                write_text(path, json.dumps({"x0_error": error} | bench.measure(drawn)))
                print(f"  {path.read_text()}", flush=True)
            rows.setdefault(name, []).append(json.loads(path.read_text()))
    results = {name: collect(row) for name, row in rows.items()}
    print_table([
        {"arm": name, **{k: cell(row[k]) for k in COLUMNS}} for name, row in results.items()
    ])  # fmt: skip
    save("recipe", device, {"images": images, "size": SIZE, "rows": results})


if __name__ == "__main__":
    typer.run(main)
