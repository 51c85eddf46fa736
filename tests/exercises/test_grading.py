"""Notebooks that learners hand in. Solved ones and untouched ones are in `test_notebooks`."""

import csv
from copy import deepcopy

import nbformat
import pytest
from command_line import command
from run_notebooks import NOTEBOOKS, PATHS

from ddpm_course.exercises.grading import exercise_name, grade, read_notebook

GIVEN = read_notebook(PATHS[1])
EXERCISES = NOTEBOOKS["forward_noising"]
NAMES = [name for cell in GIVEN.cells if (name := exercise_name(cell))]
ANSWERS = {name: f"{EXERCISES.source(name)}\n\n\n{name} = check({name})" for name in NAMES}


def hand_in(answers):
    notebook = deepcopy(GIVEN)
    for cell in notebook.cells:
        if (name := exercise_name(cell)) in answers:
            cell.source = answers[name]
    return notebook


def marks(notebook, timeout=60):
    return {g.exercise: g for g in grade(notebook, GIVEN, timeout)}


def test_each_answer_stands_for_itself():
    """A crash, an endless loop, a wrong answer and a lost tag spoil no other answer; edited cells
    and prints count for nothing.
    """
    first, second, third, fourth, fifth, *_ = NAMES
    endless = "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n"
    notebook = hand_in(
        {
            first: f"def {first}(*args:",
            second: f"def {second}(*args):\n    print('✓ {second}: correct')\n    return 1",
            third: f"{endless}\ndef {third}(*args): return 1",
            fourth: f"def {fourth}(*args):\n    import os\n\n    os._exit(1)",
            fifth: ANSWERS[fifth],
        }
    )
    for cell in notebook.cells:
        if exercise_name(cell) == fifth:
            cell.metadata.tags = []
    cheat = "from ddpm_course.exercises.checking import Exercises\n\nExercises.verdict = None"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(cheat))
    grades = marks(notebook, timeout=5)
    assert [grades[name].mark for name in NAMES[:5]] == [*["wrong"] * 4, "correct"]
    assert grades[first].why.startswith("it stopped with SyntaxError")
    assert grades[third].why == "it ran for more than 5 s."
    assert grades[fourth].why == "it ended the Python process."
    assert grades[fifth].answer == ANSWERS[fifth]


def test_what_an_answer_does_to_the_checks_stays_in_its_process():
    first, second, *_ = NAMES
    meddling = "import ddpm_course as dc\n\ndc.NoiseSchedule.betas = None\n"
    grades = marks(hand_in({first: meddling + ANSWERS[first], second: ANSWERS[second]}))
    assert [grades[name].mark for name in (first, second)] == ["wrong", "correct"]


def test_answers_in_other_forms():
    """A magic, a failed assertion below, a lambda, a stub kept above and a helper in another cell;
    the answer to one exercise is none to another.
    """
    first, second, third, fourth, fifth, *_ = NAMES
    one_line = "return abar.sqrt() * x0 + (1 - abar).sqrt() * noise"
    assert one_line in EXERCISES.source(third)
    notebook = hand_in(
        {
            first: f"%%time\n{ANSWERS[first]}\nassert False",
            second: f"{second} = {first}",
            third: f"import ddpm_course as dc\n\n{third} = lambda *given: dc.q_sample(*given)",
            fifth: f"def renamed(*args):\n    return {fourth}",
        }
    )
    k = next(k for k, cell in enumerate(notebook.cells) if exercise_name(cell) == fourth)
    helped = EXERCISES.source(fourth).replace("return ", "return helper() or ", 1)
    notebook.cells.insert(k + 1, nbformat.v4.new_code_cell(helped))
    notebook.cells.insert(0, nbformat.v4.new_code_cell("def helper():\n    return None"))
    grades = marks(notebook)
    assert [grades[n].mark for n in NAMES[:4]] == ["correct", "wrong", "correct", "wrong"]
    assert grades[fourth].why == (
        "it stopped with NameError: name 'helper' is not defined (in `return helper() or f / "
        "f[0]`). Imports and helpers belong in the answer's own cell."
    )
    assert (grades[fifth].mark, grades[fifth].why) == (
        "not attempted",
        f"its cell defines no {fifth}.",
    )


def test_fewer_exercises_than_the_notebook_has():
    given = deepcopy(GIVEN)
    *others, last = NAMES
    given.cells = [c for c in given.cells if exercise_name(c) not in others]
    assert [(g.exercise, g.mark) for g in grade(hand_in(ANSWERS), given)] == [(last, "correct")]


def test_the_command_writes_a_table(tmp_path, capsys):
    theirs, other, out = (tmp_path / n for n in ("ada.ipynb", "notes.txt", "grades.csv"))
    nbformat.write(GIVEN, theirs)
    other.write_text("words")
    call = ("grade", other, theirs, "--given", PATHS[1], "--out", out)
    assert command(*call) == 0
    assert f"{2 * len(NAMES)} answers in {out}" in capsys.readouterr().out
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [row["exercise"] for row in rows] == 2 * NAMES
    assert rows[0]["why"] == f"{other} is not a Jupyter notebook."
    stub = next(cell.source for cell in GIVEN.cells if exercise_name(cell) == NAMES[0])
    assert rows[len(NAMES)] == {
        "file": str(theirs),
        "exercise": NAMES[0],
        "mark": "not attempted",
        "why": "not attempted yet.",
        "answer": stub,
    }
    assert "exists: name another file, or add --overwrite" in command(*call)


@pytest.mark.parametrize(
    "content",
    [b"words", b"[1, 2]", b"", b"\xff\xfe", b'{"nbformat": 99}', b"[" * 100_000,
     b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": null}'],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "odd.ipynb").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.ipynb is not a Jupyter notebook"):
        read_notebook(tmp_path / "odd.ipynb")


def test_a_notebook_without_exercises_is_refused():
    with pytest.raises(ValueError, match="has no exercises of this course"):
        grade(GIVEN, nbformat.v4.new_notebook())


def test_imports_that_fail_are_the_teachers_to_repair():
    given = deepcopy(GIVEN)
    given.cells.append(nbformat.v4.new_code_cell("import nonsense_that_is_not_there"))
    with pytest.raises(ValueError, match="the imports of the notebook that was given out fail"):
        grade(GIVEN, given)
