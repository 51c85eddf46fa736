"""The command `ddpm-course evaluate`: how good a model's flowers are, in numbers."""

import json
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import ddpm_course as dc
from ddpm_course.cli import options

if TYPE_CHECKING:
    import torch

FeaturesName = Literal["classifier", "pixels", "inception"]
FLOORS = 5  # random halves of real flowers, compared with each other
LIKELIHOOD = 64  # images of `val` whose bits are counted


@dataclass
class Evaluate:
    """Measure trained weights: distances to flowers never trained on, beside those between real
    flowers; how many are recognised; signs of copying; bits/dim.
    """

    source: options.Source = options.COURSE
    data_root: Path = Path("data")  # Folder with Flowers-102.
    per_class: int = 10  # Flowers per species; 10 as in val make distances comparable.
    sampler: options.Sampler = options.SAMPLER
    steps: int = options.STEPS  # Network calls per image, 1 to T.
    spacing: options.Spacing = None
    guidance: float = options.GUIDANCE  # Scale of classifier-free guidance; 1 means none.
    seed: int = 0  # Image k depends on (seed, k) alone.
    features: FeaturesName = "classifier"  # What images are compared by.
    out: Path | None = None  # JSON file for the numbers.
    overwrite: options.Overwrite = False
    precision: options.Precision = "auto"
    device: options.Device = "auto"

    def run(self) -> None:
        from ddpm_course.pretrained.files import write_text
        from ddpm_course.training.setup import pick_device, stored_record

        if self.out:
            options.refuse_file(self.out, self.overwrite, "report.json")
        options.refuse_outside(1000, per_class=self.per_class)
        device = pick_device(self.device)
        denoiser = dc.load_pretrained(self.source).to(device)
        if denoiser.net.config["num_classes"] != 102:
            raise ValueError(
                "evaluate generates flowers by species: it needs a network of 102 classes, as "
                "`train --conditional` makes from Flowers-102."
            )
        learned = stored_record(dc.checkpoint_folder(self.source)).get("data")
        if learned not in (None, "flowers102"):
            print(
                f"{self.source} was trained on {learned}. If flowers of val are among those, they "
                "are no longer held out, and the numbers below are too good.",
                file=sys.stderr,
            )
        report = self._measure(denoiser, device)
        if self.out:
            write_text(self.out, json.dumps(report, indent=1) + "\n")
        print(format_report(report))

    def _measure(self, denoiser: "dc.Denoiser", device: "torch.device") -> dict:
        """The settings, and every number of the report."""
        from ddpm_course.evaluation.classifier import accuracy, load_classifier
        from ddpm_course.evaluation.quality import UNSEEN
        from ddpm_course.samplers import usual_spacing

        way: dict[str, Any] = {
            "sampler": self.sampler,
            "steps": self.steps,
            "spacing": self.spacing or usual_spacing(self.sampler),
            "guidance": self.guidance,
            "seed": self.seed,
        }
        size = denoiser.net.config["image_size"]
        train = dc.flowers102(self.data_root, size)
        val = dc.flowers102(self.data_root, size, "val")
        names = tuple(UNSEEN) if self.features == "classifier" else (self.features,)
        judge, classifier = dc.Judge(val, train, names), load_classifier("all")
        bar = partial(options.progress_bar, total=self.steps, unit="step")
        with options.computing(self.precision, device, "add --device cpu"):
            generated = dc.draw_classes(denoiser, self.per_class, progress=bar, **way)
        bits = dc.bits_per_dim(denoiser, dc.spread(val, LIKELIHOOD), seed=self.seed).total
        floors = [judge.floor(k) for k in range(FLOORS)]
        distances, copying = judge.distances(generated.images), judge.copying(generated)
        return {
            "from": self.source,
            "flowers": len(generated.images),
            "size": size,
            "per_class": self.per_class,
            **way,
            "features": self.features,
            "kernel_distance": distances.kernel,
            "frechet_distance": distances.frechet,
            "floor_kernel_distance": [floor.kernel for floor in floors],
            "floor_frechet_distance": [floor.frechet for floor in floors],
            "floor_per_class": judge.per_class,
            "recognised": accuracy(classifier, generated),
            "recognised_val": accuracy(classifier, val),
            "nearer": copying.nearer,
            "nearer_error": copying.error,
            "copied": copying.copied,
            "bits_per_dim": bits.mean().item(),
            "bits_per_dim_error": bits.std().item() / len(bits) ** 0.5,
        }


def format_report(r: dict) -> str:
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
        f"bits/dim on val          {bits} ({LIKELIHOOD} images)",
    ]
    if r["per_class"] != r["floor_per_class"]:
        lines.append(
            "Both distances depend on the number of images: those of real flowers are of "
            f"{r['floor_per_class']} per species."
        )
    return "\n".join(lines)
