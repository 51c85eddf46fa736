"""Notebooks that learners hand in. Solved ones and untouched ones are in `test_notebooks`."""

import csv
from copy import deepcopy

import nbformat
import pytest
from command_line import command
from run_notebooks import NOTEBOOKS, PATHS

from ddpm_course.exercises.grading import grade
from ddpm_course.exercises.handed_in import exercise_name, read_notebook

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
    """A crash, a loop that cannot be interrupted, a wrong answer and a lost tag spoil nothing else;
    what is edited elsewhere, or printed, counts for nothing.
    """
    first, second, third, fourth, fifth = NAMES
    endless = "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n"
    notebook = hand_in(
        {
            first: f"def {first}(*args:",
            second: f"def {second}(*args):\n    print('✓ {second}: correct')\n    return 1",
            third: f"{endless}\ndef {third}(*args): return 1",
            fourth: f"def {fourth}(*args):\n    exit()\n    import os\n\n    os._exit(1)",
            fifth: ANSWERS[fifth],
        }
    )
    for cell in notebook.cells:
        if exercise_name(cell) == fifth:
            cell.metadata.tags = []
    cheat = "from ddpm_course.exercises.checking import Exercises\n\nExercises.verdict = None"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(cheat))
    grades = marks(notebook, timeout=10)
    assert [grades[name].mark for name in NAMES] == [*["wrong"] * 4, "correct"]
    assert grades[first].why.startswith("it stopped with SyntaxError")
    assert "line 1" in grades[first].why
    assert ".py" not in grades[first].why
    assert grades[third].why == "it ran for more than 10 s."
    assert grades[fourth].why == "it ended the Python process."
    assert grades[fifth].answer == ANSWERS[fifth]


def test_answers_in_other_forms():
    """A magic, a failed assertion below, a lambda, a stub kept above, a helper split off; and the
    answer to another exercise is none to this.
    """
    first, second, third, fourth, fifth = NAMES
    source = EXERCISES.source
    notebook = hand_in(
        {
            first: f"%%time\n%pwd\n{ANSWERS[first]}\nassert False",
            second: f"{second} = {first}",
            third: f"other = {third}\n{third} = lambda *given: other(*given)",
            fourth: "import math as m\n\n\ndef helper(x):\n    return m.sqrt(x) and x",
            fifth: f"def renamed(*args):\n    return {fifth}",
        }
    )
    k = next(k for k, cell in enumerate(notebook.cells) if exercise_name(cell) == fourth)
    lower = nbformat.v4.new_code_cell(
        source(fourth).replace("):\n", "):\n    helper(4.0), undone\n", 1)
    )
    notebook.cells.insert(k + 1, lower)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("undone = 1"))
    grades = marks(notebook)
    assert grades[first].mark == "correct"
    assert grades[second].mark == "wrong"
    assert grades[third].mark == "correct"
    assert grades[fourth].mark == "wrong"
    assert grades[fourth].why == (
        "it stopped with NameError: name 'undone' is not defined (in `helper(4.0), "
        "undone`). Another cell has undone: imports and helpers belong into the answer's."
    )
    assert (grades[fifth].mark, grades[fifth].why) == (
        "not attempted",
        f"its cell defines no {fifth}.",
    )


def test_what_to_look_at():
    """What is taken from the package, what an honest answer needs not, our own words; not what
    our solution uses too, hints, annotations, or figures of the result.
    """
    first, second, third, fourth, fifth = NAMES
    taking = "from ddpm_course.schedules import NoiseSchedule as N\n%pwd\n"
    reaching = EXERCISES.source(second).replace("):\n", "):\n    get_ipython\n    eval\n", 1)
    honest = EXERCISES.source(third) + f"\nhint({third!r})\nshow({third})"
    grades = marks(hand_in({first: taking + ANSWERS[first], second: reaching, third: honest}))
    assert [grades[name].mark for name in NAMES[:3]] == ["correct"] * 3
    assert grades[first].look_at[0] == "N"
    assert set(grades[second].look_at) == {"get_ipython", "eval"}
    assert not set(grades[third].look_at) - {"our solution word for word"}
    assert {grades[name].mark for name in (fourth, fifth)} == {"not attempted"}


def test_our_own_words_are_told():
    words = "our solution word for word"
    long = [n for n in NAMES if len(EXERCISES.source(n).splitlines()) > 5]
    assert long
    grades = marks(hand_in({long[0]: ANSWERS[long[0]]}))
    assert words in grades[long[0]].look_at


def test_an_answer_that_meddles_with_what_is_displayed_gets_no_mark_by_it():
    first, second, *_ = NAMES
    meddling = "get_ipython().display_formatter.formatters['text/plain'].for_type(tuple, {})\n"
    odd = meddling.format("lambda v, p, c: p.text('nonsense here')") + ANSWERS[first]
    grades = marks(hand_in({first: odd, second: ANSWERS[second]}))
    assert (grades[first].mark, grades[first].why) == ("wrong", "its check gave no verdict.")
    assert grades[second].mark == "correct"


def test_fewer_exercises_than_the_notebook_has():
    given = deepcopy(GIVEN)
    given.cells = [c for c in given.cells if exercise_name(c) not in NAMES[:4]]
    assert [(g.exercise, g.mark) for g in grade(hand_in(ANSWERS), given)] == [(NAMES[4], "correct")]


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
        "look at": "",
        "answer": stub,
    }
    assert "exists: name another file, or add --overwrite" in command(*call)


@pytest.mark.parametrize(
    "content",
    [b"words", b"[1, 2]", b"", b"\xff\xfe", b'{"nbformat": 99}', b"[" * 100_000,
     b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": null}'],
)  # fmt: skip
def test_what_is_no_notebook_is_refused(tmp_path, content):
    (tmp_path / "odd.ipynb").write_bytes(content)
    with pytest.raises(ValueError, match=r"odd\.ipynb is not a Jupyter notebook"):
        read_notebook(tmp_path / "odd.ipynb")


def test_a_notebook_without_exercises_is_refused():
    with pytest.raises(ValueError, match="has no exercises of this course"):
        grade(GIVEN, nbformat.v4.new_notebook())
