"""Super-resolution: the network's conditions, the consistency of its estimates, the result."""

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
from ddpm_course.data.image_files import bytes_of, image_of
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
    consistent,
    downsampled,
    low_res_conditions,
    refuse_larger,
    upsampled,
    upscale,
)

SCHEDULE = cosine_schedule(1000)


class Bicubic(nn.Module):
    """A network that outputs its `low_res`, and records its inputs."""

    def __init__(self, levels=2):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = {"has_level": True, "channels": [8] * levels}
        self.inputs = []

    def forward(self, x, t, low_res, level):
        self.inputs.append((x, t, low_res, level))
        return low_res


def bicubic(**options):
    return Denoiser(Bicubic(**options), SCHEDULE, "x0")


def flowers(number, size):
    return synthetic_flowers(number, size, seed=0)[0]


def test_resizing_is_that_of_pillow():
    high_res = flowers(1, 64)
    down = bytes_of(image_of(high_res[0]).resize((16, 16), Image.Resampling.BICUBIC))
    assert (to_uint8(downsampled(to_unit(high_res)))[0].int() - down.int()).abs().max() <= 1
    ramp = to_unit((8 * torch.arange(16)).expand(1, 3, 16, 16).to(torch.uint8))
    steps = upsampled(ramp)[..., 8:-8].unfold(-1, 4, 4).mean(-1).diff(dim=-1)
    assert torch.allclose(steps, torch.tensor(8 / 127.5))
    assert torch.allclose(upsampled(torch.full((1, 3, 5, 7), 0.3)), torch.tensor(0.3))


def test_conditions_are_the_low_resolution_image_noised_then_upsampled():
    low_res, noise = randn((3, 3, 8, 8), generator(0)), randn((3, 3, 8, 8), generator(1))
    level = torch.tensor([0, 10, LEVELS])
    got = low_res_conditions(low_res, level, noise, SCHEDULE)
    assert set(got) == {"low_res", "level"}
    assert torch.equal(got["level"], level)
    abar = SCHEDULE.alphas_cumprod[level].float()[:, None, None, None]
    expected = upsampled(abar.sqrt() * low_res + (1 - abar).sqrt() * noise)
    torch.testing.assert_close(got["low_res"], expected)
    assert torch.equal(got["low_res"][0], upsampled(low_res)[0])


def test_consistency_keeps_what_agrees_and_corrects_what_does_not():
    truth = to_unit(flowers(2, 64))
    low_res = downsampled(truth)
    torch.testing.assert_close(consistent(lambda x, t: truth, low_res)(truth, 5), truth)
    flat = consistent(lambda x, t: torch.zeros_like(x), torch.full((1, 3, 8, 8), 0.5))
    torch.testing.assert_close(flat(torch.zeros(1, 3, 32, 32), 5), torch.full((1, 3, 32, 32), 0.5))
    wrong = (truth + 0.2 * randn(truth.shape, generator(0)) - 0.3).clamp(-1, 1)
    corrected = consistent(lambda x, t: wrong, low_res)(truth, 5)
    assert psnr(to_uint8(downsampled(wrong)), to_uint8(low_res)).max() < 20
    assert psnr(to_uint8(downsampled(corrected)), to_uint8(low_res)).min() > 35
    assert corrected.abs().max() <= 1


def test_level_0_is_consistent_with_the_low_resolution_image():
    low_res = flowers(3, 16)
    denoiser = bicubic()
    high_res = upscale(denoiser, low_res, steps=3)
    assert high_res.dtype == torch.uint8
    assert high_res.shape == (3, 3, 64, 64)
    unit = to_unit(low_res)
    plain = upsampled(unit)
    expected = plain + upsampled(unit - downsampled(plain))
    assert (high_res.int() - to_uint8(expected).int()).abs().max() <= 1
    assert len(denoiser.net.inputs) == 3
    assert all(torch.equal(level, torch.zeros(3)) for *_, level in denoiser.net.inputs)


def test_a_level_adds_noise_once_and_corrects_nothing():
    low_res, denoiser = flowers(2, 16), bicubic()
    upscale(denoiser, low_res, level=50, steps=2, seed=7)
    (*_, first, level), (*_, second, _) = denoiser.net.inputs
    assert level.tolist() == [50, 50]
    assert torch.equal(first, second)
    noise = torch.stack([randn((3, 16, 16), generator(7, k, DOUBT)) for k in range(2)])
    torch.testing.assert_close(first, upsampled(q_sample(to_unit(low_res), 50, noise, SCHEDULE)))


def test_upscaling_is_sampling_with_conditions():
    """The same network, sampler and noise, put together by hand."""
    net = UNet(
        (8, 16), (), mid_attention=False, blocks=1, in_channels=6, has_level=True, head_dim=8
    )
    denoiser = Denoiser(randomise(net), SCHEDULE, "v").eval()
    low_res = flowers(2, 8)
    x = to_unit(low_res)
    inputs = {"low_res": upsampled(x), "level": torch.zeros(2, dtype=torch.long)}
    noise = torch.stack([randn((3, 32, 32), generator(3, k, DETAIL)) for k in range(2)])
    trajectory = ddim(
        consistent(denoiser.bind(**inputs), x), noise, SCHEDULE, timesteps(SCHEDULE, 4, "trailing")
    )
    *_, (_, expected, _) = trajectory
    assert torch.equal(upscale(denoiser, low_res, steps=4, seed=3), to_uint8(expected))
    assert torch.equal(upscale(denoiser, low_res[:1], steps=4, seed=3), to_uint8(expected[:1]))
    last = upscale(denoiser, low_res[1:], steps=4, seed=3, first=1)
    assert (last.int() - to_uint8(expected[1:]).int()).abs().max() <= 1
    assert not torch.equal(upscale(denoiser, low_res, steps=4, seed=4), to_uint8(expected))


@pytest.mark.parametrize("size", [(5, 7), (8, 9), (1, 1), (13, 4)])
def test_images_of_any_shape_become_4_times_larger(size):
    """A network of five levels needs a multiple of 16, so the edge is continued."""
    low_res = torch.randint(256, (1, 3, *size), generator=generator(0)).to(torch.uint8)
    denoiser = bicubic(levels=5)
    assert upscale(denoiser, low_res, steps=1).shape == (1, 3, 4 * size[0], 4 * size[1])
    [(x, *_, received, _)] = denoiser.net.inputs
    assert [length % 16 for length in x.shape[2:]] == [0, 0]
    below, right = (-length % 4 for length in size)
    continued = to_unit(low_res).numpy()
    continued = np.pad(continued, ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
    torch.testing.assert_close(received, upsampled(torch.from_numpy(continued)))


def test_what_cannot_be_upscaled_is_refused():
    low_res = flowers(1, 8)
    unconditional = Denoiser(UNet((8, 16), (), head_dim=8, image_size=8), SCHEDULE, "v")
    with pytest.raises(ValueError, match="use an upscaler"):
        upscale(unconditional, low_res)
    for level in (-1, LEVELS + 1):
        with pytest.raises(ValueError, match=f"from 0 to {LEVELS}, not {level}"):
            upscale(bicubic(), low_res, level=level)
    short = Denoiser(Bicubic(), cosine_schedule(100), "x0")
    with pytest.raises(ValueError, match="from 0 to 100, not 101"):
        upscale(short, low_res, level=101)
    for wrong in (low_res.float(), low_res[0], low_res[:, :1], low_res[:0]):
        with pytest.raises(
            ValueError, match=r"Low-resolution images are u8\[N,3,H,W\], not torch\."
        ):
            upscale(bicubic(), wrong)
    with pytest.raises(ValueError, match=r"129 × 100 pixels would become 516 × 400, .* 0\.4 GB"):
        upscale(bicubic(), torch.zeros(1, 3, 100, 129, dtype=torch.uint8))
    refuse_larger(128, 128)


def test_weights_that_give_nan_are_refused():
    denoiser = bicubic()
    denoiser.net.forward = lambda x, t, low_res, level: torch.full_like(x, torch.nan)
    with pytest.raises(ValueError, match="came out as NaN"):
        upscale(denoiser, flowers(1, 8), steps=1)


def test_upscaling_costs_what_the_course_says():
    """At most 80 GFLOP per call at 256×256, at most 10 steps; without attention any size works."""
    with torch.device("meta"):
        net = make_unet("upscaler")
        x, t = torch.empty(1, 3, 256, 256), torch.empty(1, dtype=torch.long)
        with FlopCounterMode(display=False) as counter:
            net(x, t, low_res=x, level=t)
    assert counter.get_total_flops() < 80e9
    assert STEPS <= 10
    assert LARGEST == 512
    assert not [m for m in net.modules() if isinstance(m, SelfAttention)]


def test_the_held_out_error_is_measured_with_the_networks_conditions():
    images, low_res = flowers(5, 32), downsampled(to_unit(flowers(5, 32)))
    cond = {"low_res": upsampled(low_res), "level": torch.zeros(5, dtype=torch.long)}
    got = x0_error(bicubic(), ImageData(images, None), cond, log_snrs=[0], batch_size=2)
    expected = (cond["low_res"].clamp(-1, 1) - to_unit(images)).square().mean().item()
    assert got.item() == pytest.approx(expected, rel=1e-5)
