"""Two processes with gloo on a CPU, started by torchrun as a user would, compared with one."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from helpers import ROOT
from small import CONFIG, rows, run

from ddpm_course.training.distributed import join_processes
from ddpm_course.training.run_folder import steps_done

SETTINGS = (
    *("--data", "synthetic", "--image-size", "16", "--batch-size", "4", "--conditional"),
    *("--timesteps", "50", "--precision", "fp32", "--warmup-steps", "5", "--device", "cpu"),
    *("--log-every", "1", "--sample-every", "100"),
)
STEPS, MORE = 12, 14


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
    found = rows(folder / "metrics.csv")
    assert [int(row["step"]) for row in found] == list(range(1, len(found) + 1))
    return [float(row["loss"]) for row in found]


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


@pytest.mark.parametrize(
    ("name", "gpus", "device", "backend"),
    [
        ("auto", True, "cuda:1", "nccl"),
        ("cpu", True, "cpu", "gloo"),
        ("auto", False, "cpu", "gloo"),
    ],
)
def test_each_process_takes_a_gpu_and_waits_an_hour_for_the_others(
    monkeypatch, name, gpus, device, backend
):
    calls = []
    monkeypatch.setattr(dist, "init_process_group", lambda *a, **k: calls.append((*a, k)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert join_processes(name) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert join_processes(name) == torch.device(device)
    chosen = [torch.device(device)] if backend == "nccl" else []
    assert calls == [*chosen, (backend, {"timeout": timedelta(hours=1)})]


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ddpm_course.training.loop.processes", lambda: 2)
    with pytest.raises(ValueError, match="A batch of 3 cannot be split equally over 2 processes"):
        run(replace(CONFIG, batch_size=3), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
