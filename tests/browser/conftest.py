import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

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
    """An empty page in a browser with a fresh profile."""
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
