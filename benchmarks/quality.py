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

from ddpm_course.data.subsets import draw_per_class, take
from ddpm_course.evaluation.quality import draw_classes
from ddpm_course.pretrained.weights import COURSE, load_pretrained
from ddpm_course.rng import generator
from ddpm_course.samplers import SAMPLERS, usual_spacing
from ddpm_course.training.speed import autocast

COLUMNS = ("kernel", "frechet", "recognised", "seconds_per_100")


def noisy(images: Tensor, std: float, seed: int) -> Tensor:
    """Bytes with noise of that many bytes."""
    noise = std * torch.randn(images.shape, generator=generator(seed, std))
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def ladder(bench: Bench) -> dict[str, dict]:
    """Draws of training flowers, worse and worse: blurred, noisy, and of half of the species, twice
    as many of each. Every classifier is shown flowers that it has not learned from.
    """
    each, rows = bench.judge.per_class, dict[str, list[dict[str, float]]]()
    common = (bench.train.labels.bincount() >= 4 * each).nonzero()[:, 0]  # enough in each half
    for seed in range(3):
        spoiled: dict[str, dict[str, Tensor]] = {}
        for extractor, part in bench.judge.unseen.items():
            flowers = draw_per_class(part, each, seed).images
            ways = {f"blurred, σ = {s} px": gaussian_blur(flowers, 9, s) for s in (0.5, 1.0, 2.0)}
            ways |= {f"noisy, σ = {s} of 255": noisy(flowers, s, seed) for s in (8, 16, 32)}
            few = take(part, torch.isin(part.labels, common[:51]).nonzero()[:, 0])
            ways["half of the species"] = draw_per_class(few, 2 * each, seed).images
            for name, images in ways.items():
                spoiled.setdefault(name, {})[extractor] = images
        for name, images in spoiled.items():
            rows.setdefault(name, []).append(bench.judge.distances(images)._asdict())
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
    bench = set_up(data_root, denoiser.net.config["image_size"], threads)
    results = {"real flowers": bench.floor()} | ladder(bench)

    def row(sampler: str, count: int, seed: int, per_class: int) -> dict[str, float]:
        synchronise(device)
        started = time.perf_counter()
        with autocast("auto", device):
            drawn = draw_classes(
                denoiser, per_class, sampler=sampler, steps=count, seed=seed,
                spacing=usual_spacing(sampler),
            )  # fmt: skip
        seconds = time.perf_counter() - started
        return bench.measure(drawn) | {"seconds_per_100": 100 * seconds / len(drawn.images)}

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
    save(
        f"quality-{Path(source).name}", device,
        {"flowers": 102 * per_class, "size": bench.val.images.shape[-1], "rows": results},
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
