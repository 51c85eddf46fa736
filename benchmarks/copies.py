"""Are they copies? uv run python benchmarks/copies.py

For each of three models the flowers that it draws are compared with held-out ones: which lie nearer
to what the model was trained on? In pixels, and in what classifiers see that have never seen it.

- the shipped model, trained on 7,169 flowers;
- *positive control:* a network trained on 100 flowers alone (10 species, 10 of each) until it knows
  them by heart, judged by those 100. It must be flagged, or the test is blind;
- *negative control:* training flowers left out of the reference, in the place of drawn ones.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from judging import set_up
from measuring import pick_device, print_table, save

import ddpm_course as dc
from ddpm_course.data import ImageData
from ddpm_course.engine import autocast
from ddpm_course.files import load_tensors, save_tensors
from ddpm_course.judge import Copying, Judge, draw_classes
from ddpm_course.subsets import draw_per_class, halves, take
from ddpm_course.weights import COURSE, load_pretrained

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
    state.ema.max_batch = 128
    with autocast("auto", device):
        return draw_classes(state.ema.eval(), 10, sampler="ddim", steps=50)


def main(
    source: Annotated[str, typer.Option("--from")] = COURSE,
    steps: Annotated[int, typer.Option(help="Training steps of the positive control.")] = 2500,
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    device = pick_device()
    denoiser = load_pretrained(source).to(device)
    denoiser.max_batch = 128
    config = denoiser.net.config
    bench = set_up(data_root, config["image_size"], threads)
    spaces = {
        "pixels": Judge(bench.val, bench.train, ("pixels",)),
        "classifiers": bench.judge,
    }
    with autocast("auto", device):
        drawn = draw_classes(denoiser, 10, sampler="ddpm", steps=100)
    results: dict[str, Copying] = {}
    for space, judge in spaces.items():
        results[f"{Path(source).name}, {space}"] = judge.copying(drawn)

    # one half of the training flowers stands in for drawn ones, the other is the reference
    aside, reference = halves(bench.train)
    negative = Judge(bench.val, reference, ("pixels",)).copying(draw_per_class(aside, 10, seed=0))
    results["training flowers set aside, pixels"] = negative

    few = draw_per_class(
        take(bench.train, (bench.train.labels < SPECIES).nonzero()[:, 0]), 10, seed=1
    )
    path = Path(f"runs/copies/by-heart-{steps}.safetensors")
    if not path.is_file():
        save_tensors(path, by_heart(few, _network(config), steps, device)._asdict(), {})
    learned = ImageData(**load_tensors(path)[0])
    held_out = take(bench.val, (bench.val.labels < SPECIES).nonzero()[:, 0])
    results["100 flowers by heart, pixels"] = Judge(held_out, few, ("pixels",)).copying(learned)

    print_table([
        {
            "flowers, compared by": name,
            "nearer": f"{c.nearer:.3f} ± {c.error:.3f}", "copied": f"{c.copied:.1%}",
        }
        for name, c in results.items()
    ])  # fmt: skip
    save(
        f"copies-{Path(source).name}", f"copies.py --from {source} --steps {steps}", device,
        {"size": config["image_size"], "rows": {k: c._asdict() for k, c in results.items()}},
    )  # fmt: skip


def _network(config: dict) -> dict:
    return {k: v for k, v in config.items() if k != "num_classes"}


if __name__ == "__main__":
    typer.run(main)
