import math

import numpy as np
import pytest
import torch

from ddpm_course import (
    SAMPLERS,
    Denoiser,
    NoiseSchedule,
    cosine_schedule,
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    gaussian_oracle,
    linear_schedule,
    sample,
    timesteps,
)
from ddpm_course.rng import generator, image_generators, randn

MEAN, STD = -0.3, 0.5
SCHEDULE = linear_schedule(1000)


def last(steps):
    *_, (_, x, _) = steps
    return x


def test_ddim_shrinks_unit_gaussian_data_by_the_product_of_cosines():
    oracle = gaussian_oracle(0.0, 1.0, SCHEDULE)
    for steps, expected in ((10, 0.814586), (50, 0.963383), (1000, 0.998124)):
        ts = timesteps(SCHEDULE, steps, "linspace")
        x = last(ddim(oracle, torch.ones(1, 1, dtype=torch.float64), SCHEDULE, ts)).item()
        theta = SCHEDULE.alphas_cumprod[ts].sqrt().arccos()
        assert x == pytest.approx(expected, abs=5e-7)
        assert x == pytest.approx(theta.diff().cos().prod().item(), rel=1e-10)


def test_convergence_orders():
    """On a grid even in log-SNR, halving the step divides the error of DDIM by 2 and of the
    second-order solver by 4.
    """
    errors = {}
    for N in (40, 80, 160):
        lam = np.linspace(-5.05, 4.6, N + 1)
        table = torch.tensor(np.concatenate([[1.0], (1 / (1 + np.exp(-2 * lam)))[::-1]]))
        schedule, ts = NoiseSchedule(table), list(range(N + 1, 0, -1))
        x_T = torch.tensor([[1.3]], dtype=torch.float64)
        a, b = (schedule.sqrt_alphas_cumprod[t].item() for t in (N + 1, 1))
        std = [math.sqrt(c * c * STD**2 + 1 - c * c) for c in (a, b)]
        exact = b * MEAN + (1.3 - a * MEAN) * std[1] / std[0]
        oracle = gaussian_oracle(MEAN, STD, schedule)
        for sampler in (ddim, dpm_solver_pp_2m):
            error = abs(last(sampler(oracle, x_T, schedule, ts)).item() - exact)
            errors[sampler.__name__, N] = error
    assert errors["ddim", 40] == pytest.approx(3.809e-2, rel=1e-3)
    assert errors["dpm_solver_pp_2m", 40] == pytest.approx(2.315e-3, rel=1e-3)
    for name, order in (("ddim", 1), ("dpm_solver_pp_2m", 2)):
        measured = math.log2(errors[name, 80] / errors[name, 160])
        assert measured == pytest.approx(order, abs=0.05)


def bad_estimate(x_t, t):
    """A bad network's clipped estimate, so that clipping bites at every step."""
    return (3 * torch.sin(5 * x_t)).clamp(-1, 1)


@pytest.mark.parametrize("steps", [1, 7, 50, 1000])
def test_ddim_with_eta_1_is_ddpm_also_where_x0_is_clipped(steps):
    x_T, ts = randn((4, 3), generator(0), dtype=torch.float64), timesteps(SCHEDULE, steps)
    pairs = zip(
        ddpm(bad_estimate, x_T, SCHEDULE, ts, generator(1)),
        ddim(bad_estimate, x_T, SCHEDULE, ts, generator(1), eta=1.0),
        strict=True,
    )
    for (s, x, x0), (s2, x2, x02) in pairs:
        assert s == s2
        torch.testing.assert_close(x, x2, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(x0, x02, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_step_is_named_and_denoised_at_its_own_time(name):
    heard = []

    def denoise(x, t):
        heard.append(t)
        return bad_estimate(x, t)

    ts = timesteps(SCHEDULE, 5)
    steps = list(SAMPLERS[name](denoise, torch.zeros(2, 3), SCHEDULE, ts, generator(0)))
    assert heard == ts[:-1]
    assert [s for s, _, _ in steps] == ts[1:]
    torch.testing.assert_close(steps[-1][1], steps[-1][2])  # at s = 0, x_0 is the last estimate


@pytest.mark.parametrize("name", SAMPLERS)
def test_x_t_itself_is_never_clipped(name):
    """Neither what a step leaves behind nor what the denoiser is shown."""
    shown = []

    def watched(x, t):
        shown.append(x)
        return bad_estimate(x, t)

    x_T = 3 * torch.ones(4, 2)
    (_, first, _), _ = SAMPLERS[name](watched, x_T, SCHEDULE, [1000, 900, 0])
    assert first.abs().max() > 1
    assert torch.equal(torch.stack(shown), torch.stack([x_T, first]))


@pytest.mark.parametrize("name", SAMPLERS)
def test_image_k_does_not_depend_on_the_batch(name, small_net):
    denoiser = Denoiser(small_net, cosine_schedule(100), "v")
    many = sample(denoiser, (5, 3, 8, 8), denoiser.schedule, sampler=name, steps=6, seed=3)
    one = sample(denoiser, (1, 3, 8, 8), denoiser.schedule, sampler=name, steps=6, seed=3)
    torch.testing.assert_close(many[:1], one, rtol=1e-4, atol=1e-5)
    rest = sample(denoiser, (3, 3, 8, 8), denoiser.schedule, sampler=name, steps=6, seed=3, first=2)
    torch.testing.assert_close(many[2:], rest, rtol=1e-4, atol=1e-5)
    other = sample(denoiser, (1, 3, 8, 8), denoiser.schedule, sampler=name, steps=6, seed=4)
    assert (one - other).abs().max() > 0.05


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_graph_grows_along_the_way(name, small_net):
    denoiser = Denoiser(small_net, SCHEDULE)
    x_T = randn((1, 3, 8, 8), generator(0))
    for _, x, _ in SAMPLERS[name](denoiser, x_T, SCHEDULE, [1000, 500, 0], generator(1)):
        assert not x.requires_grad
    assert next(small_net.parameters()).requires_grad


def test_seeds_differ_in_more_than_32_bits():
    """torch's CPU generator keeps 32 bits of a seed; names that differ above them still differ."""
    draws = [torch.rand((), generator=generator(*name)).item() for name in ((1,), (1 + 2**32,), (1, 0), (0, 1), (1, 1))]  # noqa: E501  # fmt: skip
    assert len(set(draws)) == 5
    with pytest.raises(ValueError, match="0 or more"):
        generator(-1)


def test_one_generator_per_image():
    rows = randn((3, 4), image_generators(7, 3))
    assert torch.equal(rows[1], randn((1, 4), [generator(7, 1)])[0])
    with pytest.raises(ValueError, match="one per image"):
        randn((2, 4), image_generators(7, 3))


def test_by_default_ddim_takes_50_trailing_steps_from_seed_0():
    options = {"sampler": "ddim", "steps": 50, "spacing": "trailing", "seed": 0}
    by_default = sample(bad_estimate, (2, 3), SCHEDULE)
    assert torch.equal(by_default, sample(bad_estimate, (2, 3), SCHEDULE, **options))
    for name, other in {"steps": 49, "seed": 1, "spacing": "logsnr", "sampler": "ddpm"}.items():
        assert not torch.equal(
            by_default, sample(bad_estimate, (2, 3), SCHEDULE, **options | {name: other})
        )


def test_progress_sees_every_step():
    seen = []

    def progress(steps):
        for step in steps:
            seen.append(step[0])
            yield step

    sample(bad_estimate, (2, 3), SCHEDULE, steps=4, progress=progress)
    assert seen == [750, 500, 250, 0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampler": "euler"}, "choose one of ddpm, ddim, dpm_solver_pp_2m"),
        ({"steps": 0}, "1 to T = 1000 steps, not 0"),
        ({"steps": 1001}, "1 to T = 1000 steps, not 1001"),
        ({"spacing": "karras"}, "Unknown spacing"),
        ({"sampler": "ddim", "eta": 1.5}, "eta runs from 0"),
        ({"sampler": "ddim", "eta": -0.5}, "eta runs from 0"),
        ({"sampler": "ddpm", "variance": "learned"}, "fixed_small"),
        ({"sampler": "ddpm", "eta": 0.5}, "eta"),
        ({"sampler": "dpm_solver_pp_2m", "eta": 0.0}, "eta"),
        ({"sampler": "ddim", "variance": "fixed_large"}, "variance"),
    ],
)
def test_bad_requests_are_refused(options, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        sample(bad_estimate, (2, 3), SCHEDULE, **options)
