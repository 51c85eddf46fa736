"""The course as a learner meets it: JupyterLab in a real browser, sliders moved by hand."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest
import torch
from playwright.sync_api import expect
from run_notebooks import FOLDER, PATHS

from ddpm_course.lab.explorer import explorer_page
from ddpm_course.lab.panels import describe
from ddpm_course.schedules import SCHEDULES, linear_schedule

# JupyterLab calls a kernel idle before it is connected, and running cells then opens a dialog.
READY = """() => {
  const widget = window.jupyterapp?.shell?.currentWidget;
  const session = widget?.context?.sessionContext, kernel = session?.session?.kernel;
  return !!(widget?.context?.isReady && session?.isReady && kernel
    && kernel.connectionStatus === 'connected' && kernel.status === 'idle');
}"""
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .flatMap(cell => cell.toJSON().outputs ?? [])
  .filter(output => output.output_type === 'error').map(output => output.evalue)"""

# JupyterLab hides cells far from the window, and Playwright can't scroll to what is hidden.
SCROLL = """async label => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const has = cell => [...cell.node.querySelectorAll('.widget-label')]
    .some(shown => shown.textContent === label);
  await notebook.scrollToItem(notebook.widgets.findIndex(has));
}"""

SHOWN = """() => [document.querySelector('img.widget-image').getAttribute('src'),
  document.querySelector('.widget-html svg').innerHTML]"""
BOTH_CHANGED = f"before => ({SHOWN})().every((shown, k) => shown !== before[k])"


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium):
    """Address and token of a JupyterLab with a copy of the notebooks, on this machine only."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(FOLDER, home / "notebooks")
    settings = home / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, base = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    variables = {
        "HOME": home,
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home / 'notebooks'}"),
        "--LabApp.expose_app_in_browser=True",
    ]
    environment = os.environ | {name: str(folder) for name, folder in variables.items()}
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=home)
        try:
            assert answers(f"{base}/api?token={token}", server), (home / "lab.log").read_text()
            yield base, token
        finally:
            server.terminate()
            server.wait(20)


def answers(address, server):
    """Whether the server answers within a minute."""
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=1).read()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def open_and_run(page, lab, name):
    """Open a notebook, run all its cells and check that none failed."""
    base, token = lab
    page.goto(f"{base}/lab/tree/{name}?token={token}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(READY)
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(READY, timeout=180_000)
    assert page.evaluate(ERRORS) == []


def slider(page, label):
    row = page.locator(
        ".widget-slider", has=page.locator(".widget-label", has_text=re.compile(f"^{label}$"))
    )
    page.evaluate(SCROLL, label)
    row.scroll_into_view_if_needed()
    return row


def screenshot(page, name):
    if folder := os.environ.get("DDPM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


@contextmanager
def redrawing(page):
    """Afterwards image and curves are new. The kernel answers some time after a slider moves."""
    before = page.evaluate(SHOWN)
    yield
    page.wait_for_function(BOTH_CHANGED, arg=before, timeout=15_000)


def test_schedule_explorer(page, lab):
    """Notebook 01: every control changes the image, the curves and the text."""
    open_and_run(page, lab, "01_forward_noising.ipynb")
    beta_end, t, T = (slider(page, name) for name in ("β_T", "t", "T"))
    text = page.locator(".widget-label", has_text="SNR =")
    readouts = [control.locator(".widget-readout") for control in (beta_end, t, T)]
    expect(readouts[0]).to_have_text("0.020")
    expect(text).to_contain_text("x_T keeps 17 % of x_0")

    with redrawing(page):
        beta_end.locator(".noUi-handle").focus()
        page.keyboard.press("ArrowRight")
        expect(readouts[0]).to_have_text("0.021")
        expect(text).to_contain_text("x_T keeps 16 % of x_0")

    with redrawing(page):
        handle = t.locator(".noUi-handle").bounding_box()
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=6)
        page.mouse.up()
        expect(readouts[1]).not_to_have_text("100")
    now = int(readouts[1].inner_text())
    expect(text).to_have_text(describe(linear_schedule(350, beta_end=0.021), now))

    with redrawing(page):
        T.locator(".noUi-handle").focus()
        page.keyboard.press("End")
        expect(readouts[2]).to_have_text("1000")
    expect(text).to_have_text(describe(linear_schedule(1000, beta_end=0.021), now))

    with redrawing(page):
        page.locator(".widget-dropdown select").select_option("cosine")
        expect(text).to_contain_text("x_T keeps 0.0049 % of x_0")
    screenshot(page, "explorer")


def test_page_without_kernel_computes_what_the_package_does(page):
    page.set_content(explorer_page(torch.zeros(3, 32, 32)))
    for name, schedule in SCHEDULES.items():
        ends = {"beta_start": 1e-3, "beta_end": 0.05} if name == "linear" else {}
        for T in (10, 350, 1000):
            theirs = page.evaluate(f"alphasCumprod('{name}', {T}, 0.001, 0.05)")
            ours = schedule(T, **ends).alphas_cumprod
            torch.testing.assert_close(torch.tensor(theirs).double(), ours, rtol=1e-6, atol=1e-12)


def test_page_without_kernel_moves(page):
    page.set_content(explorer_page(torch.zeros(3, 32, 32)))
    text, image = page.locator("#says"), "document.getElementById('end').toDataURL()"
    expect(text).to_contain_text("x_T keeps 17 % of x_0")
    before = page.evaluate(image)
    page.locator("#last").focus()
    page.keyboard.press("ArrowRight")
    expect(text).to_contain_text("x_T keeps 16 % of x_0")
    assert page.evaluate(image) != before
    page.locator("#name").select_option("cosine")
    expect(text).to_contain_text("x_T keeps 0.014 % of x_0")


@pytest.mark.release
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_runs_in_jupyterlab(page, lab, path):
    """Every notebook runs from top to bottom, and every slider in it changes its panel."""
    open_and_run(page, lab, path.name)
    for handle in page.locator(".jp-Notebook .widget-slider .noUi-handle").all():
        panel = handle.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]")
        handle.scroll_into_view_if_needed()
        before = panel.inner_html()
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "([panel, before]) => panel.innerHTML !== before",
            arg=[panel.element_handle(), before],
        )
    assert page.evaluate(ERRORS) == []
    screenshot(page, path.stem)


@pytest.mark.release
@pytest.mark.parametrize(("notebook", "steps"), [("05_sampling", 5), ("07_guidance", 10)])
def test_panel_draws_and_cancels(page, lab, notebook, steps):
    """The panel samples, shows its progress and can be cancelled."""
    open_and_run(page, lab, f"{notebook}.ipynb")
    draw, cancel = (page.get_by_role("button", name=name) for name in ("Draw", "Cancel"))
    draw.scroll_into_view_if_needed()
    draw.click()
    drawn = page.locator(".widget-label", has_text=f"Drawn in {steps} steps")
    expect(drawn).to_be_visible(timeout=60_000)
    slider(page, "steps").locator(".noUi-handle").focus()
    page.keyboard.press("End")
    expect(slider(page, "steps").locator(".widget-readout")).to_have_text("250")
    draw.click()
    expect(page.locator(".widget-label", has_text=re.compile(r"step \d+ of 250"))).to_be_visible(
        timeout=60_000
    )
    cancel.click()
    expect(page.locator(".widget-label", has_text="Cancelled after step")).to_be_visible(
        timeout=60_000
    )
    expect(draw).to_be_enabled()
    screenshot(page, f"panel-{notebook}")
