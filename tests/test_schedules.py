import math

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_course import (
    SCHEDULES,
    Denoiser,
    NoiseSchedule,
    cosine_schedule,
    from_betas,
    linear_schedule,
    rescale_zero_terminal_snr,
    sigmoid_schedule,
    timesteps,
)


def test_linear_reference_values():
    schedule = linear_schedule()
    assert schedule.T == 1000
    assert schedule.alphas_cumprod[0] == 1
    assert schedule.alphas_cumprod[1].item() == pytest.approx(0.9999, rel=1e-12)
    assert schedule.alphas_cumprod[500].item() == pytest.approx(0.07858724288177824, rel=1e-12)
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(4.03583e-5, rel=1e-6)
    np.testing.assert_allclose(schedule.betas[1:], np.linspace(1e-4, 0.02, 1000), rtol=1e-9)


def test_original_experiment_keeps_17_percent_of_the_image():
    schedule = linear_schedule(350)
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(0.0289779, abs=5e-8)
    assert schedule.sqrt_alphas_cumprod[-1].item() == pytest.approx(0.17023, abs=5e-6)
    assert schedule.log_snr[-1].item() == pytest.approx(-3.512, abs=5e-4)


def test_scaling_beta_by_1000_over_T_repairs_it_unless_beta_reaches_1():
    scaled = linear_schedule(350, 1e-4 * 1000 / 350, 2e-2 * 1000 / 350)
    assert scaled.alphas_cumprod[-1].item() == pytest.approx(3.54501e-5, rel=1e-5)
    with pytest.raises(ValueError, match=r"between 0 and 1, but β_20 is 1"):
        linear_schedule(20, 1e-4 * 50, 2e-2 * 50)


def test_cosine_reference_values_and_only_the_last_beta_is_clipped():
    schedule = cosine_schedule(1000)
    assert schedule.betas[1].item() == pytest.approx(4.12842e-5, rel=1e-5)
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(2.42877e-9, rel=1e-5)
    assert 1 / schedule.sqrt_alphas_cumprod[-1].item() == pytest.approx(20291, abs=0.5)
    assert (schedule.betas >= 0.999 - 1e-12).nonzero().flatten().tolist() == [1000]
    assert cosine_schedule(350).alphas_cumprod[-1].item() == pytest.approx(1.98266e-8, rel=1e-5)


def test_a_sigmoid_from_0_to_3_falls_fast_at_first():
    half = sigmoid_schedule(2, start=0.0, end=3.0, tau=0.5).alphas_cumprod[1].item()
    low, middle = (1 / (1 + math.exp(2 * u)) for u in (3.0, 1.5))
    assert half == pytest.approx((middle - low) / (0.5 - low), rel=1e-12)


def test_sigmoid_is_symmetric_and_floored():
    schedule = sigmoid_schedule(1000)
    assert schedule.alphas_cumprod[500].item() == pytest.approx(0.5, abs=1e-12)
    assert schedule.alphas_cumprod[-1].item() == 1e-9
    # γ(τ) of Jabri et al., evaluated by hand at t/T = 1/4: (σ(3/2) − σ(−3)) / (σ(3) − σ(−3))
    low, high, here = (1 / (1 + np.exp(-x)) for x in (-3, 3, 1.5))
    assert schedule.alphas_cumprod[250].item() == pytest.approx((here - low) / (high - low))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [1, 2, 350, 1000, 4000])
def test_every_schedule_is_one_table(name, T):
    schedule = SCHEDULES[name](T)
    abar, betas = schedule.alphas_cumprod, schedule.betas
    assert abar.dtype == torch.float64
    assert abar.device.type == "cpu"
    assert len(abar) == len(betas) == len(schedule.log_snr) == T + 1
    assert betas[0] == 0
    assert ((betas[1:] > 0) & (betas[1:] < 1)).all()
    torch.testing.assert_close((1 - betas).cumprod(0), abar, rtol=1e-6, atol=0)
    torch.testing.assert_close(schedule.snr[1:], abar[1:] / (1 - abar[1:]))
    torch.testing.assert_close(schedule.log_snr[1:].exp(), schedule.snr[1:])


def test_schedule_is_never_cast():
    denoiser = Denoiser(nn.Linear(1, 1), linear_schedule()).bfloat16()
    assert denoiser.schedule.alphas_cumprod.dtype == torch.float64
    # In bfloat16, ᾱ would be 1 for t = 1..10; for a bfloat16 batch its factors are still float32.
    x = torch.ones(10, 1, dtype=torch.bfloat16)
    a, b = denoiser.schedule.signal_noise(torch.arange(1, 11), x)
    assert a.dtype == b.dtype == torch.float32
    assert (a < 1).all()
    assert (linear_schedule().alphas_cumprod[1:11].bfloat16() == 1).all()


def test_factors_of_signal_and_noise():
    """They broadcast over the batch, not over the width, and are floats where t is an int."""
    schedule, x = linear_schedule(10), torch.zeros(4, 3, 4, 4, dtype=torch.float64)
    a, b = schedule.signal_noise(torch.tensor([0, 1, 5, 10]), x)
    assert a.shape == b.shape == (4, 1, 1, 1)
    abar = schedule.alphas_cumprod
    torch.testing.assert_close(a.flatten(), abar[[0, 1, 5, 10]].sqrt())
    torch.testing.assert_close(b.flatten(), (1 - abar[[0, 1, 5, 10]]).sqrt())
    assert schedule.signal_noise(5, x) == (abar[5].sqrt().item(), (1 - abar[5]).sqrt().item())


@pytest.mark.parametrize("t", [-1, 11, torch.tensor([3, 11]), torch.tensor([-1, 3])])
def test_time_outside_the_schedule_is_refused(t):
    with pytest.raises(IndexError, match=r"t must lie in 0\.\.10"):
        linear_schedule(10).signal_noise(t, torch.zeros(2, 1))


def test_zero_terminal_snr():
    schedule = rescale_zero_terminal_snr(linear_schedule())
    assert schedule.alphas_cumprod[-1] == 0
    assert schedule.betas[-1] == 1
    assert schedule.log_snr[-1] == -torch.inf
    assert schedule.alphas_cumprod[1].item() == pytest.approx(0.9999)
    with pytest.raises(ValueError, match="one step"):
        rescale_zero_terminal_snr(linear_schedule(1))


@pytest.mark.parametrize("betas", [[0.0, 0.1], [0.1, 1.0], [0.1, -0.1], [0.1, float("nan")]])
def test_beta_outside_0_1_is_refused(betas):
    with pytest.raises(ValueError, match="Every β must lie between 0 and 1"):
        from_betas(torch.tensor(betas))


@pytest.mark.parametrize(
    "table",
    [[1.0], [0.9, 0.5], [1.0, 0.5, 0.5], [1.0, 0.5, 0.6], [1.0, 0.5, -0.1], [[1.0, 0.5]]],
)
def test_bad_tables_are_refused(table):
    with pytest.raises(ValueError, match="ᾱ"):
        NoiseSchedule(torch.tensor(table))


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_steps_and_too_many_are_refused(name):
    assert SCHEDULES[name]().T == 1000
    with pytest.raises(ValueError, match="T must be 1 or more"):
        SCHEDULES[name](0)
    with pytest.raises(ValueError, match="at most a million steps"):
        SCHEDULES[name](1_000_001)


def test_grid_values():
    schedule = linear_schedule(1000)
    assert timesteps(schedule, 4, "trailing") == [1000, 750, 500, 250, 0]
    assert timesteps(schedule, 4, "linspace") == [1000, 667, 334, 1, 0]
    assert timesteps(schedule, 4, "leading") == [751, 501, 251, 1, 0]


def test_logsnr_grid_is_even_in_log_snr():
    schedule = linear_schedule(1000)
    grid = timesteps(schedule, 8, "logsnr")[:-1]
    assert (grid[0], grid[-1]) == (1000, 1)
    steps = schedule.log_snr[grid].diff()
    assert steps.std() / steps.mean() < 0.08
    uneven = schedule.log_snr[timesteps(schedule, 8, "linspace")[:-1]].diff()
    assert uneven.std() / uneven.mean() > 0.5


def test_logsnr_grid_where_the_last_snr_is_zero():
    schedule = rescale_zero_terminal_snr(linear_schedule())
    grid = timesteps(schedule, 10, "logsnr")
    assert grid[0] == 1000
    assert len(grid) == 11
    # T stands 1.395 below the last finite value, −19.285; from there even strides lead to 9.21.
    targets = torch.linspace(-19.2850 - 1.3954, 9.2102, 10)
    torch.testing.assert_close(schedule.log_snr[grid[1:-1]].float(), targets[1:], atol=0.5, rtol=0)


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_steps_outside_1_T_are_refused(steps):
    with pytest.raises(ValueError, match=f"1 to T = 10 steps, not {steps}"):
        timesteps(linear_schedule(10), steps)


def test_unknown_spacing_is_refused():
    with pytest.raises(ValueError, match="choose one of trailing, linspace, leading, logsnr"):
        timesteps(linear_schedule(10), 5, "karras")
