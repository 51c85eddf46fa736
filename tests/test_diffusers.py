"""🤗 diffusers as an oracle: the same numbers from code that shares nothing with ours."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel
from helpers import randomise, replay

from ddpm_course import (
    PRESETS,
    cosine_schedule,
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    linear_schedule,
    make_unet,
    timesteps,
)
from ddpm_course.pretrained.diffusers_format import diffusers_config
from ddpm_course.rng import generator, randn


@pytest.mark.parametrize(
    ("name", "num_classes"), [*((name, None) for name in PRESETS), ("tiny", 102), ("small", 102)]
)
def test_network_equals_diffusers_with_equal_weights(name, num_classes):
    """Outputs and gradients, with weights carried over both ways and nothing left at zero."""
    # UNet2DModel knows no `level`: without it the upscaler stands for networks without attention
    changes = {"in_channels": 3, "has_level": False, "image_size": 16, "num_classes": num_classes}
    ours = randomise(make_unet(name, **changes))
    theirs = UNet2DModel(**diffusers_config(ours))
    theirs.load_state_dict(ours.state_dict())
    back = make_unet(name, **changes)
    back.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    t, y = torch.tensor([0, 999]), torch.tensor([3, 102]) if num_classes else None
    out = back(x, t, y)
    expected = theirs(x, t, class_labels=y).sample
    scale = expected.abs().max()
    torch.testing.assert_close(out / scale, expected / scale, rtol=1e-5, atol=1e-5)
    out.square().mean().backward()
    expected.square().mean().backward()
    gradients = dict(theirs.named_parameters())
    for key, parameter in back.named_parameters():
        g, h = parameter.grad, gradients[key].grad
        scale = h.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(g / scale, h / scale, rtol=1e-5, atol=1e-5, msg=key)


def wild(x_t, t):
    """A bad network's x̂_0, clipped, so that clipping bites; as ε this is `implied_eps`."""
    return (2 * torch.sin(3 * x_t + t / 300)).clamp(-1, 1)


def scheduler(kind, schedule, **options):
    """diffusers' scheduler over our float64 ᾱ, fed with x̂_0 directly."""
    betas = schedule.betas[1:].numpy()
    made = kind(
        num_train_timesteps=schedule.T, trained_betas=betas, prediction_type="sample", **options
    )
    made.alphas_cumprod = schedule.alphas_cumprod[1:].clone()
    made.betas, made.alphas = schedule.betas[1:], 1 - schedule.betas[1:]
    made.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    made.one = torch.tensor(1.0, dtype=torch.float64)
    return made


def our_noises(x, count):
    draw = generator(1)
    return [randn(x.shape, draw, dtype=x.dtype) for _ in range(count)]


SHAPE = (3, 4)


@pytest.mark.parametrize("schedule", [linear_schedule(1000), cosine_schedule(1000)])
@pytest.mark.parametrize(
    ("spacing", "steps"), [("leading", 10), ("leading", 53), ("trailing", 50), ("trailing", 1000)]
)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_equals_diffusers_step_for_step(schedule, spacing, steps, eta, monkeypatch):
    theirs = scheduler(
        DDIMScheduler, schedule, timestep_spacing=spacing, clip_sample=False, set_alpha_to_one=True
    )
    theirs.set_timesteps(steps)
    ts = timesteps(schedule, steps, spacing)
    assert theirs.timesteps.tolist() == [t - 1 for t in ts[:-1]]
    x = randn(SHAPE, generator(0), dtype=torch.float64)
    replay(monkeypatch, our_noises(x, steps))
    for (s, ours, _), t in zip(
        ddim(wild, x, schedule, ts, generator(1), eta), ts[:-1], strict=True
    ):
        output = wild(x, t)
        noisy = eta > 0 and s > 0  # at the last step its variance is 0 but for rounding
        x = theirs.step(
            output, t - 1, x, eta=eta if noisy else 0.0, use_clipped_model_output=True
        ).prev_sample
        torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", [linear_schedule(1000), cosine_schedule(1000)])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("steps", [10, 1000])
def test_ddpm_equals_diffusers_step_for_step(schedule, steps, variance, monkeypatch):
    theirs = scheduler(
        DDPMScheduler,
        schedule,
        timestep_spacing="trailing",
        clip_sample=False,
        variance_type=variance,
    )
    theirs.set_timesteps(steps)
    ts = timesteps(schedule, steps)
    assert theirs.timesteps.tolist() == [t - 1 for t in ts[:-1]]
    x = randn(SHAPE, generator(0), dtype=torch.float64)
    replay(monkeypatch, our_noises(x, steps))
    for (s, ours, _), t in zip(
        ddpm(wild, x, schedule, ts, generator(1), variance), ts[:-1], strict=True
    ):
        their_step = theirs.step(wild(x, t), t - 1, x)
        if s > 0:
            x = their_step.prev_sample
            torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, their_step.pred_original_sample, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", [linear_schedule(1000), cosine_schedule(1000)])
@pytest.mark.parametrize("steps", [2, 10, 50])
def test_dpm_solver_equals_diffusers_step_for_step(schedule, steps):
    theirs = scheduler(
        DPMSolverMultistepScheduler,
        schedule,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        algorithm_type="dpmsolver++",
        solver_order=2,
    )
    theirs.set_timesteps(steps)
    ts = timesteps(schedule, steps)
    assert theirs.timesteps.tolist() == [t - 1 for t in ts[:-1]]
    # Their table of σ is float32; ours in float64, so that 1e-5 means the formulas.
    abar = schedule.alphas_cumprod[ts]
    theirs.sigmas = ((1 - abar) / abar).sqrt()
    x = randn(SHAPE, generator(0), dtype=torch.float64)
    for (_, ours, _), t in zip(dpm_solver_pp_2m(wild, x, schedule, ts), ts[:-1], strict=True):
        x = theirs.step(wild(x, t), t - 1, x).prev_sample
        torch.testing.assert_close(ours, x.double(), rtol=1e-5, atol=1e-5)


def test_leading_never_sees_T():
    """Where diffusers' default grid starts: sampling from pure noise, it tells the network that
    5 % of log-SNR's way is done.
    """
    schedule = linear_schedule(1000)
    assert timesteps(schedule, 50, "leading")[0] == 981
    left = math.sqrt(schedule.alphas_cumprod[981].item())
    assert left == pytest.approx(0.0077, abs=2e-4)
