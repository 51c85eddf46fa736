"""How the cost of a training step grows: uv run python benchmarks/scaling.py

One thing changes at a time: the batch, the image size, the network. Peak memory is that of the
GPU; MFU is the share of the bf16 matrix-product rate, measured in the same run.
"""

import gc
import statistics
import time
from typing import Annotated

import torch
import typer
from loops import flops_of, ours
from measuring import bf16_rate, pick_device, print_table, save, synchronise

from ddpm_course import PRESETS, UNet, synthetic_flowers

GPU = [
    *(("base", 64, batch) for batch in (1, 8, 32, 128, 512)),
    *(("base", size, batch) for size, batch in ((32, 128), (128, 128), (256, 32))),
    *(
        (preset, PRESETS[preset].network["image_size"], 128)
        for preset in ("tiny", "small", "large")
    ),
]
CPU = [
    *(("tiny", 32, batch) for batch in (1, 8, 32, 128)),
    *(("tiny", size, 8) for size in (64, 128)),
    *((preset, 64, 8) for preset in ("small", "base", "large")),
]


def measure(preset: str, size: int, batch_size: int, rounds: int, device, rate: float) -> dict:
    """Speed and memory of one setting; the error's first words where it does not fit."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    gc.collect()  # what was compiled last holds its network in a cycle
    net = UNet(**PRESETS[preset].network | {"image_size": size})
    flops = flops_of(net, size)
    images, _ = synthetic_flowers(64, size, seed=0)
    gpu = device.type == "cuda"
    steps = 10 if gpu else 1
    setting = {"preset": preset, "image_size": size, "batch_size": batch_size}
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        one_round, speeds = ours(net, images, batch_size, steps, device), []
        for _ in range(rounds + 1):
            synchronise(device)
            started = time.perf_counter()
            one_round()
            synchronise(device)
            speeds.append(steps * batch_size / (time.perf_counter() - started))
    except torch.OutOfMemoryError:
        return setting | {"error": "out of memory"}
    median = statistics.median(speeds[1:])
    return setting | {
        "images_per_second": median,
        "seconds_per_step": batch_size / median,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if gpu else None,
        "forward_flops_per_image": flops,
        "mfu": 3 * flops * median / rate,
    }


def main(rounds: Annotated[int, typer.Option(help="Timed rounds a setting.")] = 3) -> None:
    device = pick_device()
    rate, rows, record = bf16_rate(device), [], []
    for setting in GPU if device.type == "cuda" else CPU:
        r = measure(*setting, rounds, device, rate)
        record.append(r)
        memory = r.get("peak_memory_bytes")
        rows.append({
            "network": r["preset"],
            "size": f"{r['image_size']}²",
            "batch": str(r["batch_size"]),
            "images/s": r.get("error") or f"{r['images_per_second']:.4g}",
            "ms/step": "" if "error" in r else f"{1000 * r['seconds_per_step']:.4g}",
            "peak GB": f"{memory / 1e9:.1f}" if memory else "",
            "MFU": "" if "error" in r else f"{100 * r['mfu']:.0f} %",
        })  # fmt: skip
        print(rows[-1], flush=True)
        save(  # after every setting: the large ones may outlast the time that is left
            "scaling", device,
            {"bf16_matmul_flops_per_second": rate, "settings": record},
        )  # fmt: skip
    print_table(rows)


if __name__ == "__main__":
    typer.run(main)
