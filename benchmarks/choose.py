"""Which of several short runs has the lowest held-out error: benchmarks/choose.py RUN...

Writes chosen.txt beside the runs, the winner's prediction and schedule. Runs are compared at the
last step that all of them measured, so that a faster start of the clock wins nothing.
"""

import sys
from pathlib import Path

from measuring import pick_device, print_table, save

from ddpm_course.pretrained.files import read_json
from ddpm_course.pretrained.weights import CONFIG
from ddpm_course.training.curves import read_rows
from ddpm_course.training.monitoring import CURVE

if __name__ == "__main__":
    runs = [Path(argument) for argument in sys.argv[1:] if Path(argument).is_dir()]
    curves = {
        run: {int(row["step"]): float(row["x0_error"]) for row in read_rows(run / CURVE)}
        for run in runs
    }
    common = set.intersection(*(set(curve) for curve in curves.values())) if runs else set()
    if not common:
        raise SystemExit("The runs have no measured step in common: give them more time.")
    step = max(common)
    ranked = sorted(runs, key=lambda run: curves[run][step])
    settings = {run: read_json(run / CONFIG)["run"] for run in runs}
    print_table([
        {
            "prediction": settings[run]["prediction"],
            "schedule": settings[run]["schedule"],
            f"x0 error at step {step}": f"{curves[run][step]:.5f}",
        }
        for run in ranked
    ])  # fmt: skip
    best = settings[ranked[0]]
    beside = ranked[0].parent
    (beside / "chosen.txt").write_text(f"{best['prediction']} {best['schedule']}\n")
    name = "choose" if beside == Path("runs") else f"choose-{beside.name}"
    save(
        name, pick_device(),
        {"step": step, "curves": {run.name: curves[run] for run in ranked}},
    )  # fmt: skip
