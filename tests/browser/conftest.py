import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading

import pytest
from filelock import FileLock
from helpers import ROOT
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


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The book, built once for all processes of this run."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    out = base / "site"
    with FileLock(base / "site.lock"):
        if not (out / "searchindex.js").is_file():  # which is written last
            command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "site", str(out)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-3000:]
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_): ...


@pytest.fixture(scope="session")
def address(site):
    """The book, served on this machine."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
