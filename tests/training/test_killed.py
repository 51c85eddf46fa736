"""Kill -9 at any moment: a resumed run continues as if nothing had happened."""

import random
import signal
import sys
import time

import pytest
from forked import finish, start
from PIL import Image
from small import rows

from ddpm_course.pretrained.files import load_tensors
from ddpm_course.pretrained.weights import CONFIG, MODEL
from ddpm_course.training.run_folder import METRICS, STATE, steps_done

STEPS, EVERY = 40, 4
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """train(out, **options): start or resume a run on six images of 8×8 pixels."""
    images = tmp_path_factory.mktemp("images")
    draw = random.Random(0)
    for k in range(6):
        pixels = bytes(draw.randrange(256) for _ in range(8 * 8 * 3))
        Image.frombytes("RGB", (8, 8), pixels).save(images / f"{k}.png")
    fixed = f"--data folder --data-root {images} --image-size 8 --batch-size 2 --precision fp32"
    every = f"--steps {STEPS} --checkpoint-every {EVERY} --log-every 1 --sample-every {10 * STEPS}"

    def start_or_resume(out, **options):
        resume = ["--resume"] if (out / CONFIG).is_file() else []
        call = ["train", "--out", out, "--device", "cpu", *fixed.split(), *every.split(), *resume]
        return start(out.with_suffix(".log"), *call, **options)

    return start_or_resume


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    """A run that is never killed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(train(out), out.with_suffix(".log"))
    return out


def logged(out):
    """The last step with a complete row in metrics.csv; 0 if there is none."""
    if not (out / METRICS).is_file():
        return 0
    lines = (out / METRICS).read_bytes().split(b"\r\n")[1:-1]
    return int(lines[-1].split(b",")[0]) if lines else 0


def assert_it_ends_as_if_never_killed(train, out, undisturbed):
    """Resume to the end, and compare every number."""
    if steps_done(out) < STEPS:
        finish(train(out), out.with_suffix(".log"))
    assert [path.name for path in out.glob(".*")] == [".lock"]  # no half-written file stays
    for name in (STATE, MODEL):
        (tensors, metadata), (expected, expected_metadata) = (
            load_tensors(f / name) for f in (out, undisturbed)
        )
        assert metadata == expected_metadata
        assert tensors.keys() == expected.keys()
        assert all(bool((tensors[k] == expected[k]).all()) for k in tensors), name
    assert [int(row["step"]) for row in rows(out / METRICS)] == list(range(1, STEPS + 1))


def test_a_run_killed_at_every_touch_of_a_file_ends_as_if_it_had_not_been(
    train, undisturbed, tmp_path
):
    """A save touches three files twice each, and a resumed run also shortens metrics.csv."""
    out = tmp_path / "run"
    for die_at in (*range(1, 9), *range(1, 10)):
        saved = steps_done(out)
        process = train(out, die_at=die_at)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, out.with_suffix(".log").read_text()
        assert steps_done(out) >= saved
        assert 0 <= logged(out) - steps_done(out) <= EVERY  # what the next start repeats
    assert 0 < steps_done(out) < STEPS
    assert_it_ends_as_if_never_killed(train, out, undisturbed)


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.release)])
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(
    train, undisturbed, tmp_path, kills
):
    out, draw, died = tmp_path / "run", random.Random(kills), 0
    while died < kills:
        if steps_done(out) >= STEPS - EVERY:  # near its end: another run, from the start
            assert_it_ends_as_if_never_killed(train, out, undisturbed)
            out = tmp_path / f"after {died} kills"
        begun, process = logged(out), train(out)
        while process.is_alive() and logged(out) == begun:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.join()
        died += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL), out.with_suffix(".log").read_text()
    assert_it_ends_as_if_never_killed(train, out, undisturbed)
