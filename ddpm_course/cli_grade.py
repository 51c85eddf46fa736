"""The command `ddpm-course grade`: notebooks that learners have handed in."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from ddpm_course.cli_options import Overwrite, refuse_to_write
from ddpm_course.files import write_text


def grade_command(
    handed_in: Annotated[list[Path], typer.Argument(help="Notebooks that were handed in.")],
    given: Annotated[Path, typer.Option(help="The notebook as it was given out.")],
    out: Annotated[Path, typer.Option(help="Table to write, a CSV.")] = Path("grades.csv"),
    timeout: Annotated[int, typer.Option(min=1, help="Seconds for an answer.")] = 60,
    overwrite: Overwrite = False,
) -> None:
    """Check the answers in notebooks that learners have handed in. It runs their code."""
    from ddpm_course.grading import MARKS, grade, read_notebook

    refuse_to_write(out, overwrite, "grades.csv")
    ours, theirs = read_notebook(given), [read_notebook(path) for path in handed_in]
    rows = [("file", "exercise", "mark", "why", "borrowed")]
    for path, notebook in zip(handed_in, tqdm(theirs, unit="notebook"), strict=True):
        grades = grade(notebook, ours, timeout)
        rows += [(str(path), g.exercise, g.mark, g.why, " ".join(g.borrowed)) for g in grades]
        marks = Counter(g.mark for g in grades)
        tqdm.write(f"{path}: " + ", ".join(f"{marks[mark]} {mark}" for mark in MARKS))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(out, text.getvalue())
    typer.echo(f"{len(rows) - 1} answers in {out}")
