"""Live panels: a control that moves changes what is seen, and the numbers are the package's."""

import asyncio
import base64
import io
import re

import ipywidgets as w
import pytest
import torch
from helpers import randomise
from PIL import Image

from ddpm_course import (
    SinusoidalTimeEmbedding,
    UNet,
    cosine_schedule,
    ddim,
    guided,
    linear_schedule,
    q_posterior,
    q_sample,
    sample,
    timesteps,
)
from ddpm_course.data.grids import png_bytes
from ddpm_course.data.images import to_uint8, to_unit
from ddpm_course.diffusion import Denoiser
from ddpm_course.evaluation.distances import psnr
from ddpm_course.lab import panels
from ddpm_course.lab.explorer import explorer_page, static_explorer
from ddpm_course.lab.sampling_panels import GuidancePanel, SamplingPanel, level_explorer
from ddpm_course.rng import DOUBT, generator, image_generators, randn
from ddpm_course.super_resolution.model import downsampled, upscale

FLOWER = torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8)


def parts(box):
    yield box
    for child in getattr(box, "children", ()):
        yield from parts(child)


def control(box, description):
    [found] = [p for p in parts(box) if getattr(p, "description", None) == description]
    return found


def seen(box):
    """Everything that a reader sees: text, drawings, pictures."""
    kinds = ("HTMLModel", "LabelModel", "ImageModel")
    return [p.value for p in parts(box) if p._model_name in kinds]


def test_the_schedule_explorer_shows_the_schedule_of_its_sliders():
    panel = panels.schedule_explorer(FLOWER)
    noise = torch.randn(FLOWER.shape, generator=generator(0))
    before = seen(panel)
    for name, value in (
        ("t", 200),
        ("T", 500),
        ("β_T", 0.05),
        ("β_1", 1e-3),
        ("schedule", "cosine"),
    ):
        control(panel, name).value = value
        assert seen(panel) != before, name
        before = seen(panel)
    schedule = cosine_schedule(500)
    assert panels.describe(schedule, 200) in before
    assert png_bytes(q_sample(FLOWER, 200, noise, schedule)[None], 192) in before
    assert control(panel, "β_1").disabled
    control(panel, "schedule").value = "linear"
    assert panels.describe(linear_schedule(500, 1e-3, 0.05), 200) in seen(panel)


def test_t_never_lies_beyond_T():
    panel = panels.schedule_explorer(FLOWER)
    control(panel, "t").value = 350
    control(panel, "T").value = 100
    assert control(panel, "t").max == 100
    assert panels.describe(linear_schedule(100), 100) in seen(panel)


def test_a_time_is_described_in_numbers():
    schedule = linear_schedule(350)
    said = panels.describe(schedule, 350)
    assert f"ᾱ_t = {schedule.alphas_cumprod[350]:.4g}" in said
    assert "-15.3 dB" in said
    assert "x_T keeps 17 % of x_0" in said
    assert "no noise" in panels.describe(schedule, 0)


def test_the_posterior_explorer_has_the_posterior():
    schedule = linear_schedule(1000)
    panel = panels.posterior_explorer(schedule)
    control(panel, "t").value, control(panel, "x_0").value = 700, -1.5
    control(panel, "x_t").value = 0.5
    mean, variance = q_posterior(torch.tensor([-1.5]), torch.tensor([0.5]), 700, 699, schedule)
    text = f"x_(t−1) has mean {mean.item():.3f}, standard deviation {variance**0.5:.3f}"
    assert text in seen(panel)
    control(panel, "t").value = 1  # where two of the three are points
    assert "nan" not in " ".join(seen(panel))


def test_the_embedding_explorer_has_the_embedding():
    panel = panels.embedding_explorer()
    control(panel, "t").value, control(panel, "entries").value = 17, 8
    row = SinusoidalTimeEmbedding(8)(torch.tensor([17]))[0, :4]
    said = ", ".join(f"{v:.2f}" for v in row.tolist())
    assert f"t = 17: first entries {said}" in seen(panel)


def test_the_trajectory_stops_where_it_is_told():
    walk = [(t, FLOWER[None] * t / 9, FLOWER[None]) for t in range(9, -1, -1)]
    panel = panels.trajectory_slider(walk)
    control(panel, "stop").value = 7
    assert png_bytes(walk[7][1], 96) in seen(panel)
    assert any("t = 2:" in str(value) for value in seen(panel))


@pytest.fixture
def drawer(small_net):
    return SamplingPanel(Denoiser(small_net, cosine_schedule(50), "v"), number=3)


def test_the_sampling_panel_draws_what_the_sampler_draws(drawer):
    drawer.steps.value, drawer.seed.value = 10, 4
    asyncio.run(drawer.draw())
    draws = image_generators(4, 3)
    x_T, schedule = randn((3, 3, 8, 8), draws), drawer.denoiser.schedule
    *_, (_, x, _) = ddim(drawer.denoiser, x_T, schedule, timesteps(schedule, 10), draws)
    assert drawer.picture.value == png_bytes(x, 128, 4)
    assert Image.open(io.BytesIO(drawer.picture.value)).size == (3 * 128, 128)
    assert re.fullmatch(r"Drawn in 10 steps, \d+\.\d s\.", drawer.text.value)
    assert (drawer.bar.value, drawer.bar.max) == (10, 10)
    assert (drawer.draw_button.disabled, drawer.cancel_button.disabled) == (False, True)


def test_the_sampling_panel_can_be_cancelled_and_used_again(drawer):
    drawer.steps.value = 50

    async def press():
        drawer.draw_button.click()
        assert drawer.draw_button.disabled
        while drawer.bar.value < 2:
            await asyncio.sleep(0)
        drawer.cancel_button.click()
        await drawer.task

    asyncio.run(press())
    assert re.fullmatch(r"Cancelled after step \d+ of 50\.", drawer.text.value)
    assert not drawer.draw_button.disabled
    drawer.sampler.value = "dpm_solver_pp_2m"
    drawer.steps.value = 5
    asyncio.run(drawer.draw())
    assert drawer.text.value.startswith("Drawn in 5 steps")


def test_the_sampling_panel_tells_what_went_wrong(drawer):
    def broken(*_):
        raise RuntimeError("no such kernel")

    drawer.denoiser.net.forward = broken
    with pytest.raises(RuntimeError, match="no such kernel"):
        asyncio.run(drawer.draw())
    assert drawer.text.value == "Stopped: no such kernel"
    assert not drawer.draw_button.disabled


def test_the_sampling_panel_offers_no_more_steps_than_there_are(drawer):
    assert list(drawer.steps.options) == [5, 10, 20, 50]


def test_the_guidance_panel_draws_its_species_guided():
    torch.manual_seed(0)
    net = UNet(channels=(8, 8), attention_levels=(), head_dim=8, image_size=8, num_classes=102)
    randomise(net)
    panel = GuidancePanel(Denoiser(net, cosine_schedule(50), "v"), number=2)
    assert len(panel.species.options) == 102
    assert dict(panel.species.options)["sunflower"] == 53
    panel.species.value, panel.scale.value, panel.sampler.value = 53, 3.0, "ddim"
    asyncio.run(panel.draw())
    denoise = guided(panel.denoiser, torch.tensor([53, 53]), 3.0)
    x = sample(denoise, (2, 3, 8, 8), panel.denoiser.schedule, steps=10)
    assert panel.picture.value == png_bytes(x, 128, 4)


def test_the_page_without_kernel_holds_its_picture():
    page = explorer_page(FLOWER)
    assert "@PICTURE@" not in page
    assert "@NOISE@" not in page
    packed = base64.b64encode(to_uint8(FLOWER).permute(1, 2, 0).contiguous().numpy().tobytes())
    assert packed.decode() in page
    frame = static_explorer(FLOWER).data
    assert frame.startswith("<div><iframe srcdoc=")
    assert "<script" not in frame  # the page is escaped inside the attribute


def test_the_level_explorer_enlarges_what_it_was_told():
    net = UNet(
        (8, 16), (), mid_attention=False, blocks=1, in_channels=6, has_level=True, head_dim=8
    )
    denoiser = Denoiser(randomise(net), cosine_schedule(300), "v").eval()
    small = to_uint8(FLOWER)
    panel = level_explorer(denoiser, small)
    level, seed = (slider for slider in parts(panel) if hasattr(slider, "readout"))
    told, drawn = (part for part in parts(panel) if hasattr(part, "format"))
    text = [part for part in parts(panel) if isinstance(part, w.Label)][-1]

    def expect(at, seed):
        noise = randn((1, 3, 8, 8), [generator(seed, 0, DOUBT)])
        noisy = q_sample(to_unit(small[None]), at, noise, denoiser.schedule)
        large = upscale(denoiser, small[None], level=at, seed=seed, steps=5)
        assert told.value == png_bytes(noisy, 256)
        assert drawn.value == png_bytes(to_unit(large), 256)
        agrees = psnr(to_uint8(downsampled(to_unit(large))), small[None]).item()
        assert text.value == f"level {at}: downsampled again, it agrees to {agrees:.0f} dB"

    expect(0, 0)
    level.value = 120
    expect(120, 0)
    seed.value = 3
    expect(120, 3)
