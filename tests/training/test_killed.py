"""Kill -9, at any moment: a run goes on as if nothing had happened."""

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT
from PIL import Image

from ddpm_course.pretrained.files import load_tensors
from ddpm_course.pretrained.weights import CONFIG, MODEL
from ddpm_course.training.run_folder import METRICS, STATE, steps_done

STEPS, EVERY = 240, 20
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw = random.Random(0)
    for k in range(6):
        pixels = bytes(draw.randrange(256) for _ in range(8 * 8 * 3))
        Image.frombytes("RGB", (8, 8), pixels).save(folder / f"{k}.png")
    return folder


def start(pictures, out, *options, die_at=None):
    """`ddpm-course train` in a process of its own."""
    program = (
        ["-m", "ddpm_course"]
        if die_at is None
        else [str(Path(__file__).with_name("killed_run.py")), die_at]
    )
    fixed = f"--data folder --data-root {pictures} --image-size 8 --batch-size 2 --precision fp32"
    every = f"--steps {STEPS} --checkpoint-every {EVERY} --log-every 1 --sample-every {10 * STEPS}"
    arguments = ["train", "--out", str(out), *fixed.split(), *every.split(), *options]
    return subprocess.Popen(
        [sys.executable, *map(str, program), *arguments],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def logged(out):
    """The last step in metrics.csv whose line is whole; 0 if there is none."""
    if not (out / METRICS).is_file():
        return 0
    lines = (out / METRICS).read_bytes().split(b"\r\n")[1:-1]
    return int(lines[-1].split(b",")[0]) if lines else 0


def kill_at_random(process, out, draw):
    """After some steps have been done, at whatever moment comes; false if it ended before."""
    begun, deadline = logged(out), time.monotonic() + 60
    while process.poll() is None and logged(out) == begun and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.3))
    process.kill()


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.release)])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(pictures, tmp_path, kills):
    """Every second time within a save. Nothing is repeated but the steps since the last one."""
    undisturbed, out, draw = tmp_path / "undisturbed", tmp_path / "out", random.Random(kills)
    assert start(pictures, undisturbed).wait() == 0
    died, rounds = 0, 0
    while died < kills:
        if steps_done(out) >= STEPS - EVERY:  # near its end: another run, from the start
            finish(pictures, out, undisturbed)
            out = tmp_path / f"out {rounds}"
        rounds += 1
        resume = ["--resume"] if (out / CONFIG).is_file() else []
        saved = steps_done(out)
        if rounds % 2:
            process = start(pictures, out, *resume)
            kill_at_random(process, out, draw)
        else:  # 3 files with 2 touches each, and a log to cut where it is resumed
            process = start(pictures, out, *resume, die_at=draw.randrange(1, 15))
        said = process.communicate()[1]
        died += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL), said
        assert steps_done(out) >= saved
        assert 0 <= logged(out) - steps_done(out) <= EVERY  # what the next start repeats
    finish(pictures, out, undisturbed)
    print(f"{died} kills in {rounds} starts")


def finish(pictures, out, undisturbed):
    """Go on to the end undisturbed, and find every number as in the run that was never killed."""
    if steps_done(out) < STEPS:
        resume = ["--resume"] if (out / CONFIG).is_file() else []
        process = start(pictures, out, *resume)
        said = process.communicate()[1]
        assert process.returncode == 0, said
    assert [path.name for path in out.glob(".*")] == [".lock"]  # no half-written file stays
    for name in (STATE, MODEL):
        (ours, told), (theirs, theirs_told) = (load_tensors(f / name) for f in (out, undisturbed))
        assert told == theirs_told
        assert ours.keys() == theirs.keys()
        assert all(bool((ours[key] == theirs[key]).all()) for key in ours), name
    with (out / METRICS).open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, STEPS + 1))
