"""Notebooks that learners hand in. Solved ones and untouched ones are in `test_notebooks`."""

import csv
from copy import deepcopy

import nbformat
import pytest
from test_exercises import NOTEBOOKS
from typer.testing import CliRunner

from ddpm_course.cli import app
from ddpm_course.grading import exercise_name, grade, read_notebook
from notebooks import PATHS

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
    """A crash, a loop without end, a wrong answer and a lost tag spoil nothing else; what is edited
    elsewhere, or printed, counts for nothing.
    """
    first, second, third, fourth = NAMES[:4]
    notebook = hand_in(
        ANSWERS
        | {
            first: f"def {first}(*args:",
            second: f"def {second}(*args):\n    print('✓ {second}: correct')\n    return 1",
            third: f"while True:\n    pass\n\n\ndef {third}(*args): ...",
        }
    )
    for cell in notebook.cells:
        if exercise_name(cell) == fourth:
            cell.metadata.tags = []
    cheat = "from ddpm_course.exercises.checking import Exercises\n\nExercises.verdict = None"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(cheat))
    grades = marks(notebook, timeout=10)
    assert grades[first].mark == "wrong"
    assert grades[first].why.startswith("it stopped with SyntaxError")
    assert grades[second].mark == "wrong"
    assert (grades[third].mark, grades[third].why) == ("wrong", "it ran for more than 10 s.")
    assert {grades[name].mark for name in NAMES[3:]} == {"correct"}


def test_the_end_of_python_is_told_and_what_was_borrowed():
    first, second = NAMES[:2]
    answer = EXERCISES.source(first).replace(
        "):\n", "):\n    from ddpm_course.schedules import NoiseSchedule\n    import gc\n", 1
    )
    grades = marks(hand_in(ANSWERS | {first: answer, second: "import os\n\nos._exit(1)"}))
    assert grades[first].mark == "correct"
    assert grades[first].borrowed == ("NoiseSchedule", "gc")
    assert grades[second].why == "it, or an answer above it, ended the Python process."
    assert grades[second].borrowed == ("os._exit",)


def test_the_command_writes_a_table(tmp_path):
    theirs, out = tmp_path / "ada.ipynb", tmp_path / "grades.csv"
    nbformat.write(GIVEN, theirs)
    command = ["grade", str(theirs), "--given", str(PATHS[1]), "--out", str(out)]
    assert f"{len(NAMES)} answers in {out}" in CliRunner().invoke(app, command).output
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [row["exercise"] for row in rows] == NAMES
    assert rows[0] == {
        "file": str(theirs),
        "exercise": NAMES[0],
        "mark": "not attempted",
        "why": "not attempted yet.",
        "borrowed": "",
    }
    again = CliRunner().invoke(app, command)
    assert "exists: name another file, or add --overwrite" in str(again.exception)


def test_what_is_no_notebook_of_the_course_is_refused(tmp_path):
    (tmp_path / "list.ipynb").write_text("[1, 2]")
    (tmp_path / "words.ipynb").write_text("words")
    for name in ("list", "words"):
        with pytest.raises(ValueError, match=f"{name}.ipynb is not a Jupyter notebook"):
            read_notebook(tmp_path / f"{name}.ipynb")
    with pytest.raises(ValueError, match="imports no exercises of this course"):
        grade(GIVEN, nbformat.v4.new_notebook())
