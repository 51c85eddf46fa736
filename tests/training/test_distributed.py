"""Two processes with gloo on a CPU, started by torchrun as a user would, against one."""

import csv
import os
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import accelerate
import pytest
from helpers import ROOT

from ddpm_course.training.distributed import join_processes
from ddpm_course.training.run_folder import steps_done

SETTINGS = (
    *("--data", "synthetic", "--image-size", "16", "--batch-size", "4", "--conditional"),
    *("--timesteps", "50", "--precision", "fp32", "--warmup-steps", "5", "--device", "cpu"),
    *("--log-every", "1", "--sample-every", "20"),
)
STEPS, MORE = 20, 24


def train(processes, *args):
    launcher = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        f"--nproc-per-node={processes}",
    ]
    if processes == 1:
        launcher = [sys.executable]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*launcher, "-m", "ddpm_course", "train", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


def losses(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    return [float(row["loss"]) for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the same run by one process and by two."""
    home = tmp_path_factory.mktemp("runs")
    for processes in (1, 2):
        folder = home / str(processes)
        done = train(processes, *SETTINGS, "--steps", STEPS, "--out", folder)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Sample with") == 1
    return home


def test_two_processes_give_the_losses_of_one(runs):
    alone = losses(runs / "1")
    assert len(alone) == STEPS
    assert max(alone) > 2 * min(alone), "the run must change, or any two would be equal"
    assert losses(runs / "2") == pytest.approx(alone, abs=1e-5)


def test_they_write_one_set_of_files(runs):
    alone, together = (
        sorted(
            str(path.relative_to(runs / name))
            for path in (runs / name).rglob("*")
            if path.is_file() and "tfevents" not in path.name
        )
        for name in ("1", "2")
    )
    assert together == alone
    assert len(list((runs / "2").rglob("*tfevents*"))) == len(
        list((runs / "1").rglob("*tfevents*"))
    )


def test_another_number_of_processes_can_resume(runs):
    for processes, folder in ((1, runs / "2"), (2, runs / "1")):
        done = train(processes, "--resume", "--steps", MORE, "--out", folder)
        assert done.returncode == 0, done.stderr[-3000:]
        assert steps_done(folder) == MORE
    assert len(losses(runs / "1")) == MORE
    assert losses(runs / "1") == pytest.approx(losses(runs / "2"), abs=1e-5)


def test_processes_wait_while_the_first_downloads(monkeypatch):
    asked = {}

    def meet(**options):
        asked.update(options)
        return SimpleNamespace(device="the second GPU")

    monkeypatch.setattr(accelerate, "PartialState", meet)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert join_processes("auto") == "the second GPU"
    assert asked == {"cpu": False, "timeout": timedelta(hours=1)}


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    args = (*SETTINGS, "--batch-size", "3", "--steps", "2", "--out", tmp_path / "run")
    done = train(2, *args)
    assert done.returncode != 0
    assert "A batch of 3 cannot be split equally over 2 processes" in done.stderr
    assert not (tmp_path / "run" / "model.safetensors").exists()


SLOW_SECOND_CLOCK = """
import os, sys, time
right = time.perf_counter
if os.environ["RANK"] == "1":
    time.perf_counter = lambda: right() / 1e6
from ddpm_course.cli.main import main
main()
"""


def test_all_processes_stop_when_the_time_of_the_first_is_up(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_SECOND_CLOCK)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(tmp_path / "slow.py", "train", *SETTINGS, "--out", tmp_path / "run"),
        *("--steps", "100000", "--minutes", "0.01"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Time is up") == 1
    assert steps_done(tmp_path / "run") == 1
