"""bits/dim on `val`, with its parts and its error: uv run python benchmarks/likelihood.py"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from measuring import pick_device, print_table, save

from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.subsets import spread
from ddpm_course.evaluation.likelihood import bits_per_dim
from ddpm_course.pretrained.weights import COURSE, load_pretrained


def main(
    source: Annotated[str, typer.Option("--from")] = COURSE,
    pictures: int = 64,
    draws: int = 64,
    data_root: Path = Path("data"),
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
) -> None:
    if threads:
        torch.set_num_threads(threads)
    device = pick_device()
    denoiser = load_pretrained(source).to(device)
    size = denoiser.net.config["image_size"]
    rows = {}
    for split in ("train", "val"):
        data = spread(flowers102(data_root, size, split), pictures)
        bits = bits_per_dim(denoiser, data, draws=draws)
        rows[split] = {
            name: {"mean": v.mean().item(), "error": v.std().item() / len(v) ** 0.5}
            for name, v in {**bits._asdict(), "total": bits.total}.items()
        }
    print_table([
        {"split": split, **{k: f"{v['mean']:.4f} ± {v['error']:.4f}" for k, v in row.items()}}
        for split, row in rows.items()
    ])  # fmt: skip
    save(
        f"likelihood-{Path(source).name}", device,
        {"pictures": pictures, "draws": draws, "size": size, "rows": rows},
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
