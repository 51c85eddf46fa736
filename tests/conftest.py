import os

# Before PyTorch is imported: tests run side by side, and so do the kernels of notebooks.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may reach for the network, and no tracker may phone home.
os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")
os.environ.pop("UV", None)  # under `uv run` the commands name themselves so

import signal
import tarfile
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A shell's background job ignores Ctrl-C; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_net():
    """A U-Net of two levels that runs in milliseconds, weights randomised."""
    from helpers import randomise

    from ddpm_course import UNet

    return randomise(UNet(channels=(8, 16), attention_levels=(1,), head_dim=8, image_size=8)).eval()


@pytest.fixture(scope="session")
def real_flowers(tmp_path_factory):
    """A folder that holds Oxford 102 Flowers as torchvision lays them out."""
    if (ROOT / "data" / "flowers-102" / "jpg").is_dir():
        return ROOT / "data"
    packed = ROOT.parent / "shared" / "data" / "flowers-102-64px.tar.gz"
    if not packed.is_file():
        pytest.skip("needs Flowers-102: run `uv run ddpm-course download`")
    folder = tmp_path_factory.mktemp("data")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """torchvision's downloads fail as they do without a network."""

    def fail(*args, **kwargs):
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("ddpm_course.data.flowers102.PAUSE", 0)
    for name in ("download_url", "download_and_extract_archive"):
        monkeypatch.setattr(f"torchvision.datasets.flowers102.{name}", fail)


@pytest.fixture
def full_disk():
    """full_disk(limit): inside the block no file grows beyond `limit` bytes."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(limit):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
