"""Are they copies? uv run python benchmarks/copies.py

Drawn flowers are compared with held-out ones: which lie nearer to what the model was trained on? In
pixels, and in what classifiers see that have never seen it.

- the shipped model, trained on 7,169 flowers;
- *perfect copier:* training flowers themselves in the place of drawn ones: the most that either
  comparison can say;
- *model by heart:* a network trained on 100 flowers alone (10 species, 10 of each) until it knows
  them by heart, judged by those 100. It must be flagged, or the test is blind;
- *negative control:* training flowers left out of the reference, in the place of drawn ones.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from judging import set_up
from measuring import kept, pick_device, print_table, save

import ddpm_course as dc
from ddpm_course.data.images import ImageData
from ddpm_course.data.subsets import draw_per_class, halves, take
from ddpm_course.evaluation.quality import Copying, Judge, draw_classes
from ddpm_course.pretrained.files import digest
from ddpm_course.pretrained.weights import COURSE, load_pretrained
from ddpm_course.training.speed import autocast

SPECIES = 10


def by_heart(few: ImageData, network: dict, steps: int, device: torch.device) -> ImageData:
    """What a network draws that was trained on these flowers alone, ten of each species."""
    torch.manual_seed(0)
    net = dc.UNet(num_classes=SPECIES, **network)
    denoiser = dc.Denoiser(net, dc.cosine_schedule(1000), "v").to(device)
    config = dc.TrainConfig(steps=steps, learning_rate=1e-3, flip=False, log_every=100)
    batches = dc.image_batches(few, config, conditional=True, device=device)
    for state in dc.train(denoiser, batches, config):
        print(f"step {state.step}: loss {state.loss:.4f}", flush=True)
    with autocast("auto", device):
        return draw_classes(state.ema.eval(), 10, sampler="ddim", steps=50)


def main(
    source: Annotated[str, typer.Option("--from")] = COURSE,
    steps: Annotated[int, typer.Option(help="Training steps of the positive control.")] = 7_500,
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    device = pick_device()
    denoiser = load_pretrained(source).to(device)
    config = denoiser.net.config
    bench = set_up(data_root, config["image_size"], threads)
    spaces = {
        "pixels": Judge(bench.val, bench.train, ("pixels",)),
        "classifiers": bench.judge,
    }
    with autocast("auto", device):
        drawn = draw_classes(denoiser, 10, sampler="ddpm", steps=100)
    results: dict[str, Copying] = {}
    themselves = draw_per_class(bench.train, 10, seed=0)
    for name, flowers in {Path(source).name: drawn, "perfect copier": themselves}.items():
        for space, judge in spaces.items():
            results[f"{name}, {space}"] = judge.copying(flowers)

    # one half of the training flowers stands in for drawn ones, the other is the reference
    aside, reference = halves(bench.train)
    negative = Judge(bench.val, reference, ("pixels",)).copying(draw_per_class(aside, 10, seed=0))
    results["training flowers set aside, pixels"] = negative

    few = draw_per_class(
        take(bench.train, (bench.train.labels < SPECIES).nonzero()[:, 0]), 10, seed=1
    )
    network = {k: v for k, v in config.items() if k != "num_classes"}
    learned = kept(
        Path("runs/copies/by-heart.safetensors"),
        {"network": network, "steps": steps, "flowers": digest(few._asdict())},
        lambda: by_heart(few, network, steps, device)._asdict(),
    )
    held_out = take(bench.val, (bench.val.labels < SPECIES).nonzero()[:, 0])
    results["100 flowers by heart, pixels"] = Judge(held_out, few, ("pixels",)).copying(
        ImageData(**learned)
    )

    print_table([
        {
            "flowers, compared by": name,
            "nearer": f"{c.nearer:.3f} ± {c.error:.3f}", "copied": f"{c.copied:.1%}",
        }
        for name, c in results.items()
    ])  # fmt: skip
    save(
        f"copies-{Path(source).name}", device,
        {"size": config["image_size"], "rows": {k: c._asdict() for k, c in results.items()}},
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
