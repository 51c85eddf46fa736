"""What holds for every schedule, posterior, conversion and grid, tried on many at random."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_course import (
    SPACINGS,
    from_betas,
    linear_schedule,
    q_posterior,
    timesteps,
)

many = settings(max_examples=150, deadline=None, derandomize=True)
betas = st.floats(1e-6, 0.9, exclude_max=True)
Ts = st.integers(1, 4000)


@st.composite
def schedules(draw, least=1):
    """From any β: up to 60 drawn one by one, or a straight line of any length up to 4000."""
    if draw(st.booleans()):
        return from_betas(torch.tensor(draw(st.lists(betas, min_size=least, max_size=60))).double())
    start, T = draw(st.floats(1e-6, 0.01)), draw(st.integers(least, 4000))
    return linear_schedule(T, start, draw(st.floats(start, min(0.5, 600 / T))))


@many
@given(st.data(), schedules())
def test_every_schedule_falls_and_splits_the_variance(data, schedule):
    a, b = schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod
    assert schedule.alphas_cumprod[0] == 1
    assert bool((schedule.alphas_cumprod.diff() < 0).all())
    assert bool((schedule.log_snr.diff() < 0).all())
    torch.testing.assert_close(a**2 + b**2, torch.ones_like(a), rtol=1e-12, atol=0)
    t = data.draw(st.integers(1, schedule.T))
    ratio = schedule.alphas_cumprod[t] / schedule.alphas_cumprod[t - 1]
    assert schedule.betas[t] == pytest.approx(1 - ratio.item(), rel=1e-9)


@many
@given(st.data(), schedules())
def test_the_posterior_undoes_a_step_forward(data, schedule):
    """Marginalised over x_t it gives back q(x_s | x_0): mean √ᾱ_s x_0 and variance 1 − ᾱ_s."""
    t = data.draw(st.integers(1, schedule.T))
    s = data.draw(st.integers(0, t - 1))
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    of_x0, variance = q_posterior(one, zero, t, s, schedule)
    of_x_t, _ = q_posterior(zero, one, t, s, schedule)
    abar = schedule.alphas_cumprod
    back = of_x0 + of_x_t * abar[t].sqrt()
    assert back.item() == pytest.approx(abar[s].sqrt().item(), rel=1e-7)
    spread = of_x_t.item() ** 2 * (1 - abar[t].item()) + variance
    assert spread == pytest.approx(1 - abar[s].item(), rel=1e-6, abs=1e-12)
    assert 0 <= variance <= 1 - (abar[t] / abar[s]).item() + 1e-15


@many
@given(Ts, st.data(), st.sampled_from(sorted(SPACINGS)))
def test_every_grid_falls_from_T_or_below_to_0(T, data, spacing):
    few = 60 if spacing == "logsnr" else T  # it looks at all T for every step
    steps = data.draw(st.integers(1, min(T, few)))
    schedule = linear_schedule(T, 1e-5, min(0.02, 600 / T))
    ts = timesteps(schedule, steps, spacing)
    assert len(ts) == steps + 1
    assert ts[-1] == 0
    assert all(isinstance(t, int) and t > s for t, s in pairwise(ts))
    assert ts[0] <= T
    assert (ts[0] == T) or spacing == "leading"
    if spacing == "trailing":
        assert all(abs(t - T * (steps - k) / steps) <= 0.5 for k, t in enumerate(ts))
    if spacing == "linspace" and steps > 1:
        assert ts[-2] == 1
        assert all(
            abs(t - (T - k * (T - 1) / (steps - 1))) <= 0.5 + 1e-9 for k, t in enumerate(ts[:-1])
        )
    if spacing == "leading":
        assert {t - s for t, s in pairwise(ts[:-1])} <= {math.floor(T / steps)}
