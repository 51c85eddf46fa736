"""The command `ddpm-course grade`: notebooks that learners have handed in."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm
from tyro.conf import Positional

from ddpm_course.cli import options


@dataclass
class Grade:
    """Check the answers in notebooks that learners have handed in. It runs their code."""

    handed_in: Positional[tuple[Path, ...]]  # Notebooks that were handed in.
    given: Path  # The notebook as it was given out.
    out: Path = Path("grades.csv")  # CSV table to write.
    timeout: int = 60  # Seconds per answer.
    overwrite: options.Overwrite = False

    def run(self) -> None:
        from ddpm_course.exercises import grading
        from ddpm_course.pretrained.files import write_text

        if not self.handed_in:
            raise ValueError("There is nothing to grade: name the notebooks that were handed in.")
        options.refuse_file(self.out, self.overwrite, "grades.csv")
        options.refuse_outside(86_400, timeout=self.timeout)
        given = grading.read_notebook(self.given)
        rows = [("file", "exercise", "mark", "why", "answer")]
        for path in options.progress_bar(self.handed_in, unit="notebook"):
            try:
                theirs = grading.read_notebook(path)
            except (ValueError, OSError) as error:
                names, why = grading.exercise_names(given), str(error)
                grades = [grading.Grade(name, "not attempted", why) for name in names]
            else:
                grades = grading.grade(theirs, given, self.timeout)
            rows += [(str(path), g.exercise, g.mark, g.why, g.answer) for g in grades]
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            write_text(self.out, text.getvalue())  # after each, so that Ctrl-C loses none
            counts = Counter(g.mark for g in grades)
            tqdm.write(f"{path}: " + ", ".join(f"{n} {mark}" for mark, n in counts.items()))
        print(f"{len(rows) - 1} answers in {self.out}")
