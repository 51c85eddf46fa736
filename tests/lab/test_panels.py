"""Live panels: moving a control changes what is shown, and the numbers are the package's."""

import asyncio
import base64
import io
import re

import ipywidgets as w
import pytest
import torch
from helpers import randomise
from PIL import Image

import ddpm_course as dc
from ddpm_course.data.grids import png_bytes
from ddpm_course.evaluation.distances import psnr
from ddpm_course.lab import panels
from ddpm_course.lab.explorer import explorer_page, static_explorer
from ddpm_course.lab.sampling_panels import GuidancePanel, SamplingPanel, level_explorer
from ddpm_course.rng import DOUBT

FLOWER = torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8)


def parts(box):
    yield box
    for child in getattr(box, "children", ()):
        yield from parts(child)


def control(box, description):
    [found] = [p for p in parts(box) if getattr(p, "description", None) == description]
    return found


def shown(box):
    """Everything that a reader sees: texts, drawings, images."""
    return [p.value for p in parts(box) if isinstance(p, w.HTML | w.Label | w.Image)]


def test_schedule_explorer_shows_the_schedule_of_its_controls():
    panel = panels.schedule_explorer(FLOWER)
    before = shown(panel)
    moves = {"t": 200, "T": 500, "β_T": 0.05, "β_1": 1e-3, "schedule": "cosine"}
    for name, value in moves.items():
        control(panel, name).value = value
        assert shown(panel) != before, name
        before = shown(panel)
    schedule, noise = dc.cosine_schedule(500), torch.randn(FLOWER.shape, generator=dc.generator(0))
    assert panels.describe(schedule, 200) in before
    assert png_bytes(dc.q_sample(FLOWER, 200, noise, schedule)[None], 192) in before
    assert control(panel, "β_1").disabled
    control(panel, "schedule").value = "linear"
    assert panels.describe(dc.linear_schedule(500, 1e-3, 0.05), 200) in shown(panel)


def test_schedule_explorer_keeps_t_within_T():
    panel = panels.schedule_explorer(FLOWER)
    control(panel, "t").value = 350
    control(panel, "T").value = 100
    assert control(panel, "t").max == 100
    assert panels.describe(dc.linear_schedule(100), 100) in shown(panel)


def test_a_time_is_described_in_numbers():
    schedule = dc.linear_schedule(350)
    text = panels.describe(schedule, 350)
    assert f"ᾱ_t = {schedule.alphas_cumprod[350]:.4g}" in text
    assert "-15.3 dB" in text
    assert "x_T keeps 17 % of x_0" in text
    assert "no noise" in panels.describe(schedule, 0)


def test_posterior_explorer_shows_the_posterior():
    schedule = dc.linear_schedule(1000)
    panel = panels.posterior_explorer(schedule)
    control(panel, "t").value, control(panel, "x_0").value = 700, -1.5
    control(panel, "x_t").value = 0.5
    mean, variance = dc.q_posterior(torch.tensor([-1.5]), torch.tensor([0.5]), 700, 699, schedule)
    text = f"x_(t−1) has mean {mean.item():.3f}, standard deviation {variance**0.5:.3f}"
    assert text in shown(panel)
    control(panel, "t").value = 1  # where two of the three Gaussians are points
    assert "nan" not in " ".join(shown(panel))


def test_embedding_explorer_shows_the_embedding():
    panel = panels.embedding_explorer()
    control(panel, "t").value, control(panel, "entries").value = 17, 8
    row = dc.SinusoidalTimeEmbedding(8)(torch.tensor([17]))[0, :4]
    entries = ", ".join(f"{v:.2f}" for v in row.tolist())
    assert f"t = 17: first entries {entries}" in shown(panel)


def test_trajectory_slider_shows_the_chosen_stop():
    trajectory = [(t, FLOWER[None] * t / 9, FLOWER[None]) for t in range(9, -1, -1)]
    panel = panels.trajectory_slider(trajectory)
    control(panel, "stop").value = 7
    assert png_bytes(trajectory[7][1], 96) in shown(panel)
    assert any("t = 2:" in str(value) for value in shown(panel))


@pytest.fixture
def panel(small_net):
    return SamplingPanel(dc.Denoiser(small_net, dc.cosine_schedule(50), "v"), number=3)


def test_sampling_panel_shows_what_the_sampler_generates(panel):
    panel.steps.value, panel.seed.value = 10, 4
    asyncio.run(panel.draw())
    x = dc.sample(panel.denoiser, (3, 3, 8, 8), panel.denoiser.schedule, steps=10, seed=4)
    assert panel.picture.value == png_bytes(x, 128, 4)
    assert Image.open(io.BytesIO(panel.picture.value)).size == (3 * 128, 128)
    assert re.fullmatch(r"Drawn in 10 steps, \d+\.\d s\.", panel.text.value)
    assert (panel.bar.value, panel.bar.max) == (10, 10)
    assert (panel.draw_button.disabled, panel.cancel_button.disabled) == (False, True)


def test_sampling_panel_can_be_cancelled_and_used_again(panel):
    panel.steps.value = 50

    async def click():
        panel.draw_button.click()
        assert panel.draw_button.disabled
        while panel.bar.value < 2:
            await asyncio.sleep(0)
        panel.cancel_button.click()
        await panel.task

    asyncio.run(click())
    assert re.fullmatch(r"Cancelled after step \d+ of 50\.", panel.text.value)
    assert not panel.draw_button.disabled
    panel.sampler.value, panel.steps.value = "dpm_solver_pp_2m", 5
    asyncio.run(panel.draw())
    assert panel.text.value.startswith("Drawn in 5 steps")


def test_sampling_panel_shows_an_error(panel):
    def broken(*_):
        raise RuntimeError("no such kernel")

    panel.denoiser.net.forward = broken
    with pytest.raises(RuntimeError, match="no such kernel"):
        asyncio.run(panel.draw())
    assert panel.text.value == "Stopped: no such kernel"
    assert not panel.draw_button.disabled


def test_sampling_panel_offers_at_most_T_steps(panel):
    assert list(panel.steps.options) == [5, 10, 20, 50]


def test_guidance_panel_samples_its_species_with_guidance():
    net = dc.UNet((8, 8), (), head_dim=8, image_size=8, num_classes=102)
    panel = GuidancePanel(dc.Denoiser(randomise(net), dc.cosine_schedule(50), "v"), number=2)
    assert len(panel.species.options) == 102
    assert dict(panel.species.options)["sunflower"] == 53
    panel.species.value, panel.scale.value, panel.sampler.value = 53, 3.0, "ddim"
    asyncio.run(panel.draw())
    denoise = dc.guided(panel.denoiser, torch.tensor([53, 53]), 3.0)
    x = dc.sample(denoise, (2, 3, 8, 8), panel.denoiser.schedule, steps=10)
    assert panel.picture.value == png_bytes(x, 128, 4)


def test_level_explorer_shows_condition_sample_and_agreement():
    net = dc.UNet(
        (8, 16), (), mid_attention=False, blocks=1, in_channels=6, has_level=True, head_dim=8
    )
    denoiser = dc.Denoiser(randomise(net), dc.cosine_schedule(300), "v").eval()
    small = dc.to_uint8(FLOWER)[None]
    panel = level_explorer(denoiser, small[0])
    level, seed = control(panel, "level"), control(panel, "seed")
    condition, sample = (part for part in parts(panel) if isinstance(part, w.Image))

    def check(at, k):
        noise = dc.randn((1, 3, 8, 8), [dc.generator(k, 0, DOUBT)])
        noisy = dc.q_sample(dc.to_unit(small), at, noise, denoiser.schedule)
        large = dc.to_unit(dc.upscale(denoiser, small, level=at, seed=k, steps=5))
        assert condition.value == png_bytes(noisy, 256)
        assert sample.value == png_bytes(large, 256)
        agreement = psnr(dc.to_uint8(dc.downsampled(large)), small).item()
        assert f"level {at}: downsampled again, it agrees to {agreement:.0f} dB" in shown(panel)

    check(0, 0)
    level.value = 120
    check(120, 0)
    seed.value = 3
    check(120, 3)


def test_page_without_kernel_contains_its_image():
    page = explorer_page(FLOWER)
    assert "@PICTURE@" not in page
    assert "@NOISE@" not in page
    pixels = dc.to_uint8(FLOWER).permute(1, 2, 0).contiguous().numpy().tobytes()
    assert base64.b64encode(pixels).decode() in page
    frame = static_explorer(FLOWER).data
    assert frame.startswith("<div><iframe srcdoc=")
    assert "<script" not in frame  # the page is escaped inside the attribute
