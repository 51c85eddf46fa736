"""Two processes with gloo on a CPU, compared with one."""

import socket
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from forked import finish, start
from helpers import ROOT
from small import CONFIG, rows, run

from ddpm_course.training.distributed import join_processes
from ddpm_course.training.run_folder import steps_done

SETTINGS = (
    *("train", "--data", "starter", "--image-size", "16", "--batch-size", "4", "--conditional"),
    *("--timesteps", "50", "--precision", "fp32", "--warmup-steps", "5", "--device", "cpu"),
    *("--learning-rate", "0.01", "--log-every", "1", "--sample-every", "100"),
)
RESUME = ("train", "--resume")
STEPS, MORE = 12, 14


def train(number, folder, *arguments, clocks=(1.0, 1.0)):
    """`ddpm-course` in that many processes, with the environment that torchrun gives each. Returns
    what they print.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    outputs = [folder.with_name(f"{folder.name} of process {rank}") for rank in range(number)]
    processes = [
        start(output, *arguments, "--out", folder, clock=clock,
              environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, (output, clock) in enumerate(zip(outputs, clocks, strict=False))
    ]  # fmt: skip
    for process, output in zip(processes, outputs, strict=True):
        finish(process, output)
    return "".join(output.read_text() for output in outputs)


def losses(folder):
    found = rows(folder / "metrics.csv")
    assert [int(row["step"]) for row in found] == list(range(1, len(found) + 1))
    return [float(row["loss"]) for row in found]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the same run by one process and by two."""
    home = tmp_path_factory.mktemp("runs")
    for number in (1, 2):
        printed = train(number, home / str(number), *SETTINGS, "--steps", STEPS)
        assert printed.count("Sample with") == 1
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


def test_torchrun_gives_the_losses_of_one(tmp_path):
    """Started as a user would, with the preset as it is."""
    alone = [sys.executable]
    torchrun = [*alone, *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]]
    for name, launcher in (("1", alone), ("2", torchrun)):
        call = [*launcher, "-m", "ddpm_course", *SETTINGS, "--steps", "3", "--out", tmp_path / name]
        done = subprocess.run([*map(str, call)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Sample with") == 1
    assert len(set(losses(tmp_path / "1"))) == 3
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), abs=1e-5)


def test_another_number_of_processes_can_resume(runs):
    for number, folder in ((1, runs / "2"), (2, runs / "1")):
        train(number, folder, *RESUME, "--steps", MORE)
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


def test_all_processes_stop_when_the_time_of_the_first_is_up(tmp_path):
    limits = ("--steps", 100_000, "--minutes", 0.01)
    printed = train(2, tmp_path / "run", *SETTINGS, *limits, clocks=(1.0, 1e-6))
    assert printed.count("Time is up") == 1
    assert 0 < steps_done(tmp_path / "run") < 100_000  # the second process's own time is never up
