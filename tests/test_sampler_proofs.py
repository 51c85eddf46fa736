"""Every sampler × parameterisation × schedule × spacing × number of steps draws what it must.

Gaussian and point-mass data: mean and standard deviation equal closed forms, with no random number
drawn. Mixtures: the distribution is carried through the same recursion by numpy on a fine grid of
x, and 40,000 draws must lie within its band of confidence 1 − 1e-6.
"""

import math
from itertools import pairwise

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
    rescale_zero_terminal_snr,
    sample,
    timesteps,
)
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
INVALID = ("ending in noise", "eps")


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
    """Mean and standard deviation of what the sampler draws, for data that keep it affine.

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


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_gaussian_and_point_mass_data_are_drawn_with_the_exact_moments(
    sampler, schedule, prediction, monkeypatch
):
    if (schedule, prediction) == INVALID:
        return  # see the next test
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


def drawn(schedule=None, **options):
    schedule = schedule or linear_schedule(20)
    return sample(gaussian_oracle(0.0, 1.0, schedule), (1, 1), schedule, **options)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    {
        "eps where the end is pure noise": (
            lambda: Denoiser(nn.Identity(), SCHEDULES[INVALID[0]], INVALID[1]),
            "An eps network cannot be used where ᾱ_T = 0",
        ),
        "more steps than T": (lambda: drawn(steps=21), "takes 1 to T = 20 steps, not 21"),
        "no step": (lambda: drawn(steps=0), "takes 1 to T = 20 steps, not 0"),
        "unknown spacing": (lambda: drawn(steps=5, spacing="even"), "Unknown spacing 'even'"),
        "eta of ddpm": (lambda: drawn(sampler="ddpm", steps=5, eta=0.5), "ddpm takes no eta"),
        "variance of ddim": (
            lambda: drawn(sampler="ddim", steps=5, variance="fixed_large"),
            "ddim takes no variance",
        ),
        "eta of the solver": (
            lambda: drawn(sampler="dpm_solver_pp_2m", steps=5, eta=0.0), "takes no eta"
        ),
        "a second generator": (
            lambda: drawn(steps=5, generator=generator(0)), "ddim takes no generator"
        ),
        "eta above 1": (lambda: drawn(steps=5, eta=1.5), "eta runs from 0"),
        "unknown variance": (
            lambda: drawn(sampler="ddpm", steps=5, variance="learned"), "not 'learned'"
        ),
        "a schedule of one step that ends in noise": (
            lambda: rescale_zero_terminal_snr(linear_schedule(1)), "cannot both keep"
        ),
    }.values(),
)  # fmt: skip
def test_invalid_combinations_are_refused_in_a_sentence(request_, sentence):
    with pytest.raises(ValueError, match=sentence):
        request_()


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
def test_mixtures_are_drawn_as_an_independent_transport_says(kind, schedule):
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
def test_mixtures_come_closer_to_the_data_with_every_step(kind, schedule):
    """What is left at T = 200 steps is the discretisation, at most 0.02 of cumulative probability;
    at 10 steps it is several times that.
    """
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
