"""What the tables of quality share: flowers, judge, and figures told with their spread."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.images import ImageData
from ddpm_course.evaluation.classifier import FlowerClassifier, accuracy, load_classifier
from ddpm_course.evaluation.quality import Judge

FLOORS = 5  # draws of real flowers


@dataclass
class Bench:
    """Training and held-out flowers of one size, with who judges them."""

    train: ImageData
    val: ImageData
    judge: Judge
    eye: FlowerClassifier

    def measure(self, drawn: ImageData) -> dict[str, float]:
        """Of flowers as `draw_classes` gives them. Distances depend on how many there are: with
        more of each class than the floor has, they are means over parts of as many.
        """
        each = self.judge.per_class
        by_class = drawn.images.unflatten(0, (102, -1))
        parts = [p for p in by_class.split(each, 1) if p.shape[1] in (each, by_class.shape[1])]
        found = [self.judge.distances(part.flatten(0, 1)) for part in parts]
        means = {k: statistics.mean(getattr(f, k) for f in found) for k in ("kernel", "frechet")}
        return means | {"recognised": accuracy(self.eye, drawn)}

    def floor(self) -> dict[str, dict]:
        """Real against real, over several draws of training flowers; `recognised` is that of
        `val`, which the classifier has never seen.
        """
        floors = [self.judge.floor(seed) for seed in range(FLOORS)]
        row = {k: told([getattr(f, k) for f in floors]) for k in ("kernel", "frechet")}
        return row | {"recognised": told([accuracy(self.eye, self.val)])}


def set_up(data_root: Path, size: int, threads: int | None) -> Bench:
    if threads:
        torch.set_num_threads(threads)
    train, val = flowers102(data_root, size), flowers102(data_root, size, "val")
    return Bench(train, val, Judge(val, train), load_classifier("all"))


def told(values: Sequence[float]) -> dict:
    """Mean and spread over the seeds, with every value."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": spread, "values": list(values)}


def collect(rows: Sequence[dict[str, float]]) -> dict[str, dict]:
    """The rows of several seeds as one row of `told`."""
    return {key: told([row[key] for row in rows]) for key in rows[0]}


def cell(entry: dict, digits: int = 4) -> str:
    spread = "" if entry["std"] is None else f" ± {entry['std']:.{digits}f}"
    return f"{entry['mean']:.{digits}f}{spread}"
