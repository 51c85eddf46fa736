"""Every sampler × parameterisation × schedule × spacing × number of steps has the right samples.

Gaussian and point-mass data: mean and standard deviation equal closed forms, without any random
number. Mixtures: 40,000 samples come ever closer to the data's own distribution.
"""

import math
from itertools import product

import pytest
import torch
from helpers import SCHEDULES
from reference import ancestral_moments, ddim_moments, dpm_solver_moments
from torch import nn

from ddpm_course import (
    SPACINGS,
    Denoiser,
    convert,
    cosine_schedule,
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    gaussian_oracle,
    linear_schedule,
    mixture_oracle,
    timesteps,
)
from ddpm_course.diffusion import PREDICTIONS
from ddpm_course.rng import generator, randn

MEAN = -0.3
SAMPLERS = {
    "ddpm": (ddpm, {}, ancestral_moments),
    "ddpm, large": (
        ddpm, {"variance": "fixed_large"}, lambda *a: ancestral_moments(*a, large=True)
    ),
    "ddim": (ddim, {}, ddim_moments),
    "ddim, eta 0.4": (ddim, {"eta": 0.4}, lambda *a: ddim_moments(*a, eta=0.4)),
    "ddim, eta 1": (ddim, {"eta": 1.0}, ancestral_moments),
    "dpm_solver_pp_2m": (dpm_solver_pp_2m, {}, dpm_solver_moments),
}  # fmt: skip
GRIDS = [(steps, spacing) for steps in (1, 2, 10, 50) for spacing in SPACINGS] + [("T", "trailing")]
INVALID = ("ending in noise", "eps")  # test_diffusion.py sees it refused


class Answers(nn.Module):
    """An oracle in the shape of a network: it predicts ε, x_0 or v and counts t from 0."""

    def __init__(self, oracle, schedule, prediction):
        super().__init__()
        self.oracle, self.schedule, self.prediction = oracle, schedule, prediction

    def forward(self, x, t):
        time = int(t[0]) + 1
        x0 = self.oracle(x, time)
        return convert(x0, x, time, self.schedule, source="x0", target=self.prediction)


def moments(sampler, options, denoise, schedule, ts, monkeypatch):
    """Mean and standard deviation of the samples, for data that keep the sampler affine.

    x_0 is then G x_T + H plus a multiple of each step's noise. One batch finds them all: row 0 has
    no noise, row 1 starts at x_T = 1, and row k + 2 gets a noise of 1 at step k.
    """
    steps, calls = len(ts) - 1, []

    def unit(x, generators):
        calls.append(1)
        noise = torch.zeros_like(x)
        noise[len(calls) + 1] = 1
        return noise

    monkeypatch.setattr("ddpm_course.samplers.randn_like", unit)
    x_T = torch.zeros(steps + 2, 1, dtype=torch.float64)
    x_T[1] = 1
    *_, (_, x_0, _) = sampler(denoise, x_T, schedule, ts, **options)
    assert len(calls) in (0, steps - 1)  # every step but the last, or none
    at_0, *effects = x_0.flatten().tolist()
    return at_0, math.sqrt(sum((effect - at_0) ** 2 for effect in effects))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(
    ("schedule", "prediction"),
    [pair for pair in product(SCHEDULES, PREDICTIONS) if pair != INVALID],
)
def test_samples_of_gaussian_and_point_mass_data_have_the_exact_moments(
    sampler, schedule, prediction, monkeypatch
):
    table, (steps_of, options, closed_form) = SCHEDULES[schedule], SAMPLERS[sampler]
    for steps, spacing in GRIDS:  # at T steps all spacings are one
        ts = timesteps(table, table.T if steps == "T" else steps, spacing)
        for std in (0.5, 0.0):
            oracle = gaussian_oracle(MEAN, std, table)
            net = Answers(oracle, table, prediction)
            denoise = Denoiser(net, table, prediction, clip=False)
            got = moments(steps_of, options, denoise, table, ts, monkeypatch)
            expected = closed_form(table.alphas_cumprod.numpy(), ts, MEAN, std)
            assert got == pytest.approx(expected, rel=1e-7, abs=1e-8), (steps, spacing, std)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_at_T_steps_all_spacings_are_one(spacing):
    for schedule in SCHEDULES.values():
        assert timesteps(schedule, schedule.T, spacing) == list(range(schedule.T, -1, -1))


# ---- mixtures, with real noise

WEIGHTS, MEANS, STDS = (torch.tensor(v).double() for v in ((0.3, 0.7), (-0.8, 0.5), (0.15, 0.25)))
SHORT = {"linear": linear_schedule(200, 5e-4, 0.1), "cosine": cosine_schedule(200)}
NUMBER, CONFIDENCE = 40_000, 1 - 1e-6
BAND = math.sqrt(math.log(2 / (1 - CONFIDENCE)) / (2 * NUMBER))  # Dvoretzky, Kiefer, Wolfowitz


@pytest.mark.parametrize("schedule", SHORT)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_more_steps_bring_samples_closer_to_a_mixture(kind, schedule):
    """With as many steps as T = 200, the distribution is off by at most 0.02, beside chance."""
    table, (sampler, options, _) = SHORT[schedule], SAMPLERS[kind]
    denoise = mixture_oracle(WEIGHTS, MEANS[:, None], STDS, table)
    x_T = randn((NUMBER, 1), generator(0), dtype=torch.float64)
    ranks, errors = torch.arange(1, NUMBER + 1) / NUMBER, []
    for steps in (2, 10, table.T):
        *_, (_, x, _) = sampler(
            denoise, x_T, table, timesteps(table, steps), generator(1), **options
        )
        exact = torch.special.ndtr((x.sort(0).values - MEANS) / STDS) @ WEIGHTS
        errors.append((exact - ranks).abs().max().item())
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.5 * errors[2], errors
    assert errors[2] < 0.02 + BAND, errors
