"""Enlarging: what a network is told, what its answers are held to, and what comes out."""

import numpy as np
import pytest
import torch
from helpers import randomise
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpm_course import (
    Denoiser,
    UNet,
    cosine_schedule,
    ddim,
    make_unet,
    q_sample,
    timesteps,
    to_uint8,
    to_unit,
)
from ddpm_course.data.image_files import bytes_of
from ddpm_course.data.images import ImageData
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.evaluation.denoising import x0_error
from ddpm_course.evaluation.distances import psnr
from ddpm_course.layers import SelfAttention
from ddpm_course.rng import DETAIL, DOUBT, generator, randn
from ddpm_course.super_resolution.model import (
    LARGEST,
    LEVELS,
    STEPS,
    conditions,
    consistent,
    downsampled,
    refuse_larger,
    upsampled,
    upscale,
)

SCHEDULE = cosine_schedule(1000)


class Told(nn.Module):
    """A network that answers with what it is told of the small picture, and remembers it."""

    def __init__(self, levels=2):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = {"has_level": True, "channels": [8] * levels}
        self.heard = []

    def forward(self, x, t, low_res, level):
        self.heard.append((x, t, low_res, level))
        return low_res


def told(**options):
    return Denoiser(Told(**options), SCHEDULE, "x0")


def flowers(number, size):
    return synthetic_flowers(number, size, seed=0)[0]


def test_resizing_is_that_of_pillow():
    """Antialiased on the way down: what a photograph program does, within a grey level."""
    large = flowers(1, 64)
    picture = Image.fromarray(large[0].permute(1, 2, 0).numpy())
    down = bytes_of(picture.resize((16, 16), Image.Resampling.BICUBIC))
    assert (to_uint8(downsampled(to_unit(large)))[0].int() - down.int()).abs().max() <= 1
    ramp = to_unit((8 * torch.arange(16)).expand(1, 3, 16, 16).to(torch.uint8))
    steps = upsampled(ramp)[..., 8:-8].unfold(-1, 4, 4).mean(-1).diff(dim=-1)
    assert torch.allclose(steps, torch.tensor(8 / 127.5))
    assert torch.allclose(upsampled(torch.full((1, 3, 5, 7), 0.3)), torch.tensor(0.3))


def test_conditions_are_the_small_picture_noised_like_any_other_and_enlarged():
    small, noise = randn((3, 3, 8, 8), generator(0)), randn((3, 3, 8, 8), generator(1))
    level = torch.tensor([0, 10, LEVELS])
    got = conditions(small, level, noise, SCHEDULE)
    assert set(got) == {"low_res", "level"}
    assert torch.equal(got["level"], level)
    abar = SCHEDULE.alphas_cumprod[level].float()[:, None, None, None]
    expected = upsampled(abar.sqrt() * small + (1 - abar).sqrt() * noise)
    torch.testing.assert_close(got["low_res"], expected)
    assert torch.equal(got["low_res"][0], upsampled(small)[0])


def test_a_consistent_estimate_keeps_what_agrees_and_mends_what_does_not():
    truth = to_unit(flowers(2, 64))
    small = downsampled(truth)
    torch.testing.assert_close(consistent(lambda x, t: truth, small)(truth, 5), truth)
    flat = consistent(lambda x, t: torch.zeros_like(x), torch.full((1, 3, 8, 8), 0.5))
    torch.testing.assert_close(flat(torch.zeros(1, 3, 32, 32), 5), torch.full((1, 3, 32, 32), 0.5))
    wrong = (truth + 0.2 * randn(truth.shape, generator(0)) - 0.3).clamp(-1, 1)
    mended = consistent(lambda x, t: wrong, small)(truth, 5)
    assert psnr(to_uint8(downsampled(wrong)), to_uint8(small)).max() < 20
    assert psnr(to_uint8(downsampled(mended)), to_uint8(small)).min() > 35
    assert mended.abs().max() <= 1


def test_a_network_that_repeats_what_it_is_told_enlarges_as_bicubic_interpolation_does():
    small = flowers(3, 16)
    denoiser = told()
    large = upscale(denoiser, small, steps=3)
    assert large.dtype == torch.uint8
    assert large.shape == (3, 3, 64, 64)
    unit = to_unit(small)
    plain = upsampled(unit)
    expected = plain + upsampled(unit - downsampled(plain))
    assert (large.int() - to_uint8(expected).int()).abs().max() <= 1
    assert len(denoiser.net.heard) == 3
    assert all(torch.equal(level, torch.zeros(3)) for *_, level in denoiser.net.heard)


def test_the_noise_of_a_level_is_drawn_once_and_said():
    small, denoiser = flowers(2, 16), told()
    upscale(denoiser, small, level=50, steps=2, seed=7)
    (*_, first, level), (*_, second, _) = denoiser.net.heard
    assert level.tolist() == [50, 50]
    assert torch.equal(first, second)
    noise = torch.stack([randn((3, 16, 16), generator(7, k, DOUBT)) for k in range(2)])
    torch.testing.assert_close(first, upsampled(q_sample(to_unit(small), 50, noise, SCHEDULE)))


def test_only_a_picture_without_noise_is_held_to():
    small, denoiser = flowers(1, 16), Denoiser(Told(), SCHEDULE, "x0")
    denoiser.net.forward = lambda x, t, low_res, level: torch.zeros_like(x)
    believed, doubted = (upscale(denoiser, small, level=level, steps=2) for level in (0, 1))
    assert psnr(to_uint8(downsampled(to_unit(believed))), small).min() > 35
    assert (doubted.int() - 128).abs().max() <= 1


def test_upscaling_is_sampling_with_conditions():
    """The same network, sampler and noise, put together by hand."""
    net = UNet(
        (8, 16), (), mid_attention=False, blocks=1, in_channels=6, has_level=True, head_dim=8
    )
    denoiser = Denoiser(randomise(net), SCHEDULE, "v").eval()
    small = flowers(2, 8)
    x = to_unit(small)
    told = {"low_res": upsampled(x), "level": torch.zeros(2, dtype=torch.long)}
    noise = torch.stack([randn((3, 32, 32), generator(3, k, DETAIL)) for k in range(2)])
    walk = ddim(
        consistent(denoiser.bind(**told), x), noise, SCHEDULE, timesteps(SCHEDULE, 4, "trailing")
    )
    *_, (_, expected, _) = walk
    assert torch.equal(upscale(denoiser, small, steps=4, seed=3), to_uint8(expected))
    assert torch.equal(upscale(denoiser, small[:1], steps=4, seed=3), to_uint8(expected[:1]))
    assert not torch.equal(upscale(denoiser, small, steps=4, seed=4), to_uint8(expected))


@pytest.mark.parametrize("size", [(5, 7), (8, 9), (1, 1), (13, 4)])
def test_pictures_of_any_shape_come_out_four_times_as_large(size):
    """With five levels the network halves four times, so the picture is continued at the margin."""
    small = torch.randint(256, (1, 3, *size), generator=generator(0)).to(torch.uint8)
    denoiser = told(levels=5)
    assert upscale(denoiser, small, steps=1).shape == (1, 3, 4 * size[0], 4 * size[1])
    [(x, *_, low_res, _)] = denoiser.net.heard
    assert [length % 16 for length in x.shape[2:]] == [0, 0]
    below, right = (-length % 4 for length in size)
    continued = to_unit(small).numpy()
    continued = np.pad(continued, ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
    torch.testing.assert_close(low_res, upsampled(torch.from_numpy(continued)))


def test_what_cannot_be_enlarged_is_refused():
    small = flowers(1, 8)
    drawing = Denoiser(UNet((8, 16), (), head_dim=8, image_size=8), SCHEDULE, "v")
    with pytest.raises(ValueError, match="enlarging needs an upscaler"):
        upscale(drawing, small)
    for level in (-1, LEVELS + 1):
        with pytest.raises(ValueError, match=f"from 0 to {LEVELS}, not {level}"):
            upscale(told(), small, level=level)
    short = Denoiser(Told(), cosine_schedule(100), "x0")
    with pytest.raises(ValueError, match="from 0 to 100, not 101"):
        upscale(short, small, level=101)
    for wrong in (small.float(), small[0], small[:, :1], small[:0]):
        with pytest.raises(ValueError, match=r"Small pictures are u8\[N,3,H,W\], not torch\."):
            upscale(told(), wrong)
    with pytest.raises(ValueError, match=r"129 × 100 pixels would become 516 × 400, .* 0\.4 GB"):
        upscale(told(), torch.zeros(1, 3, 100, 129, dtype=torch.uint8))
    refuse_larger(128, 128)


def test_damaged_weights_draw_no_picture():
    denoiser = told()
    denoiser.net.forward = lambda x, t, low_res, level: torch.full_like(x, torch.nan)
    with pytest.raises(ValueError, match="came out as NaN"):
        upscale(denoiser, flowers(1, 8), steps=1)


def test_enlarging_costs_what_was_promised():
    """At most 80 GFLOP a call at 256×256, at most 10 steps; without attention any size is fair."""
    with torch.device("meta"):
        net = make_unet("upscaler")
        x, t = torch.empty(1, 3, 256, 256), torch.empty(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            net(x, t, low_res=x, level=t)
    assert counter.get_total_flops() < 80e9
    assert STEPS <= 10
    assert LARGEST == 512
    assert not [m for m in net.modules() if isinstance(m, SelfAttention)]


def test_the_held_out_error_is_measured_with_what_the_network_is_told():
    images, small = flowers(5, 32), downsampled(to_unit(flowers(5, 32)))
    said = {"low_res": upsampled(small), "level": torch.zeros(5, dtype=torch.long)}
    got = x0_error(told(), ImageData(images, None), said, log_snrs=[0], batch_size=2)
    expected = (said["low_res"].clamp(-1, 1) - to_unit(images)).square().mean().item()
    assert got.item() == pytest.approx(expected, rel=1e-5)
