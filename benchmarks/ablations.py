"""What each choice is worth, with the same small budget: uv run python benchmarks/ablations.py

Every variant is trained from several seeds; the flowers that it draws are judged against `val`,
class by class equally many, beside the floor of real flowers. A difference between two variants is
told with its standard error over the seeds, and called undecided where 0 lies in its 95 % interval
of Student's t; seven differences are looked at, and that is not corrected for. What was drawn is
kept in runs/ablations: a run that was stopped goes on.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer
from judging import cell, collect, set_up
from measuring import kept, pick_device, print_table, save
from scipy import stats

import ddpm_course as dc
from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.images import ImageData
from ddpm_course.evaluation.quality import draw_classes
from ddpm_course.training.speed import autocast

OUT = Path("runs/ablations")
SAMPLING = {"sampler": "ddim", "steps": 25}


@dataclass(frozen=True)
class Variant:
    """A model to train; `drawn` are the ways to draw from it: averaged weights or not, clipped or
    not.
    """

    prediction: str
    schedule: Callable[[], dc.NoiseSchedule]
    drawn: tuple[str, ...] = ("ema",)


T = 350
VARIANTS = {
    "ε, linear (the original)": Variant("eps", lambda: dc.linear_schedule(T)),
    "ε, linear, β × 1000/T": Variant(
        "eps", lambda: dc.linear_schedule(T, 1e-4 * 1000 / T, 0.02 * 1000 / T)
    ),
    "ε, cosine": Variant("eps", lambda: dc.cosine_schedule(T), ("ema", "no ema", "no clip")),
    "x₀, cosine": Variant("x0", lambda: dc.cosine_schedule(T)),
    "v, cosine": Variant("v", lambda: dc.cosine_schedule(T)),
}
PAIRS = (
    ("ε, linear, β × 1000/T", "ε, linear (the original)"),
    ("ε, cosine", "ε, linear (the original)"),
    ("x₀, cosine", "ε, cosine"),
    ("v, cosine", "ε, cosine"),
    ("v, cosine", "x₀, cosine"),
    ("ε, cosine, no ema", "ε, cosine"),
    ("ε, cosine, no clip", "ε, cosine"),
)


def run(
    variant: Variant, seed: int, data: ImageData, network: dict, config: dc.TrainConfig,
    per_class: int, device: torch.device,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Train one, and draw from it: {way: u8[N,3,S,S]}."""
    torch.manual_seed(seed)
    net = dc.UNet(num_classes=102, **network)
    denoiser = dc.Denoiser(net, variant.schedule(), variant.prediction).to(device)
    batches = dc.image_batches(data, config, conditional=True, device=device)
    [*_, state] = dc.train(denoiser, batches, config)
    drawn = {}
    for way in variant.drawn:
        model = (denoiser if way == "no ema" else state.ema).eval()
        model.clip = way != "no clip"
        with autocast("auto", device):
            drawn[way] = draw_classes(model, per_class, seed=seed, **SAMPLING).images
    return drawn


def difference(better: str, than: str, results: dict) -> dict:
    """Seed by seed, the kernel distance of the one less that of the other."""
    a, b = (results[name]["kernel"]["values"] for name in (better, than))
    each = [x - y for x, y in zip(a, b, strict=True)]
    mean, error = statistics.mean(each), statistics.stdev(each) / math.sqrt(len(each))
    bound = stats.t.ppf(0.975, len(each) - 1) * error  # 4.3 standard errors for three seeds
    verdict = "undecided" if abs(mean) < bound else "lower" if mean < 0 else "higher"
    return {"of": better, "against": than, "kernel": mean, "error": error, "verdict": verdict}


def main(
    preset: str = "tiny",
    channels: Annotated[
        str, typer.Option(help="Channels of the network, such as 16,32,64; else the preset's.")
    ] = "",
    steps: int = 1200,
    seeds: int = 3,
    per_class: int = 10,
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    chosen, device = dc.PRESETS[preset], pick_device()
    network = dict(chosen.network)
    if channels:
        network["channels"] = tuple(map(int, channels.split(",")))
    if threads:
        torch.set_num_threads(threads)
    if seeds < 2:
        raise ValueError("A spread over seeds needs at least two of them.")
    data = flowers102(data_root, network["image_size"])
    drawn = {}
    for seed, name in product(range(seeds), VARIANTS):
        config = dc.TrainConfig(
            steps=steps, batch_size=chosen.batch_size, learning_rate=chosen.learning_rate,
            ema_decay=0.998, log_every=steps, seed=seed,
        )  # fmt: skip
        settings = {
            "variant": name, "T": T, "network": network, "training": asdict(config),
            "sampling": SAMPLING, "per_class": per_class,
        }  # fmt: skip
        make = partial(run, VARIANTS[name], seed, data, network, config, per_class, device)
        drawn[name, seed] = kept(OUT / f"seed-{seed}.safetensors", settings, make)
        print(name, "seed", seed, flush=True)

    bench = set_up(data_root, network["image_size"], threads)
    labels = torch.arange(102).repeat_interleave(per_class)
    rows: dict[str, list[dict[str, float]]] = {}
    for (name, _), ways in drawn.items():
        for way, images in ways.items():
            key = name if way == "ema" else f"{name}, {way}"
            rows.setdefault(key, []).append(bench.measure(ImageData(images, labels)))
    results = {"real flowers": bench.floor()} | {key: collect(row) for key, row in rows.items()}
    differences = [difference(*pair, results) for pair in PAIRS]
    print_table([
        {"variant": key, **{k: cell(entry) for k, entry in row.items()}}
        for key, row in results.items()
    ])  # fmt: skip
    print_table([
        {
            "kernel distance of": d["of"], "against": d["against"],
            "difference": f"{d['kernel']:+.4f} ± {d['error']:.4f}", "": d["verdict"],
        }
        for d in differences
    ])  # fmt: skip
    save(
        f"ablations-{preset}", device,
        {
            "channels": network["channels"], "steps": steps, "batch_size": chosen.batch_size,
            "flowers": 102 * per_class, "sampling": SAMPLING, "T": T,
            "rows": results, "differences": differences,
        },
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
