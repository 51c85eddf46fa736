"""From noise to data: three samplers over one contract.

A sampler is called as f(denoise, x_T, schedule, ts, ...) and yields (s, x_s, x0_hat) after each
step t → s of the grid ts (see `schedules.timesteps`), so that a caller can watch the trajectory.
All it knows of the model is denoise(x_t, t) -> x0_hat; ε is the noise that turns that x0_hat into
x_t. So clipping and parameterisation are decided once, elsewhere, and DDIM with η = 1 equals DDPM
even where x0_hat was clipped. Coefficients are Python floats in double precision: no step waits
for a device. No step keeps a graph for gradients either.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ddpm_course.diffusion import Denoise, q_posterior
from ddpm_course.rng import Generators, image_generators, randn, randn_like
from ddpm_course.schedules import NoiseSchedule, timesteps

Steps = Iterator[tuple[int, Tensor, Tensor]]


@torch.no_grad()
def ddpm(
    denoise: Denoise,
    x_T: Tensor,
    schedule: NoiseSchedule,
    ts: Sequence[int],
    generator: Generators = None,
    variance: str = "fixed_small",
) -> Steps:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2), on any grid.

    Each step samples the posterior q(x_s | x_t, x̂_0). Its variance is the posterior's own β̃
    ("fixed_small") or the step's whole β ("fixed_large"): the two bounds of section 3.2, exact for
    a single point and for N(0, I) data. No noise is added at the last step.
    """
    if variance not in ("fixed_small", "fixed_large"):
        raise ValueError(f'variance is "fixed_small" or "fixed_large", not {variance!r}.')
    abar, x = schedule.alphas_cumprod.tolist(), x_T
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        mean, step_variance = q_posterior(x0, x, t, s, schedule)
        if variance == "fixed_large":
            step_variance = 1 - abar[t] / abar[s]
        x = mean + step_variance**0.5 * randn_like(x, generator) if s > 0 else mean
        yield s, x, x0


@torch.no_grad()
def ddim(
    denoise: Denoise,
    x_T: Tensor,
    schedule: NoiseSchedule,
    ts: Sequence[int],
    generator: Generators = None,
    eta: float = 0.0,
) -> Steps:
    """DDIM (Song, Meng & Ermon 2021, arXiv:2010.02502, Eqs. 12 and 16).

    η = 0 adds no noise: x_0 is a function of x_T. η = 1 is `ddpm` with "fixed_small".
    Raises ValueError unless 0 ≤ η ≤ 1.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta runs from 0 (deterministic) to 1 (ancestral), not {eta}.")
    abar, x = schedule.alphas_cumprod.tolist(), x_T
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        eps = (x - abar[t] ** 0.5 * x0) / (1 - abar[t]) ** 0.5
        variance = eta**2 * (1 - abar[s]) / (1 - abar[t]) * (1 - abar[t] / abar[s])
        x = abar[s] ** 0.5 * x0 + max(1 - abar[s] - variance, 0.0) ** 0.5 * eps
        if variance > 0:
            x = x + variance**0.5 * randn_like(x, generator)
        yield s, x, x0


@torch.no_grad()
def dpm_solver_pp_2m(
    denoise: Denoise,
    x_T: Tensor,
    schedule: NoiseSchedule,
    ts: Sequence[int],
    generator: Generators = None,
) -> Steps:
    """DPM-Solver++(2M), second order in λ = log(√ᾱ/√(1−ᾱ)) (Lu et al. 2022, arXiv:2211.01095,
    Algorithm 2).

    It follows the same ODE as `ddim` with η = 0, but extrapolates x̂_0 linearly from the last two
    estimates where DDIM holds the last one fixed. The first step has no predecessor, and the last
    goes to λ = ∞: both are first order. It adds no noise; `generator` is there so that all samplers
    are called alike.
    """
    a, b = schedule.sqrt_alphas_cumprod.tolist(), schedule.sqrt_one_minus_alphas_cumprod.tolist()
    lam = (schedule.log_snr / 2).tolist()
    x, previous, h_previous = x_T, None, 0.0
    for t, s in pairwise(ts):
        x0 = denoise(x, t)
        h = lam[s] - lam[t]
        estimate = x0
        if previous is not None and s > 0:
            estimate = x0 + h / (2 * h_previous) * (x0 - previous)
        x = b[s] / b[t] * x - a[s] * math.expm1(-h) * estimate
        previous, h_previous = x0, h
        yield s, x, x0


SAMPLERS: dict[str, Callable[..., Steps]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp_2m": dpm_solver_pp_2m,
}


def usual_spacing(sampler: str) -> str:
    """The spacing that a sampler is commonly run with: DPM-Solver++ steps evenly in log-SNR (Lu et
    al. 2022, arXiv:2211.01095), the others evenly in t.
    """
    return "logsnr" if sampler == "dpm_solver_pp_2m" else "trailing"


def sample(
    denoise: Denoise,
    shape: Sequence[int],
    schedule: NoiseSchedule,
    *,
    sampler: str = "ddim",
    steps: int = 50,
    spacing: str = "trailing",
    seed: int = 0,
    first: int = 0,
    use: Sequence[int] = (),
    device: torch.device | str = "cpu",
    progress: Callable[[Iterable], Iterable] = iter,
    **options,
) -> Tensor:
    """Generate a batch f[B,*] of the given shape from pure noise.

    Image k depends on (seed, k) alone, not on how many are generated beside it. So a large batch
    can be made in parts: `first` is the k of the first image. `use` separates draws of one seed for
    different purposes (`rng`). `progress` wraps the iterator of steps (`tqdm`, say); `options` go
    to the sampler (`eta`, `variance`). A denoiser with dropout must be in eval mode.

    Raises ValueError for an unknown sampler or spacing, steps outside 1..T, or NaN in the result,
    and TypeError for an option that the sampler does not have.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"Unknown sampler {sampler!r}: choose one of {', '.join(SAMPLERS)}.")
    generators = image_generators(seed, shape[0], use, device, first)
    ts = timesteps(schedule, steps, spacing)
    x_T = randn(shape, generators, device=device)
    trajectory = SAMPLERS[sampler](denoise, x_T, schedule, ts, generators, **options)
    for _, x, _ in progress(trajectory):
        x_0 = x
    if not x_0.isfinite().all():
        raise ValueError(
            "The images came out as NaN: the guidance scale is too large, the weights are damaged, "
            "or bfloat16 is too coarse for them."
        )
    return x_0
