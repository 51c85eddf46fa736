"""The 280-epoch run against the original's 22.5 hours: benchmarks/headline.py RUN CLOCK

CLOCK has a line of begin,end for every stretch that the run took: from the start of the program to
its end, imports, decoding, compiling and saving included.
"""

import csv
import sys
from pathlib import Path

from measuring import pick_device, save

from ddpm_course.training.curves import read_rows

ORIGINAL_SECONDS, STEPS = 22.5 * 3600, -(-280 * 8189 // 128)

if __name__ == "__main__":
    run, clock = map(Path, sys.argv[1:])
    with clock.open() as file:
        stretches = [float(end) - float(begin) for begin, end in csv.reader(file)]
    rows = read_rows(run / "metrics.csv")
    done, seconds = int(rows[-1]["step"]), sum(stretches)
    record = {
        "steps": done,
        "of": STEPS,
        "seconds": seconds,
        "stretches": stretches,
        "loss": float(rows[-1]["loss"]),
        "images_per_second": [float(row["images_per_second"]) for row in rows[-20:]],
    }
    if done >= STEPS:
        record["original_over_this"] = ORIGINAL_SECONDS / seconds
    print(f"{done} of {STEPS} steps in {seconds:.0f} s, {len(stretches)} stretches", record)
    save("headline", pick_device(), record)
