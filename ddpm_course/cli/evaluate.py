"""The command `ddpm-course evaluate`: what a model's flowers are worth, in figures."""

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from ddpm_course.cli.options import Device, Precision, Source, one_of
from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.subsets import spread
from ddpm_course.evaluation.classifier import accuracy, load_classifier
from ddpm_course.evaluation.features import EXTRACTORS
from ddpm_course.evaluation.likelihood import bits_per_dim
from ddpm_course.evaluation.quality import UNSEEN, Judge, draw_classes
from ddpm_course.pretrained.files import write_text
from ddpm_course.pretrained.weights import COURSE, load_pretrained, trained_on
from ddpm_course.samplers import SAMPLERS, usual_spacing
from ddpm_course.schedules import SPACINGS
from ddpm_course.training.setup import pick_device
from ddpm_course.training.speed import autocast

FLOORS = 5  # draws of real flowers
LIKELIHOOD = 64  # pictures of `val` whose bits are counted


def evaluate_command(
    source: Source = COURSE,
    data_root: Annotated[Path, typer.Option(help="Folder with Flowers-102.")] = Path("data"),
    per_class: Annotated[
        int, typer.Option(help="Flowers of each species; 10 as in val make distances comparable.")
    ] = 10,
    sampler: Annotated[str, typer.Option(help=one_of(SAMPLERS))] = "ddim",
    steps: Annotated[int, typer.Option(help="Network calls an image, 1 to T.")] = 50,
    spacing: Annotated[
        str | None, typer.Option(help=one_of(SPACINGS) + " By default the sampler's usual one.")
    ] = None,
    guidance: Annotated[
        float, typer.Option(help="Scale of classifier-free guidance; 1 is none.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Names the noise that is drawn from.")] = 0,
    features: Annotated[
        str, typer.Option(help="Compare by what: classifier, pixels or inception.")
    ] = "classifier",
    out: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out if it exists.")
    ] = False,
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Measure trained weights: distances to flowers never trained on, beside those between real
    flowers; how many are recognised; signs of copying; bits/dim.
    """
    if out and out.exists() and not overwrite:
        raise ValueError(f"{out} exists: name another file, or add --overwrite.")
    if per_class < 1:
        raise ValueError(f"--per-class must be 1 or more, not {per_class}.")
    spacing = spacing or usual_spacing(sampler)
    names = tuple(UNSEEN) if features == "classifier" else (features,)
    if not set(names) <= set(EXTRACTORS):
        raise ValueError(f"Unknown --features {features!r}: classifier, pixels or inception.")
    where = pick_device(device)
    denoiser = load_pretrained(source).to(where)
    if denoiser.net.config["num_classes"] != 102:
        raise ValueError(
            "evaluate draws flowers by species: it needs a network of 102 classes, as "
            "`train --conditional` makes from Flowers-102."
        )
    if (learned := trained_on(source)) not in (None, "flowers102"):
        typer.echo(
            f"{source} was trained on {learned}. If flowers of val are among those, they are no "
            "longer held out, and nothing below counts.", err=True,
        )  # fmt: skip
    size = denoiser.net.config["image_size"]
    train, val = flowers102(data_root, size), flowers102(data_root, size, "val")
    judge, eye = Judge(val, train, names), load_classifier("all")
    with autocast(precision, where):
        drawn = draw_classes(
            denoiser, per_class, guidance=guidance, sampler=sampler, steps=steps, spacing=spacing,
            seed=seed, progress=partial(tqdm, total=steps, unit="step", dynamic_ncols=True),
        )  # fmt: skip
    bits = bits_per_dim(denoiser, spread(val, LIKELIHOOD), seed=seed).total
    floors = [judge.floor(k) for k in range(FLOORS)]
    found = judge.distances(drawn.images)
    copying = judge.copying(drawn)
    report = {
        "from": str(source), "flowers": len(drawn.images), "per_class": per_class,
        "sampler": sampler, "steps": steps, "spacing": spacing, "guidance": guidance, "seed": seed,
        "features": features, "size": size,
        "kernel_distance": found.kernel, "frechet_distance": found.frechet,
        "floor_kernel_distance": [floor.kernel for floor in floors],
        "floor_frechet_distance": [floor.frechet for floor in floors],
        "floor_per_class": judge.per_class,
        "recognised": accuracy(eye, drawn), "recognised_val": accuracy(eye, val),
        "nearer": copying.nearer, "nearer_error": copying.error, "copied": copying.copied,
        "bits_per_dim": bits.mean().item(),
        "bits_per_dim_error": bits.std().item() / len(bits) ** 0.5,
    }  # fmt: skip
    typer.echo(_told(report))
    if out:
        write_text(out, json.dumps(report, indent=1) + "\n")
        typer.echo(f"The figures are in {out}")


def _told(r: dict) -> str:
    """The report as lines of text."""

    def floor(name: str) -> str:
        values = r[f"floor_{name}"]
        return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"

    kernel, frechet = r["kernel_distance"], r["frechet_distance"]
    nearer = f"{r['nearer']:.3f} ± {r['nearer_error']:.3f}"
    copies = "about 0.75" if r["features"] == "classifier" else "1"  # see `Copying`
    bits = f"{r['bits_per_dim']:.3f} ± {r['bits_per_dim_error']:.3f}"
    lines = [
        f"{r['flowers']} flowers at {r['size']}×{r['size']}, {r['per_class']} per species, "
        f"{r['sampler']}, {r['steps']} steps, guidance {r['guidance']:g}, seed {r['seed']}",
        "",
        f"kernel distance to val   {kernel:.4f} (real flowers: {floor('kernel_distance')})",
        f"Fréchet distance to val  {frechet:.4f} (real flowers: {floor('frechet_distance')})",
        f"species recognised       {r['recognised']:.1%} (val itself: {r['recognised_val']:.1%})",
        f"nearer to training set   {nearer} (new flowers: 0.5, copies: {copies})",
        f"copied                   {r['copied']:.1%}",
        f"bits/dim on val          {bits} ({LIKELIHOOD} pictures)",
    ]
    if r["per_class"] != r["floor_per_class"]:
        lines.append(
            "Both distances depend on the number of pictures: those of real flowers are of "
            f"{r['floor_per_class']} per species."
        )
    return "\n".join(lines)
