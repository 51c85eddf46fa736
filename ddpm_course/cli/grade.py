"""The command `ddpm-course grade`: notebooks that learners have handed in."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from ddpm_course.cli.options import Overwrite, refuse_to_write
from ddpm_course.pretrained.files import write_text


def grade_command(
    handed_in: Annotated[list[Path], typer.Argument(help="Notebooks that were handed in.")],
    given: Annotated[Path, typer.Option(help="The notebook as it was given out.")],
    out: Annotated[Path, typer.Option(help="Table to write, a CSV.")] = Path("grades.csv"),
    timeout: Annotated[int, typer.Option(min=1, help="Seconds for an answer.")] = 60,
    overwrite: Overwrite = False,
) -> None:
    """Check the answers in notebooks that learners have handed in. It runs their code."""
    from ddpm_course.exercises.grading import Grade, exercise_names, grade, read_notebook

    refuse_to_write(out, overwrite, "grades.csv")
    ours = read_notebook(given)
    rows = [("file", "exercise", "mark", "why", "answer")]
    for path in tqdm(handed_in, unit="notebook", disable=None):
        try:
            theirs = read_notebook(path)
        except (ValueError, OSError) as error:
            grades = [Grade(name, "not attempted", str(error)) for name in exercise_names(ours)]
        else:
            grades = grade(theirs, ours, timeout)
        rows += [(str(path), g.exercise, g.mark, g.why, g.answer) for g in grades]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(out, text.getvalue())  # after each, so that Ctrl-C loses none
        counts = Counter(g.mark for g in grades)
        tqdm.write(f"{path}: " + ", ".join(f"{number} {mark}" for mark, number in counts.items()))
    typer.echo(f"{len(rows) - 1} answers in {out}")
