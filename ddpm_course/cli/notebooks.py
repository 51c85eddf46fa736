"""The command `ddpm-course notebooks`: a copy of the course to work in."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

import ddpm_course as dc
from ddpm_course.cli import options


@dataclass
class Notebooks:
    """Copy the notebooks of the course into a new folder, to work in."""

    folder: Positional[Path]  # New folder for the copies.

    def run(self) -> None:
        from ddpm_course.pretrained.files import new_folder

        options.refuse_folder(self.folder)
        package = Path(dc.__file__).parent
        inside, beside = package / "notebooks", package.parent / "notebooks"
        source = inside if inside.is_dir() else beside  # installed, or a clone of the repository
        with new_folder(self.folder) as made:
            for path in source.glob("*.ipynb"):
                shutil.copyfile(path, made / path.name)
        start = self.folder / "00_start_here.ipynb"
        print(f"Open the course with: {options.command_line('lab', start, program='jupyter')}")
