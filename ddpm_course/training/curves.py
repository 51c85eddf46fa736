"""Curves of a run as CSV files: a header, then one row per logged step, the step first."""

import csv
import io
from pathlib import Path

from ddpm_course.pretrained.files import write_text


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add a row, and the header if the file is new. Integers stay integers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow({k: v if isinstance(v, int) else f"{v:.6g}" for k, v in row.items()})


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of the file, or none if there is no file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return list(csv.DictReader(io.StringIO(text)))


def read_column(path: Path, name: str) -> list[float]:
    """The values of one column, or none if there is no file.

    Raises ValueError for a file without that column, or with something else than numbers in it.
    """
    try:
        return [float(row[name]) for row in read_rows(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has no numbers under {name}: restore or remove it.") from error


def drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows after `step`, which a resumed run logs again.

    Also drops a last line left incomplete by a crash.
    """
    if not path.is_file():
        return
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\0", "")
    header, *rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))) or [[]]
    whole = [row for row in rows if row and len(row) == len(header) and row[0].isdigit()]
    kept = [row for row in whole if int(row[0]) <= step]
    lines = [",".join(row) + "\r\n" for row in (header, *kept) if row]
    write_text(path, "".join(lines))
