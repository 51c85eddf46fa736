"""The scale of guidance against quality: uv run python benchmarks/guidance.py

For each scale the kernel distance to `val`, how many flowers the classifier recognises, and how
varied they are: the mean distance of two flowers of one species in what the classifiers see,
relative to that of real ones. Scale 0 ignores the label.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from judging import Bench, cell, collect, set_up, told
from measuring import pick_device, print_table, save

from ddpm_course.data.images import ImageData
from ddpm_course.evaluation.features import features
from ddpm_course.evaluation.quality import draw_classes
from ddpm_course.pretrained.weights import COURSE, load_pretrained
from ddpm_course.samplers import usual_spacing
from ddpm_course.training.speed import autocast


def variety(bench: Bench, data: ImageData) -> float:
    """Mean distance of two pictures of one class in what the classifiers see."""
    means = []
    for extract in bench.judge.extractors.values():
        seen = features(extract, data.images)
        groups = [seen[data.labels == k] for k in data.labels.unique()]
        means += [torch.nn.functional.pdist(group).mean() for group in groups]
    return torch.stack(means).mean().item()


def main(
    source: Annotated[str, typer.Option("--from")] = COURSE,
    scales: Annotated[str, typer.Option(help="Scales, such as 0,1,2.")] = "0,1,1.5,2,3,5,8",
    sampler: str = "dpm_solver_pp_2m",
    steps: int = 15,
    per_class: int = 10,
    seeds: int = 2,
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    device = pick_device()
    denoiser = load_pretrained(source).to(device)
    bench = set_up(data_root, denoiser.net.config["image_size"], threads)
    real = variety(bench, bench.val)
    if per_class < 2:
        raise ValueError("Variety is told from pairs of one class: draw at least 2 of each.")
    results = {"real flowers": bench.floor() | {"variety": told([1.0]), "at_the_edge": told([
        _at_the_edge(bench.val)
    ])}}  # fmt: skip
    for scale in map(float, scales.split(",")):
        rows = []
        for seed in range(seeds):
            with autocast("auto", device):
                drawn = draw_classes(
                    denoiser, per_class, guidance=scale, sampler=sampler, steps=steps,
                    spacing=usual_spacing(sampler), seed=seed,
                )  # fmt: skip
            rows.append(
                bench.measure(drawn)
                | {"variety": variety(bench, drawn) / real, "at_the_edge": _at_the_edge(drawn)}
            )
        results[f"{scale:g}"] = collect(rows)
        print(scale, {k: cell(v) for k, v in results[f"{scale:g}"].items()}, flush=True)
    print_table([
        {"scale": scale, **{k: cell(v, 3) for k, v in r.items()}} for scale, r in results.items()
    ])  # fmt: skip
    save(
        f"guidance-{Path(source).name}", device,
        {
            "flowers": 102 * per_class, "sampler": sampler, "steps": steps,
            "size": bench.val.images.shape[-1], "rows": results,
        },
    )  # fmt: skip


def _at_the_edge(data: ImageData) -> float:
    """The share of values that are as dark or as bright as a byte can be."""
    return ((data.images == 0) | (data.images == 255)).double().mean().item()


if __name__ == "__main__":
    typer.run(main)
