"""The patients of the notebook on faults: each is noticed, by a probe and by the test it names."""

import subprocess
import sys

import pytest
from helpers import ROOT

from ddpm_course.exercises.break_it import NOTICED, PATIENTS, board, examine, listing, patient
from ddpm_course.lab.probes import PROBES


def test_the_healthy_package_answers_every_probe_rightly():
    answers = {name: probe.ask() for name, probe in PROBES.items()}
    assert {n: v for n, v in answers.items() if not PROBES[n].right(v)} == {}


@pytest.mark.parametrize("number", PATIENTS)
def test_each_patient_is_noticed_and_well_afterwards(number):
    probe = PROBES[NOTICED[number]]
    with patient(number):
        assert not probe.right(probe.ask())
    assert probe.right(probe.ask())


PLANT = """
import sys, pytest
from ddpm_course.exercises.break_it import patient
for pair in sys.argv[1:]:
    number, test = pair.split("=", 1)
    with patient(int(number)):
        code = pytest.main([f"tests/{test}", "-qx", "-p", "no:cacheprovider", "-o", "addopts="])
    print("PLANTED", number, int(code))
"""


def test_each_patient_fails_the_test_that_its_probe_names():
    pairs = [f"{number}={PROBES[name].test}" for number, name in NOTICED.items()]
    done = subprocess.run(
        [sys.executable, "-c", PLANT, *pairs], cwd=ROOT, capture_output=True, text=True
    )
    planted = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("PLANTED")]
    failed = str(int(pytest.ExitCode.TESTS_FAILED))
    assert planted == [[str(number), failed] for number in NOTICED], done.stdout[-2000:]


def test_examining_prints_the_answer_beside_what_is_right(capsys):
    examine(3, "black", "largest t")
    printed = capsys.readouterr().out
    assert "receive for a byte of 0?\n  0; right is -1 to -1   ✗\n" in printed
    assert "5; right is 5 to 5   ✓ as it should be" in printed
    examine(3)
    assert len(capsys.readouterr().out.splitlines()) == len(PROBES)


def test_listing_shows_the_patients_code_without_its_docstring(capsys):
    listing(4, "samplers.ddpm")
    printed = capsys.readouterr().out
    assert "x = mean + step_variance * randn_like(x, generator) if s > 0 else mean" in printed
    assert "Ancestral" not in printed
    listing(4, "data.images.to_unit")
    assert "images.float() / 127.5 - 1" in capsys.readouterr().out


def test_the_board_has_a_mark_for_every_patient(capsys):
    board()
    marked, tests = capsys.readouterr().out.split("\n\n")
    lines = marked.splitlines()[1:]
    assert [line.split("   ")[-1] for line in lines] == list(PROBES)
    marks = [line.split()[: len(PATIENTS)] for line in lines]
    assert all("✗" in column for column in zip(*marks, strict=True))
    assert "memory of the start    training/test_ema.py, test_towards_a_constant_target" in tests


def test_unknown_names_are_refused(capsys):
    with pytest.raises(ValueError, match="There is no patient 11: they are numbered 1 to 10"):
        examine(11, "black")
    with pytest.raises(ValueError, match="no probe 'colour': choose one of DDIM's spread"):
        examine(1, "colour")
