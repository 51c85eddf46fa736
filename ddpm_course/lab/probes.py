"""Questions about the package whose right answer is known on paper.

Each takes about a second and names the test that asks the same more strictly. Notebook 09 uses them
to examine a package in which something is broken.
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
    """A question, how to measure its answer, and the interval [low, high] of right answers."""

    asks: str
    measure: Callable[[], float]
    low: float
    high: float
    test: str

    def ask(self) -> float:
        """The package's answer now, or NaN if it stops with a division by zero. PyTorch's global
        generator is left unchanged.
        """
        with torch.random.fork_rng(devices=[]):
            try:
                return self.measure()
            except ArithmeticError:
                return math.nan

    def right(self, value: float) -> bool:
        return self.low <= value <= self.high  # so NaN is never right


def sample_gaussian(sampler: str, std: float, steps: int, **options) -> Tensor:
    """20,000 samples f[20000,1] of N(0, std²), with its exact denoiser."""
    schedule = cosine_schedule(1000)
    x_T = torch.randn(20_000, 1, generator=generator(1))
    trajectory = SAMPLERS[sampler](
        gaussian_oracle(0.0, std, schedule), x_T, schedule, timesteps(schedule, steps),
        generator(2), **options,
    )  # fmt: skip
    *_, (_, x, _) = trajectory
    return x


def _spread(*arguments, **options) -> float:
    return sample_gaussian(*arguments, **options).std().item()


def _noise_at_1() -> float:
    schedule = cosine_schedule(1000)
    return schedule.sqrt_one_minus_alphas_cumprod[1].item()


class _PerfectNetwork(nn.Module):
    """Predicts the noise exactly if every image is the constant 1, and records the times it saw."""

    def __init__(self, schedule):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.schedule, self.times = schedule, set[int]()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.times |= set((t + 1).tolist())
        a, b = self.schedule.signal_noise(t + 1, x)
        return (x - a) / b + self.weight


def _perfect_denoiser() -> Denoiser:
    schedule = from_betas(torch.linspace(0.1, 0.9, 5))
    return Denoiser(_PerfectNetwork(schedule), schedule, "eps", clip=False)


def sampled_times() -> list[int]:
    """Every t that 20 training steps sample with T = 5, in ascending order."""
    denoiser = _perfect_denoiser()
    config = TrainConfig(steps=20, log_every=20)
    for _ in train(denoiser, lambda step: {"x0": torch.ones(32, 1)}, config):
        pass
    return sorted(denoiser.net.times)


def _perfect_loss() -> float:
    t = torch.arange(500) % 5 + 1
    noise = torch.randn(500, 1, generator=generator(3))
    return _perfect_denoiser().loss(torch.ones(500, 1), t, noise).mean().item()


def averaged_weights(decay: float, updates: int) -> list[float]:
    """The EMA of a weight after each update, where the weight went from 1 to 0 before the first."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    average = EMA(model, decay)
    nn.init.zeros_(model.weight)
    found = []
    for _ in range(updates):
        average.update(model)
        found.append(average.model.weight.item())
    return found


def _effect_of_t() -> float:
    """How far an untrained network's output moves with t, relative to its standard deviation."""
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
    "DDIM's spread": Probe(
        "DDIM, 100 steps, exact denoiser of N(0, 0.5²): what spread do its samples have?",
        lambda: _spread("ddim", 0.5, 100), 0.48, 0.52,
        EXACT_MOMENTS,
    ),
    "single point": Probe(
        "DDPM with the larger variance, exact denoiser of a single point: what spread?",
        lambda: _spread("ddpm", 0.0, 20, variance="fixed_large"), 0.0, 1e-4,
        EXACT_MOMENTS,
    ),
    "DDPM's spread": Probe(
        "DDPM, 200 steps, exact denoiser of N(0, 0.5²): what spread?",
        lambda: _spread("ddpm", 0.5, 200), 0.47, 0.53,
        EXACT_MOMENTS,
    ),
    "solver's spread": Probe(
        "DPM-Solver++, 20 steps, exact denoiser of N(0, 1): what spread?",
        lambda: _spread("dpm_solver_pp_2m", 1.0, 20), 0.98, 1.02,
        "test_samplers.py::test_x_t_itself_is_never_clipped",
    ),
    "noise at t = 1": Probe(
        "The cosine schedule's standard deviation of the noise at t = 1: √(1 − ᾱ₁)?",
        _noise_at_1, 0.0060, 0.0068,
        "test_schedules.py::test_cosine_reference_values_and_only_the_last_beta_is_clipped",
    ),
    "black": Probe(
        "What does the network receive for a byte of 0?",
        lambda: to_unit(torch.zeros(1, dtype=torch.uint8)).item(), -1.0, -1.0,
        "data/test_datasets.py::test_every_byte_survives_the_way_to_floats_and_back",
    ),
    "largest t": Probe(
        "Training samples t 640 times with T = 5: what is the largest?",
        lambda: float(max(sampled_times())), 5.0, 5.0,
        "training/test_loop.py::test_times_cover_exactly_1_to_T_and_the_network_counts_from_0",
    ),
    "perfect loss": Probe(
        "What is the loss of a network that predicts the noise exactly?",
        _perfect_loss, 0.0, 1e-6,
        "test_diffusion.py::test_loss_is_0_for_a_perfect_network",
    ),
    "memory of the start": Probe(
        "Averaged weights: how much of the random start is left after 3 steps?",
        lambda: averaged_weights(0.999, 3)[-1], 0.013, 0.015,
        "training/test_ema.py::test_towards_a_constant_target_it_follows_the_closed_form",
    ),
    "effect of t": Probe(
        "An untrained network receives one image at t = 1 and t = 1000: how far do its outputs "
        "differ?",
        _effect_of_t, 0.05, 10.0,
        "test_unet.py::test_time_reaches_every_residual_branch",
    ),
}  # fmt: skip
