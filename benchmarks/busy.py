"""What a busy computer costs: uv run python benchmarks/busy.py

One process spins beside the work on a machine of few cores, as a browser or a video call does.
PyTorch's own threading is compared with what `import ddpm_course` sets (`OMP_WAIT_POLICY`).
Each figure is the median of `--rounds` runs in processes of their own, which take turns.
"""

import os
import statistics
import subprocess
import sys
from contextlib import contextmanager

import torch
import typer
from measuring import print_table, save

SET_BY_US = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

WORK = {
    "sample 12 flowers × 20 steps": """
denoiser = dc.load_pretrained("flowers32-tiny")
def work():
    dc.sample(denoiser.bind(y=torch.arange(12)), (12, 3, 32, 32), denoiser.schedule, steps=20)
""",
    "train 20 steps of 32": """
data = dc.load_data("starter", "data", 32)
def work():
    net = dc.make_unet("tiny", num_classes=102)
    config = dc.TrainConfig(steps=20, batch_size=32)
    batches = dc.image_batches(data, config, conditional=True)
    for state in dc.train(dc.Denoiser(net, dc.cosine_schedule(), "v"), batches, config):
        pass
""",
    "upscale 4 images": """
model = dc.load_pretrained("flowers-upscaler")
images = dc.load_data("starter", "data", 32).images[:4]
def work():
    dc.upscale(model, images, steps=4)
""",
}
TIMED = """
import sys, time
{first}
import torch
import ddpm_course as dc
{work}
torch.manual_seed(0)
with torch.no_grad() if {no_grad} else torch.enable_grad():
    work()  # the first run warms up
    started = time.perf_counter()
    work()
print(time.perf_counter() - started)
"""


@contextmanager
def spinning(processes: int):
    """So many processes that compute without end."""
    spinners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def seconds(name: str, first: str) -> float:
    """Seconds of one run in a process of its own, which executes `first` before torch loads."""
    environment = {k: v for k, v in os.environ.items() if k not in SET_BY_US}
    script = TIMED.format(first=first, work=WORK[name], no_grad="train" not in name)
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    return float(run.stdout)


def main(rounds: int = 3) -> None:
    ours, default = "import ddpm_course", "import torch"
    rows, record = [], {}
    for name in WORK:
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            for busy in (0, 1):
                with spinning(busy):
                    for arm, first in (("ours", ours), ("PyTorch's default", default)):
                        times.setdefault(f"{arm}, {busy} busy", []).append(seconds(name, first))
        record[name] = times
        middle = {arm: statistics.median(values) for arm, values in times.items()}
        row = {"work": name}
        for arm in ("ours", "PyTorch's default"):
            alone, beside = middle[f"{arm}, 0 busy"], middle[f"{arm}, 1 busy"]
            row[f"{arm}: alone"] = f"{alone:.1f} s"
            row[f"{arm}: beside"] = f"{beside:.1f} s, {beside / alone:.1f}×"
        rows.append(row)
    print_table(rows)
    save("busy", torch.device("cpu"), {"seconds": record})


if __name__ == "__main__":
    typer.run(main)
