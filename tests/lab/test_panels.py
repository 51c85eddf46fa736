"""Live panels show what the package computes. What their scripts do, tests/browser asks."""

import asyncio
import base64
import io
import re

import pytest
import torch
from helpers import randomise
from PIL import Image

import ddpm_course as dc
from ddpm_course.data.grids import png_bytes
from ddpm_course.lab import panels, sampling_panels
from ddpm_course.lab.figures import figure
from ddpm_course.lab.sampling_panels import GuidancePanel, SamplingPanel

FLOWER = torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8)


def test_the_schedule_panel_receives_the_image_and_the_package_s_noise():
    data = panels.schedule_data(FLOWER)
    pixels = dc.to_uint8(FLOWER).permute(1, 2, 0).contiguous().numpy().tobytes()
    assert base64.b64decode(data["image"]) == pixels
    noise = torch.frombuffer(bytearray(base64.b64decode(data["noise"])), dtype=torch.int8)
    exact = torch.randn(FLOWER.shape, generator=dc.generator(0)).permute(1, 2, 0).flatten()
    assert (noise / 32 - exact).abs().max() <= 1 / 64


FRAMES = {f"t = {t}": (FLOWER[None] * t / 99, FLOWER[None]) for t in range(99, -1, -1)}


PANELS = {
    "schedule": lambda: panels.schedule_explorer(FLOWER),
    "posterior": lambda: panels.posterior_explorer(dc.linear_schedule(10)),
    "embedding": panels.embedding_explorer,
    "frames": lambda: panels.scrubber(FRAMES, ["x", "y"]),
}


@pytest.mark.parametrize("name", PANELS)
def test_each_page_stands_in_a_frame_with_a_stored_figure_beneath(name, monkeypatch):
    shown = []
    monkeypatch.setattr(panels, "display", shown.append)
    monkeypatch.setattr(panels, "show", lambda figure, alt: shown.extend([figure, alt]))
    PANELS[name]()
    frame, figure, alt = shown
    assert frame.data.startswith('<div><iframe class="lab-panel" srcdoc="')
    assert f'title="{name} panel"' in frame.data
    assert "<script" not in frame.data  # the page is escaped inside the attribute
    assert not re.search("@[A-Za-z_]+@", frame.data)
    assert figure.axes
    assert alt


def test_a_scrubber_keeps_its_ends_and_at_most_so_many_frames(monkeypatch):
    kept = []
    monkeypatch.setattr(panels, "_display", lambda name, data, *_: kept.append(data))
    panels.scrubber(FRAMES, ["x", "y"], most=12)
    panels.scrubber({"a": [figure(3, 2)[0]]})
    [images, figures] = [data["frames"] for data in kept]
    captions = [frame["caption"] for frame in images]
    assert len(captions) == 12
    assert (captions[0], captions[-1]) == ("t = 99", "t = 0")
    for frames, size, width in ((images, (8, 8), 256), (figures, (600, 400), 300)):
        stored = frames[-1]["images"][-1]
        assert Image.open(io.BytesIO(base64.b64decode(stored["data"]))).size == size
        assert stored["width"] == width


@pytest.fixture
def panel(small_net):
    return SamplingPanel(dc.Denoiser(small_net, dc.cosine_schedule(50), "v"), number=3)


def newest(panel):
    """The newest result: its image and its caption."""
    image, caption = panel.results.children[0].children
    return image.value, caption.value


def test_sampling_panel_opens_with_a_result_of_good_defaults(panel):
    options = {"sampler": "dpm_solver_pp_2m", "steps": 15, "spacing": "logsnr"}
    x = dc.sample(panel.denoiser, (3, 3, 8, 8), panel.denoiser.schedule, **options)
    assert newest(panel) == (png_bytes(x, 128), "DPM-Solver++, 15 steps, seed 0")
    assert panel.noisy.value == panel.guess.value == png_bytes(x, 128)


def test_sampling_panel_keeps_the_last_four_results_with_their_settings(panel):
    panel.sampler.value, panel.steps.value = "ddim", 5
    for seed in range(1, 5):
        panel.seed.value = seed
        asyncio.run(panel.generate())
    x = dc.sample(panel.denoiser, (3, 3, 8, 8), panel.denoiser.schedule, steps=5, seed=4)
    assert newest(panel) == (png_bytes(x, 128), "DDIM, 5 steps, seed 4")
    captions = [result.children[1].value for result in panel.results.children]
    assert captions == [f"DDIM, 5 steps, seed {seed}" for seed in (4, 3, 2, 1)]
    assert (panel.bar.value, panel.bar.max) == (5, 5)


async def cancel(panel, how):
    panel.button.click()
    assert panel.button.disabled
    while panel.bar.value != 2:
        await asyncio.sleep(0)
    assert panel.seed.disabled  # so that images and settings agree
    how()
    await panel.task


def test_sampling_panel_can_be_cancelled_and_used_again(panel):
    before, panel.steps.value = newest(panel), 50
    asyncio.run(cancel(panel, panel.cancel_button.click))
    assert re.match(
        r"Cancelled: DPM-Solver\+\+, 50 steps, seed 0: step \d+ of 50", panel.text.value
    )
    assert newest(panel) == before
    assert not panel.button.disabled
    assert not panel.seed.disabled
    panel.steps.value = 5
    asyncio.run(panel.generate())
    assert newest(panel)[1] == "DPM-Solver++, 5 steps, seed 0"


def test_a_new_panel_cancels_the_one_before_it(panel):
    panel.steps.value = 50
    asyncio.run(cancel(panel, lambda: SamplingPanel(panel.denoiser, number=1)))
    assert panel.text.value.startswith("Cancelled")


def test_sampling_panel_shows_an_error(panel):
    def broken(*_):
        raise RuntimeError("no such kernel")

    panel.denoiser.net.forward = broken
    with pytest.raises(RuntimeError, match="no such kernel"):
        asyncio.run(panel.generate())
    assert panel.text.value == "Stopped: no such kernel"
    assert not panel.button.disabled


def test_sampling_panel_offers_at_most_T_steps(panel):
    assert list(panel.steps.options) == [5, 10, 15, 20, 50]


def test_a_panel_stores_its_first_result_beneath_it(panel, monkeypatch):
    shown = []
    monkeypatch.setattr(sampling_panels, "display", lambda what, raw=False: shown.append(what))
    panel._ipython_display_()
    bundle, still = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"].startswith("Run this cell")
    assert still.data == newest(panel)[0]


def test_guidance_panel_samples_its_species_with_guidance():
    net = dc.UNet((8, 8), (), head_dim=8, image_size=8, num_classes=102)
    panel = GuidancePanel(dc.Denoiser(randomise(net), dc.cosine_schedule(50), "v"), number=2)
    assert len(panel.species.options) == 102
    assert newest(panel)[1] == "sunflower, guidance 1.5, DPM-Solver++, 15 steps, seed 0"
    panel.scale.value, panel.sampler.value, panel.steps.value = 3.0, "ddim", 10
    asyncio.run(panel.generate())
    denoise = dc.guided(panel.denoiser, torch.tensor([53, 53]), 3.0)
    x = dc.sample(denoise, (2, 3, 8, 8), panel.denoiser.schedule, steps=10)
    assert newest(panel) == (png_bytes(x, 128), "sunflower, guidance 3, DDIM, 10 steps, seed 0")
