"""Samplers and steps against quality and seconds: uv run python benchmarks/quality.py

Distances to `val`, class by class equally many, beside those of real flowers, and a ladder of real
flowers spoiled on purpose: a measure that does not climb it measures something else.
"""

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from judging import Bench, cell, collect, set_up
from measuring import pick_device, print_table, save, synchronise
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ddpm_course.data import ImageData
from ddpm_course.engine import autocast
from ddpm_course.judge import draw_classes
from ddpm_course.rng import generator
from ddpm_course.samplers import SAMPLERS
from ddpm_course.subsets import draw_per_class, take
from ddpm_course.weights import COURSE, load_pretrained

COLUMNS = ("kernel", "frechet", "recognised", "seconds_per_100")
SPACING = {"dpm_solver_pp_2m": "logsnr"}


def noisy(images: Tensor, std: float) -> Tensor:
    """Bytes with noise of that many bytes."""
    noise = std * torch.randn(images.shape, generator=generator(1))
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def ladder(bench: Bench) -> dict[str, dict]:
    """Draws of training flowers, worse and worse: blurred, noisy, and of half of the species."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(3):
        double = draw_per_class(bench.train, 2 * bench.judge.per_class, seed)
        flowers = take(double, torch.arange(0, len(double.images), 2)).images
        spoiled = {f"blurred, σ = {s} px": gaussian_blur(flowers, 9, s) for s in (0.5, 1.0, 2.0)}
        spoiled |= {f"noisy, σ = {s} of 255": noisy(flowers, s) for s in (8, 16, 32)}
        spoiled["half of the species"] = double.images[double.labels < 51]
        for name, images in spoiled.items():
            found = bench.judge.distances(images)
            rows.setdefault(name, []).append({"kernel": found.kernel, "frechet": found.frechet})
    return {name: collect(row) for name, row in rows.items()}


def main(
    source: Annotated[str, typer.Option("--from")] = COURSE,
    steps: Annotated[str, typer.Option(help="Steps to take, such as 5,10,20,50.")] = "5,10,20,50",
    per_class: int = 10,
    seeds: int = 3,
    thousand: Annotated[bool, typer.Option(help="1,000 steps, too: 10 a class, one seed.")] = False,
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    device = pick_device()
    denoiser = load_pretrained(source).to(device)
    denoiser.max_batch = 128
    bench = set_up(data_root, denoiser.net.config["image_size"], threads)
    results = {"real flowers": bench.floor()} | ladder(bench)

    def row(sampler: str, count: int, seed: int, per_class: int) -> dict[str, float]:
        synchronise(device)
        started = time.perf_counter()
        with autocast("auto", device):
            drawn = draw_classes(
                denoiser, per_class, sampler=sampler, steps=count, seed=seed,
                spacing=SPACING.get(sampler, "trailing"),
            )  # fmt: skip
        seconds = time.perf_counter() - started
        found = bench.measure(ImageData(drawn.images, drawn.labels))
        return found | {"seconds_per_100": 100 * seconds / len(drawn.images)}

    for count in map(int, steps.split(",")):
        for sampler in SAMPLERS:
            name = f"{sampler}, {count} steps"
            results[name] = collect([row(sampler, count, seed, per_class) for seed in range(seeds)])
            print(name, {k: cell(v) for k, v in results[name].items()}, flush=True)
    if thousand:
        for sampler in ("ddpm", "ddim"):
            results[f"{sampler}, 1000 steps"] = collect([row(sampler, 1000, 0, 10)])

    print_table([
        {"flowers": name, **{k: cell(r[k]) if k in r else "" for k in COLUMNS}}
        for name, r in results.items()
    ])  # fmt: skip
    command = f"quality.py --from {source} --steps {steps} --per-class {per_class} --seeds {seeds}"
    save(
        f"quality-{Path(source).name}", command + (" --thousand" if thousand else ""), device,
        {"flowers": 102 * per_class, "size": bench.val.images.shape[-1], "rows": results},
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
