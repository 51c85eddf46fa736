"""What all benchmarks share: the clock, the record of where they ran, the table."""

import hashlib
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from ddpm_course.pretrained.files import load_tensors, save_tensors

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "diffusers", "denoising-diffusion-pytorch", "accelerate")


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


PAUSE = 1.0  # seconds: workers that fetch ahead for the last run must not slow the next one


def time_in_turns(
    runs: dict[str, Callable[[], None]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of every run, `rounds` times, the runs taking turns so that all see the same
    machine; each round begins with another one. One more round before the first is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        names = deque(runs)
        names.rotate(-turn)
        for name in names:
            time.sleep(PAUSE)
            synchronise(device)
            started = time.perf_counter()
            runs[name]()
            synchronise(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def bf16_rate(device: torch.device) -> float:
    """FLOP/s of a bf16 matrix product here: the ceiling that MFU is measured against."""
    n, products = (8192, 50) if device.type == "cuda" else (2048, 10)
    a, b, out = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(3))

    def multiply() -> None:
        for _ in range(products):
            torch.mm(a, b, out=out)

    seconds = time_in_turns({"matmul": multiply}, 5, device)["matmul"]
    return products * 2 * n**3 / statistics.median(seconds)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    )
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor()
    return f"{name}, {torch.get_num_threads()} threads"


def commit() -> str:
    """The commit that was measured, with a + if tracked files differ from it. DDPM_COMMIT names it
    where there is no git; "unknown" where nothing does.
    """
    if named := os.environ.get("DDPM_COMMIT"):
        return named
    describe = ["git", "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(
            describe, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def save(name: str, device: torch.device, record: dict) -> None:
    """results/NAME-cpu.json or results/NAME-GPU.json: the figures and where they come from. A
    record of the script with other options stays: the new one goes beside it, as NAME.other.json.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    kind = "cpu" if device.type == "cpu" else device_name(device).split()[1].lower()
    facts = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": device_name(device),
        "python": platform.python_version(),
        "versions": versions,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{kind}.json"
    if path.is_file() and json.loads(path.read_text())["command"] != facts["command"]:
        path = path.with_suffix(".other.json")
    path.write_text(json.dumps(facts | record, indent=1) + "\n")
    print(f"{facts['device']}, torch {versions['torch']}, commit {facts['commit']}: {path.name}")


def kept(path: Path, settings: dict, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `make` gives, or gave before with the same settings: these are in the name
    of the file, `path` with a digest before its suffix.
    """
    made_with = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    path = path.with_stem(f"{path.stem}-{made_with}")
    if not path.is_file():
        save_tensors(path, make(), {"settings": settings})
    return load_tensors(path)[0]


def print_table(rows: list[dict[str, str]]) -> None:
    """As Markdown, to be pasted."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    for cells in lines:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("| " + " | ".join(padded) + " |")
    print()
