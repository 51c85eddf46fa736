import os

# No test may reach for the network, and no tracker may phone home.
os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")

import shutil
import signal
import tarfile
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from playwright.sync_api import expect, sync_playwright

from ddpm_course import UNet

ROOT = Path(__file__).resolve().parents[1]

# A shell's background job inherits that Ctrl-C is ignored; the tests of Ctrl-C need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


def randomise(module, seed=0):
    """Weights N(0, 1/fan_in), biases and norm shifts N(0, 0.1²): zero-initialised layers would
    make two networks equal whatever they compute.
    """
    draw = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        if parameter.ndim > 1:
            noise = noise / parameter[0].numel() ** 0.5
        else:
            noise = 0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0)
        parameter.data = noise
    return module


@pytest.fixture
def small_net():
    """A U-Net of two levels that runs in milliseconds, weights randomised."""
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


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def chromium():
    """Its path. Without one, tests are skipped, or fail where DDPM_REQUIRE_BROWSER is set."""
    if path := shutil.which("chromium") or shutil.which("chromium-browser"):
        return path
    message = "no Chromium is installed (Debian: apt-get install chromium)"
    return pytest.fail(message) if os.environ.get("DDPM_REQUIRE_BROWSER") else pytest.skip(message)


@pytest.fixture
def page(tmp_path, chromium):
    """An empty page in a browser that nobody has used before."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 1000},
        )
        context.set_default_timeout(60_000)
        expect.set_options(timeout=15_000)
        yield context.pages[0]
        context.close()


def contents(folder):
    """Every file below a folder, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
