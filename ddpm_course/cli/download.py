"""The command `ddpm-course download`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Download:
    """Download Oxford 102 Flowers (about 350 MB)."""

    data_root: Path = Path("data")  # Folder to put it in.

    def run(self) -> None:
        from ddpm_course.data.flowers102 import download_flowers102

        download_flowers102(self.data_root)
        print(f"Flowers-102 is complete under {self.data_root}")
