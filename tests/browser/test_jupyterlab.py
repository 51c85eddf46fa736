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

import pytest
import torch
from playwright.sync_api import expect
from run_notebooks import FOLDER, PATHS

from ddpm_course.lab.explorer import explorer_page
from ddpm_course.lab.panels import describe
from ddpm_course.schedules import SCHEDULES, linear_schedule

# JupyterLab calls a kernel idle before it is connected; running cells then opens a dialog.
READY = """() => {
  const widget = window.jupyterapp?.shell?.currentWidget;
  const session = widget?.context?.sessionContext, kernel = session?.session?.kernel;
  return !!(widget?.context?.isReady && session?.isReady && kernel
    && kernel.connectionStatus === 'connected' && kernel.status === 'idle');
}"""
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
  .flatMap(cell => cell.toJSON().outputs ?? [])
  .filter(output => output.output_type === 'error').map(output => output.evalue)"""

# Cells far from the window may be hidden, and Playwright scrolls to nothing that is.
SCROLL = """async label => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const has = cell => [...cell.node.querySelectorAll('.widget-label')]
    .some(shown => shown.textContent === label);
  await notebook.scrollToItem(notebook.widgets.findIndex(has));
}"""

CHANGED = """([picture, chart]) =>
  document.querySelector('img.widget-image').getAttribute('src') !== picture
  && document.querySelector('.widget-html svg').innerHTML !== chart"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory, chromium):
    """A JupyterLab over a copy of the notebooks, on this machine only: its address and token."""
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
    folders = {
        "HOME": "",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home / 'notebooks'}"),
        "--LabApp.expose_app_in_browser=True",
    ]
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=home)
        try:
            _wait_for(f"{base}/api?token={token}", server, home / "lab.log")
            yield base, token
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(address, server, log):
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=1).read()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(log.read_text()[-3000:])


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


def test_schedule_explorer(page, lab):
    """Notebook 01: every control moves what is drawn and what is said."""
    open_and_run(page, lab, "01_forward_noising.ipynb")
    beta_end, t, T = (slider(page, name) for name in ("β_T", "t", "T"))
    says = page.locator(".widget-label", has_text="SNR =")
    chart = page.locator(".widget-html svg")
    picture = page.locator("img.widget-image").first
    expect(beta_end.locator(".widget-readout")).to_have_text("0.020")
    expect(says).to_contain_text("x_T keeps 17 % of x_0")

    def shown():
        return picture.get_attribute("src"), chart.inner_html()

    def moved(before):
        """Wait until both are new: the kernel answers some time after a slider has moved."""
        page.wait_for_function(CHANGED, arg=list(before), timeout=15_000)

    before = shown()
    beta_end.locator(".noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    expect(beta_end.locator(".widget-readout")).to_have_text("0.021")
    expect(says).to_contain_text("x_T keeps 16 % of x_0")
    moved(before)

    before = shown()
    handle = t.locator(".noUi-handle").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=6)
    page.mouse.up()
    expect(t.locator(".widget-readout")).not_to_have_text("100")
    moved(before)
    now = int(t.locator(".widget-readout").inner_text())
    expect(says).to_have_text(describe(linear_schedule(350, beta_end=0.021), now))

    before = shown()
    T.locator(".noUi-handle").focus()
    page.keyboard.press("End")
    expect(T.locator(".widget-readout")).to_have_text("1000")
    moved(before)
    expect(says).to_have_text(describe(linear_schedule(1000, beta_end=0.021), now))

    before = shown()
    page.locator(".widget-dropdown select").select_option("cosine")
    expect(says).to_contain_text("x_T keeps 0.0049 % of x_0")
    moved(before)
    if folder := os.environ.get("DDPM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/explorer.png")


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_page_without_kernel_computes_what_the_package_does(page, name):
    page.set_content(explorer_page(torch.zeros(3, 32, 32)))
    for T in (10, 350, 1000):
        ends = {"beta_start": 1e-3, "beta_end": 0.05} if name == "linear" else {}
        theirs = page.evaluate(f"alphasCumprod('{name}', {T}, 0.001, 0.05)")
        ours = SCHEDULES[name](T, **ends).alphas_cumprod
        torch.testing.assert_close(torch.tensor(theirs).double(), ours, rtol=1e-6, atol=1e-12)


def test_page_without_kernel_moves(page):
    page.set_content(explorer_page(torch.zeros(3, 32, 32)))
    says, picture = page.locator("#says"), "document.getElementById('end').toDataURL()"
    expect(says).to_contain_text("x_T keeps 17 % of x_0")
    before = page.evaluate(picture)
    page.locator("#last").focus()
    page.keyboard.press("ArrowRight")
    expect(says).to_contain_text("x_T keeps 16 % of x_0")
    assert page.evaluate(picture) != before
    page.locator("#name").select_option("cosine")
    expect(says).to_contain_text("x_T keeps 0.014 % of x_0")


@pytest.mark.release
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_runs_in_the_lab(page, lab, path):
    """Every notebook from top to bottom, and every slider in it moved once: the page follows."""
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
    if folder := os.environ.get("DDPM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{path.stem}.png")


@pytest.mark.release
@pytest.mark.parametrize(("notebook", "steps"), [("05_sampling", 5), ("07_guidance", 10)])
def test_panel_draws_and_cancels(page, lab, notebook, steps):
    """The panel draws, shows how far it is, and stops when told to."""
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
    cancelled = page.locator(".widget-label", has_text="Cancelled after step")
    expect(cancelled).to_be_visible(timeout=60_000)
    expect(draw).to_be_enabled()
    if folder := os.environ.get("DDPM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/panel-{notebook}.png")
