"""Every sampler × parameterisation × schedule × spacing × number of steps has the right samples.

Gaussian and point-mass data: mean and standard deviation equal closed forms, without any random
number. Mixtures: numpy carries the distribution through the same recursion on a fine grid of x, and
40,000 samples must lie within its band of confidence 1 − 1e-6.
"""

import math
from itertools import pairwise, product

import numpy as np
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
    table, (walk, options, closed_form) = SCHEDULES[schedule], SAMPLERS[sampler]
    for steps, spacing in GRIDS:  # at T steps all spacings are one
        ts = timesteps(table, table.T if steps == "T" else steps, spacing)
        for std in (0.5, 0.0):
            oracle = gaussian_oracle(MEAN, std, table)
            net = Answers(oracle, table, prediction)
            denoise = Denoiser(net, table, prediction, clip=False)
            got = moments(walk, options, denoise, table, ts, monkeypatch)
            expected = closed_form(table.alphas_cumprod.numpy(), ts, MEAN, std)
            assert got == pytest.approx(expected, rel=1e-7, abs=1e-8), (steps, spacing, std)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_at_T_steps_all_spacings_are_one(spacing):
    for schedule in SCHEDULES.values():
        assert timesteps(schedule, schedule.T, spacing) == list(range(schedule.T, -1, -1))


# ---- mixtures: a density on a grid of x

WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-0.8, 0.5]), np.array([0.15, 0.25])
X = np.linspace(-4.5, 4.5, 1201)
DX = X[1] - X[0]
SHORT = {"linear": linear_schedule(200, 5e-4, 0.1), "cosine": cosine_schedule(200)}
DRAWS, CONFIDENCE = 40_000, 1 - 1e-6
BAND = math.sqrt(math.log(2 / (1 - CONFIDENCE)) / (2 * DRAWS))  # Dvoretzky, Kiefer, Wolfowitz


def best_guess(x, abar):
    """E[x_0 | x_t] of the mixture."""
    var = abar * STDS**2 + 1 - abar
    gap = x[:, None] - math.sqrt(abar) * MEANS
    log = np.log(WEIGHTS) - gap**2 / (2 * var) - 0.5 * np.log(var)
    share = np.exp(log - log.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    return (share * (MEANS + math.sqrt(abar) * STDS**2 / var * gap)).sum(1)


def stochastic_step(kind, x, abar_t, abar_s):
    """Mean of x_s for each x_t, and its variance."""
    x0, alpha = best_guess(x, abar_t), abar_t / abar_s
    beta = (1 - abar_s) / (1 - abar_t) * (1 - alpha)
    variance = {"ddpm, large": 1 - alpha, "ddim, eta 0.4": 0.16 * beta}.get(kind, beta)
    # fixed_large enlarges the noise alone: its mean stays the posterior's
    eps_share = 1 - abar_s - (beta if kind == "ddpm, large" else variance)
    eps = (x - math.sqrt(abar_t) * x0) / math.sqrt(1 - abar_t)
    return math.sqrt(abar_s) * x0 + math.sqrt(max(eps_share, 0.0)) * eps, variance


def transported(kind, abar, ts):
    """The cumulative distribution of x_0 on X."""
    density = np.exp(-(X**2) / 2)
    density /= density.sum()  # masses of cells
    for t, s in pairwise(ts):
        mean, variance = stochastic_step(kind, X, abar[t], abar[s])
        if s == 0:
            break
        kernel = np.exp(-((X[:, None] - mean) ** 2) / (2 * variance))
        kernel /= kernel.sum(0)
        density = kernel @ density
    # The last step adds no noise: it moves each cell's mass to mean(x), which rises with x.
    assert (np.diff(mean) > 0).all()
    middle = np.cumsum(density) - density / 2
    return np.interp(X, mean, middle, left=0.0, right=1.0)


def carried(kind, abar, ts):
    """The same for the samplers without noise: they carry each x_T to one x_0."""
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    x = np.sort(torch.special.ndtri(torch.from_numpy(quantiles)).numpy())
    lam = [0.5 * math.log(a / (1 - a)) if a < 1 else math.inf for a in abar]
    old = None
    for t, s in pairwise(ts):
        x0 = best_guess(x, abar[t])
        guess, h = x0, lam[s] - lam[t]
        if kind == "dpm_solver_pp_2m" and old is not None and s > 0:
            guess = x0 + (x0 - old[0]) * h / (2 * old[1])
        ratio = math.sqrt((1 - abar[s]) / (1 - abar[t]))
        x = ratio * x + math.sqrt(abar[s]) * (1 - math.exp(-h)) * guess
        old = x0, h
    return np.searchsorted(np.sort(x), X, side="right") / len(x)


def law(kind, abar, ts):
    return (carried if kind in ("ddim", "dpm_solver_pp_2m") else transported)(kind, abar, ts)


@pytest.mark.parametrize("schedule", SHORT)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_samples_of_mixtures_follow_an_independent_transport(kind, schedule):
    table, (walk, options, _) = SHORT[schedule], SAMPLERS[kind]
    weights, means, stds = (torch.from_numpy(v) for v in (WEIGHTS, MEANS, STDS))
    denoise = mixture_oracle(weights, means[:, None], stds, table)
    x_T = randn((DRAWS, 1), generator(0), dtype=torch.float64)
    for steps, spacing in ((1, "trailing"), (2, "trailing"), (10, "logsnr"), (50, "trailing"),
                           (table.T, "trailing")):  # fmt: skip
        ts = timesteps(table, steps, spacing)
        expected = law(kind, table.alphas_cumprod.numpy(), ts)
        *_, (_, x, _) = walk(denoise, x_T, table, ts, generator(1), **options)
        found = np.searchsorted(np.sort(x.flatten().numpy()), X, side="right") / DRAWS
        assert np.abs(found - expected).max() < BAND, (steps, spacing)


@pytest.mark.parametrize("schedule", SHORT)
@pytest.mark.parametrize("kind", SAMPLERS)
def test_more_steps_bring_samples_closer_to_the_data(kind, schedule):
    """T = 200 steps leave an error of at most 0.02 of cumulative probability; 10 leave more."""
    table = SHORT[schedule]
    data = sum(
        w * 0.5 * (1 + torch.erf(torch.from_numpy((X - m) / s / 2**0.5)).numpy())
        for w, m, s in zip(WEIGHTS, MEANS, STDS, strict=True)
    )
    errors = [
        np.abs(law(kind, table.alphas_cumprod.numpy(), timesteps(table, steps)) - data).max()
        for steps in (10, 50, table.T)
    ]
    assert errors[0] > 1.5 * errors[1] > 1.5 * 1.5 * errors[2], errors
    assert errors[2] < 0.02, errors
