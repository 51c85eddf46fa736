"""From a run to a checkpoint that is shipped: uv run python tools/ship_weights.py RUN NAME

Writes ddpm_course/pretrained/checkpoints/NAME: averaged weights in fp16 (the best on held-out
images, if the run measured them), config, training curve, and a model card with what was measured.
"""

import csv
import json
import sys
from pathlib import Path

import torch
from PIL import Image

from ddpm_course.data.datasets import held_out, load_data
from ddpm_course.data.grids import save_image
from ddpm_course.evaluation.denoising import LOG_SNRS, x0_error
from ddpm_course.pretrained.files import read_json, write_text
from ddpm_course.pretrained.weights import CHECKPOINTS, CONFIG, load_pretrained, save_pretrained
from ddpm_course.super_resolution.crops import middle_crops
from ddpm_course.super_resolution.pairs import load_pairs
from ddpm_course.training.curves import read_rows
from ddpm_course.training.setup import MEASURED

CARD, UPSCALER_CARD = (
    (Path(__file__).parent / f"{name}_card.md").read_text() for name in ("model", "upscaler")
)
PICTURES = {
    "flowers102": "Oxford 102 Flowers, `train` + `test` splits",
    "folder": "photographs of a folder",
    "synthetic": "procedural flowers",
}
HIDDEN = (
    *("data_root", "device", "track", "log_every", "sample_every"),
    *("best_step", "x0_error", "pictures_sha256"),
)


def command_line(settings: dict) -> str:
    """The options of `ddpm-course train` that set up the run."""

    def option(name: str, value) -> str:
        name = name.replace("_", "-")
        if isinstance(value, bool):
            return f"--{name}" if value else f"--no-{name}"
        return f"--{name} {value}"

    given = {k: v for k, v in settings.items() if v is not None and k not in HIDDEN}
    if not given.get("conditional"):
        del given["conditional"]  # the one switch without a --no- form
    return " ".join(option(name, value) for name, value in given.items())


def thinned(rows: list[dict[str, str]], lines: int = 200) -> list[list[str]]:
    """Mean loss over `lines` equal stretches of the run."""
    stretch = max(1, -(-len(rows) // lines))
    parts = [rows[i : i + stretch] for i in range(0, len(rows), stretch)]
    means = [sum(float(row["loss"]) for row in part) / len(part) for part in parts]
    return [[p[-1]["step"], f"{mean:.5f}"] for p, mean in zip(parts, means, strict=True)]


def draw_progress(run: Path, name: str, columns: int = 8, rows: int = 4) -> None:
    """progress.png beside the weights: the same noise drawn from at steps that double each time."""
    grids = {int(p.stem.split("_")[1]): p for p in (run / "samples").glob("step_*.png")}
    if not grids:
        return
    wanted = [max(grids) / 2**k for k in range(columns)]
    steps = sorted({min(grids, key=lambda step: abs(step - goal)) for goal in wanted})
    strip = Image.new("RGB", (len(steps) * 128, rows * 128))
    for column, step in enumerate(steps):
        with Image.open(grids[step]) as grid:
            strip.paste(grid.crop((0, 0, 128, rows * 128)), (column * 128, 0))
    save_image(CHECKPOINTS / name / "progress.png", strip)
    print("progress at steps", steps)


def main(run: Path, name: str) -> None:
    source = run / "best" if (run / "best").is_dir() else run
    out, settings = CHECKPOINTS / name, read_json(source / CONFIG)["run"]
    save_pretrained(out, load_pretrained(source), settings, dtype=torch.float16)
    denoiser = load_pretrained(out).to("cuda" if torch.cuda.is_available() else "cpu")
    root, size = settings["data_root"], settings["image_size"]
    if enlarges := denoiser.net.config["has_level"]:
        pairs, others = load_pairs(settings["data"], root)
        errors = x0_error(denoiser, *middle_crops(others, size, MEASURED))
        pictures, kept = len(pairs.high_res), len(others.high_res)
    else:
        data = held_out(settings["data"], root, size)
        errors = x0_error(denoiser, data)
        pictures, kept = len(load_data(settings["data"], root, size).images), len(data.images)

    rows = read_rows(run / "metrics.csv")
    steps, batch_size = int(rows[-1]["step"]), settings["batch_size"]
    log_every = int(rows[0]["step"])
    seconds = sum(log_every * batch_size / float(row["images_per_second"]) for row in rows)
    last = rows[-20:]
    with (out / "curve.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["step", "loss"], *thinned(rows)])
    if (run / "held_out.csv").is_file():
        write_text(out / "held_out.csv", (run / "held_out.csv").read_text().replace("\r\n", "\n"))

    settings["steps"] = steps
    shipped_steps = settings.get("best_step", steps)
    card = (UPSCALER_CARD if enlarges else CARD).format(
        **settings,
        name=name,
        size=size,
        trained_on=PICTURES[settings["data"]],
        pictures=pictures,
        kept=kept,
        measured=min(MEASURED, kept),
        mirrored=", mirrored at random" if settings["flip"] else "",
        parameters=sum(p.numel() for p in denoiser.net.parameters()) / 1e6,
        last_label=(denoiser.net.config["num_classes"] or 0) - 1,
        T=denoiser.schedule.T,
        epochs=steps * batch_size / pictures,
        hours=seconds / 3600,
        speed=steps * batch_size / seconds,
        shipped_steps=shipped_steps,
        loss=sum(float(row["loss"]) for row in last) / len(last),
        window=log_every * len(last),
        error=errors.mean().item(),
        snrs=" | ".join(map(str, LOG_SNRS)),
        rule="|".join("---" for _ in LOG_SNRS),
        errors=" | ".join(f"{e:.4f}" for e in errors.tolist()),
        held_out=f", `held_out.csv` the x̂₀ error on {min(MEASURED, kept)} held-out images"
        if (run / "held_out.csv").is_file()
        else "",
        command=command_line(settings),
    )
    write_text(out / "README.md", card)
    if not enlarges:  # whose samples show photographs
        draw_progress(run, name)
    config = json.loads((out / CONFIG).read_text())
    config["run"] |= {"data_root": "data", "steps": shipped_steps, "x0_error": errors.mean().item()}
    write_text(out / CONFIG, json.dumps(config, indent=2) + "\n")
    print(card)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
