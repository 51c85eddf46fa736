"""Questions whose right answer is known on paper, asked of the package as it stands.

Each takes about a second and names the test that asks the same, more strictly. The notebook on
faults looks through them at a package in which something is broken.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddpm_course.data.images import to_unit
from ddpm_course.diffusion import Denoiser
from ddpm_course.oracles import gaussian_oracle
from ddpm_course.rng import generator
from ddpm_course.samplers import SAMPLERS
from ddpm_course.schedules import cosine_schedule, from_betas, timesteps
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.ema import EMA
from ddpm_course.training.loop import train
from ddpm_course.unet import UNet


class Probe(NamedTuple):
    """What it asks, how it measures, and from `low` to `high` what is right."""

    asks: str
    measure: Callable[[], float]
    low: float
    high: float
    test: str

    def ask(self) -> float:
        """The answer of the package as it is now; NaN where it stops with a division by zero.
        Torch's global generator is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            try:
                return self.measure()
            except ArithmeticError:
                return math.nan

    def right(self, value: float) -> bool:
        return self.low <= value <= self.high  # so NaN is never right


def draw_bell(sampler: str, std: float, steps: int, **options) -> Tensor:
    """What a sampler draws, f[20000,1], from the exact denoiser of a bell of width `std`."""
    schedule = cosine_schedule(1000)
    x_T = torch.randn(20_000, 1, generator=generator(1))
    walk = SAMPLERS[sampler](
        gaussian_oracle(0.0, std, schedule), x_T, schedule, timesteps(schedule, steps),
        generator(2), **options,
    )  # fmt: skip
    *_, (_, x, _) = walk
    return x


def _width(*arguments, **options) -> float:
    return draw_bell(*arguments, **options).std().item()


def _room_for_noise() -> float:
    schedule = cosine_schedule(1000)
    return schedule.sqrt_one_minus_alphas_cumprod[1].item()


class _Knows(nn.Module):
    """Names the noise exactly where every picture is the constant 1; remembers the times."""

    def __init__(self, schedule):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.schedule, self.times = schedule, set[int]()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.times |= set((t + 1).tolist())
        a, b = self.schedule.signal_noise(t + 1, x)
        return (x - a) / b + self.weight


def _of_five_steps() -> Denoiser:
    schedule = from_betas(torch.linspace(0.1, 0.9, 5))
    return Denoiser(_Knows(schedule), schedule, "eps", clip=False)


def times_met() -> list[int]:
    """Every t that 20 steps of training meet, T = 5, from the smallest."""
    denoiser = _of_five_steps()
    config = TrainConfig(steps=20, log_every=20)
    for _ in train(denoiser, lambda step: {"x0": torch.ones(32, 1)}, config):
        pass
    return sorted(denoiser.net.times)


def _loss_of_one_who_knows() -> float:
    t = torch.arange(500) % 5 + 1
    noise = torch.randn(500, 1, generator=generator(3))
    return _of_five_steps().loss(torch.ones(500, 1), t, noise).mean().item()


def averages(decay: float, updates: int) -> list[float]:
    """The averaged weight after each update, where the weight itself went from 1 to 0."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    average = EMA(model, decay)
    nn.init.zeros_(model.weight)
    found = []
    for _ in range(updates):
        average.update(model)
        found.append(average.model.weight.item())
    return found


def _sight_of_the_time() -> float:
    """How far a network's answer moves with t, in units of its size, before any training."""
    torch.manual_seed(0)
    net = UNet((16, 16), (), mid_attention=False, blocks=1, head_dim=8).eval()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.1)
    x = torch.randn(1, 3, 16, 16, generator=generator(4)).expand(2, -1, -1, -1)
    with torch.no_grad():
        early, late = net(x, torch.tensor([0, 999]))
    return ((early - late).std() / early.std()).item()


EXACT_MOMENTS = (
    "test_sampler_proofs.py::test_samples_of_gaussian_and_point_mass_data_have_the_exact_moments"
)
PROBES = {
    "end of the walk": Probe(
        "DDIM, 100 steps, exact denoiser of a bell of width 0.5: how wide is what it draws?",
        lambda: _width("ddim", 0.5, 100), 0.48, 0.52,
        EXACT_MOMENTS,
    ),
    "a single point": Probe(
        "DDPM with the larger variance, exact denoiser of a single point: how wide?",
        lambda: _width("ddpm", 0.0, 20, variance="fixed_large"), 0.0, 1e-4,
        EXACT_MOMENTS,
    ),
    "width of a bell": Probe(
        "DDPM, 200 steps, exact denoiser of a bell of width 0.5: how wide?",
        lambda: _width("ddpm", 0.5, 200), 0.47, 0.53,
        EXACT_MOMENTS,
    ),
    "solver's bell": Probe(
        "DPM-Solver++, 20 steps, exact denoiser of a bell of width 1: how wide?",
        lambda: _width("dpm_solver_pp_2m", 1.0, 20), 0.98, 1.02,
        "test_samplers.py::test_x_t_itself_is_never_clipped",
    ),
    "room for noise": Probe(
        "The standard deviation of the noise at t = 1 of the cosine schedule: √(1 − ᾱ₁)?",
        _room_for_noise, 0.0060, 0.0068,
        "test_schedules.py::test_cosine_reference_values_and_only_the_last_beta_is_clipped",
    ),
    "black": Probe(
        "A byte of 0, as a network sees it?",
        lambda: to_unit(torch.zeros(1, dtype=torch.uint8)).item(), -1.0, -1.0,
        "data/test_datasets.py::test_every_byte_survives_the_way_to_floats_and_back",
    ),
    "times met": Probe(
        "640 draws of t in training, T = 5: what is the largest?",
        lambda: float(max(times_met())), 5.0, 5.0,
        "training/test_loop.py::test_times_cover_exactly_1_to_T_and_the_network_counts_from_0",
    ),
    "loss of one who knows": Probe(
        "The loss of a network that names the noise exactly?",
        _loss_of_one_who_knows, 0.0, 1e-6,
        "test_diffusion.py::test_loss_is_0_for_a_perfect_network",
    ),
    "memory of the start": Probe(
        "Averaged weights: how much of the random start is left after 3 steps?",
        lambda: averages(0.999, 3)[-1], 0.013, 0.015,
        "training/test_ema.py::test_towards_a_constant_target_it_follows_the_closed_form",
    ),
    "sight of the time": Probe(
        "A fresh network sees one picture at t = 1 and t = 1000: how far do its answers differ?",
        _sight_of_the_time, 0.05, 10.0,
        "test_unet.py::test_time_reaches_every_residual_branch",
    ),
}  # fmt: skip
