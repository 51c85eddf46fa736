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

from ddpm_course.diffusion import q_posterior
from ddpm_course.lab import panels
from ddpm_course.layers import SinusoidalTimeEmbedding
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

DARK = "{theme: 'JupyterLab Dark'}"

# JupyterLab hides cells far from the window, and Playwright can't scroll to what is hidden.
SCROLL = """async label => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const has = cell => [...cell.node.querySelectorAll('.widget-label')]
    .some(shown => shown.textContent === label);
  await notebook.scrollToItem(notebook.widgets.findIndex(has));
}"""

SCROLL_TO_PANEL = """async () => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  const has = cell => cell.node.querySelector('iframe.lab-panel');
  await notebook.scrollToItem(notebook.widgets.findIndex(has));
}"""


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


FLOWER = torch.linspace(-1, 1, 3 * 32 * 32).view(3, 32, 32)


def test_schedule_explorer_in_jupyterlab(page, lab):
    """Notebook 01: the panel is whole, follows the theme, and hears the keyboard and the mouse."""
    open_and_run(page, lab, "01_forward_noising.ipynb")
    page.evaluate(SCROLL_TO_PANEL)
    frame = page.locator("iframe.lab-panel").first
    panel, text = frame.content_frame, frame.content_frame.locator("#says")
    expect(text).to_contain_text("keeps 17 %")
    still = page.locator(".jp-OutputArea-child:has(.lab-panel) + .jp-OutputArea-child").first
    expect(still).to_be_hidden()

    panel.locator("#last").focus()
    page.keyboard.press("ArrowRight")
    expect(panel.locator("label:has(#last)")).to_contain_text("0.021")
    expect(text).to_contain_text("keeps 16 %")

    track = panel.locator("#t").bounding_box()
    page.mouse.click(track["x"] + 0.9 * track["width"], track["y"] + track["height"] / 2)
    expect(text).not_to_contain_text("t = 100,")

    panel.locator("#name").select_option("cosine")
    expect(text).to_contain_text("keeps 0.014 %")
    panel.get_by_role("button", name="reset").click()
    expect(text).to_contain_text("keeps 17 %")

    expect(panel.locator("body")).not_to_have_class("dark")
    page.evaluate(f"() => jupyterapp.commands.execute('apputils:change-theme', {DARK})")
    expect(panel.locator("body")).to_have_class("dark")
    page.set_viewport_size({"width": 1000, "height": 1000})
    page.wait_for_function(
        """() => [...document.querySelectorAll('iframe.lab-panel')].every(frame => {
          const {scrollWidth, scrollHeight} = frame.contentDocument.documentElement;
          return scrollWidth <= frame.clientWidth && scrollHeight <= frame.clientHeight;
        })"""
    )
    widths = "inputs => inputs.map(input => input.clientWidth)"
    assert min(panel.locator("input[type=range]").evaluate_all(widths)) >= 300
    screenshot(page, "schedule-panel")


def open_panel(page, name, data):
    page.goto("about:blank")  # else the scripts of two panels would share their names
    page.set_content(panels.page(name, data))


def test_the_scripts_compute_what_the_package_does(page):
    open_panel(page, "schedule", panels.schedule_data(FLOWER))
    for name, make in SCHEDULES.items():
        ends = {"beta_start": 1e-3, "beta_end": 0.05} if name == "linear" else {}
        for T in (10, 350, 1000):
            theirs = page.evaluate(f"alphasCumprod('{name}', {T}, 0.001, 0.05)")
            ours = make(T, **ends).alphas_cumprod
            torch.testing.assert_close(torch.tensor(theirs).double(), ours, rtol=1e-6, atol=1e-12)

    schedule = linear_schedule(10, 0.05, 0.6)
    open_panel(page, "posterior", {"alphas_cumprod": schedule.alphas_cumprod.tolist()})
    for t in range(1, 11):
        x0, x_t = (torch.tensor([value], dtype=torch.float64) for value in (1.3, -0.4))
        mean, variance = q_posterior(x0, x_t, t, t - 1, schedule)
        ours = [mean.item(), float(variance)]
        assert page.evaluate(f"posterior(1.3, -0.4, {t})") == pytest.approx(ours, abs=1e-12)

    open_panel(page, "embedding", {})
    for t, dim in ((0, 8), (400, 64), (999, 128)):
        ours = SinusoidalTimeEmbedding(dim)(torch.tensor([t]))[0].tolist()
        assert page.evaluate(f"embedding({t}, {dim})") == pytest.approx(ours, abs=1e-4)


def test_every_control_of_a_page_changes_what_it_shows(page):
    frames = [{"caption": f"t = {t}", "images": [panels._webp(FLOWER[None] * t)]} for t in (1, 0)]
    data = {
        "schedule": panels.schedule_data(FLOWER),
        "posterior": {"alphas_cumprod": linear_schedule(10).alphas_cumprod.tolist()},
        "embedding": {},
        "frames": {"frames": frames, "names": ["x"]},
    }
    for name, values in data.items():
        open_panel(page, name, values)
        sliders = page.locator("input[type=range]").all()
        assert sliders
        for slider in sliders:
            before = page.locator("body").inner_html()
            slider.press("ArrowLeft")
            assert page.locator("body").inner_html() != before, (name, slider)
        play = page.get_by_role("button", name="play")
        played = page.locator(f"#{play.get_attribute('data-plays')}")
        played.press("Home")
        play.click()
        expect(played).not_to_have_js_property("value", played.get_attribute("min"))


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
@pytest.mark.parametrize("notebook", ["05_sampling", "07_guidance"])
def test_panel_generates_and_cancels(page, lab, notebook):
    """The panel samples, shows its progress and can be cancelled."""
    open_and_run(page, lab, f"{notebook}.ipynb")
    generate, cancel = (page.get_by_role("button", name=name) for name in ("Generate", "Cancel"))
    generate.scroll_into_view_if_needed()
    generate.click()
    progress = page.locator(".widget-html", has_text=re.compile("step 15 of 15, t = 0"))
    expect(progress).to_be_visible(timeout=60_000)
    expect(generate).to_be_enabled(timeout=60_000)
    slider(page, "steps").locator(".noUi-handle").focus()
    page.keyboard.press("End")
    expect(slider(page, "steps").locator(".widget-readout")).to_have_text("250")
    generate.click()
    expect(page.locator(".widget-html", has_text=re.compile(r"step \d+ of 250"))).to_be_visible(
        timeout=60_000
    )
    cancel.click()
    expect(page.locator(".widget-html", has_text="Cancelled")).to_be_visible(timeout=60_000)
    expect(generate).to_be_enabled()
    screenshot(page, f"panel-{notebook}")
