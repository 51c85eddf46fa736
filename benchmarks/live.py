"""The page `live` beside PyTorch on one thread: uv run python benchmarks/live.py

Both generate the same flower with the same weights, sampler and noise. The page runs in headless
Chromium from the built book, on this machine: uv run sphinx-build -W site build/site
"""

import functools
import http.server
import shutil
import statistics
import threading
from pathlib import Path
from typing import Annotated

import torch
import typer
from measuring import print_table, save, spread, time_in_turns
from playwright.sync_api import Page, sync_playwright

import ddpm_course as dc

SITE = Path(__file__).resolve().parents[1] / "build" / "site"
STEPS, LABEL, GUIDANCE = 15, 53, 1.5
SETTINGS = {"sampler": "dpm_solver_pp_2m", "steps": STEPS, "spacing": "logsnr"}
EQUAL = 1e-3
SAMPLE = "settings => window.flowers.sample(settings).then(flower => [...flower])"
FIRST = """async () => {
  await window.flowers.ready;
  const ready = performance.now() / 1000;
  const done = () => document.getElementById("live-t").textContent === "0";
  while (!done()) await new Promise(resolve => setTimeout(resolve, 10));
  return [ready, performance.now() / 1000];
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): ...


def pytorch(denoiser: dc.Denoiser) -> torch.Tensor:
    denoise = dc.guided(denoiser, torch.tensor([LABEL]), GUIDANCE)
    return dc.sample(denoise, (1, *denoiser.image_shape), denoiser.schedule, **SETTINGS)


def browser(page: Page) -> torch.Tensor:
    settings = SETTINGS | {"seed": 0, "label": LABEL, "guidance": GUIDANCE}
    return torch.tensor(page.evaluate(SAMPLE, settings))


def main(rounds: Annotated[int, typer.Option(help="Flowers on each side.")] = 10) -> None:
    torch.set_num_threads(1)
    if not (SITE / "live.html").is_file():
        raise SystemExit("Build the book first: uv run sphinx-build -W site build/site")
    denoiser = dc.load_pretrained()
    handler = functools.partial(Quiet, directory=SITE)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/live.html")
        ready, first = page.evaluate(FIRST)
        expected, flower = pytorch(denoiser).clamp(-1, 1), browser(page)
        difference = (flower.view_as(expected) - expected).abs().max().item()
        if difference > EQUAL:
            raise SystemExit(f"The flowers differ by {difference:.2g}, so nothing is recorded.")
        runs = {
            "PyTorch, one thread": lambda: pytorch(denoiser),
            "Chromium": lambda: browser(page),
        }
        flowers = time_in_turns(runs, rounds, torch.device("cpu"))
        version = chromium.version
        chromium.close()
        server.shutdown()
    seconds = {side: [value / STEPS for value in values] for side, values in flowers.items()}
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    ratio = medians["Chromium"] / medians["PyTorch, one thread"]
    record = {
        "chromium": version,
        "settings": SETTINGS | {"label": LABEL, "guidance": GUIDANCE},
        "seconds_per_step": {side: spread(values) for side, values in seconds.items()},
        "ratio": ratio,
        "seconds_until_ready": ready,
        "seconds_until_first_flower": first,
        "largest_difference": difference,
    }
    save("live", torch.device("cpu"), record)
    print_table([{"": side, "s per step": f"{value:.3f}"} for side, value in medians.items()])
    print(
        f"{ratio:.1f}× PyTorch's time. First flower after {first:.1f} s, ready after {ready:.1f} s."
    )


if __name__ == "__main__":
    typer.run(main)
