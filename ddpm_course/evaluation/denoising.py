"""How good a denoiser is on pictures it has never seen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.diffusion import Denoiser, q_sample
from ddpm_course.rng import image_generators, randn
from ddpm_course.schedules import NoiseSchedule

LOG_SNRS = tuple(range(-8, 8))
"""From almost pure noise to almost clean: 16 natural logarithms of the signal-to-noise ratio."""


def times_of(log_snrs: Sequence[float], schedule: NoiseSchedule) -> list[int]:
    """The time t in 1..T whose log-SNR is nearest to each of those given.

    Raises ValueError where even that is off by more than a half, a factor of 1.6 in the SNR.
    """
    distance = (schedule.log_snr[1:] - torch.tensor(log_snrs, dtype=torch.float64)[:, None]).abs()
    nearest, index = distance.min(dim=1)
    if nearest.max() > 0.5:
        raise ValueError(
            f"The schedule has no time near log-SNR {log_snrs[int(nearest.argmax())]}: it runs "
            f"from {schedule.log_snr[1]:.1f} to {schedule.log_snr[-1]:.1f} in {schedule.T} steps."
        )
    return (index + 1).tolist()


@torch.no_grad()
def x0_error(
    denoiser: Denoiser,
    data: ImageData,
    told: dict[str, Tensor] | None = None,
    *,
    log_snrs: Sequence[float] = LOG_SNRS,
    batch_size: int = 128,
    seed: int = 0,
) -> Tensor:
    """Mean squared error of x̂_0 per value, at each log-SNR: f64[len(log_snrs)] on the CPU.

    Losses of two runs cannot be compared when schedule or parameterisation differ, since they
    weigh noise levels differently. The error of x̂_0 at equal log-SNR can. Labels are used if the
    network knows classes; `told` has other conditions, a row for each picture. Image k gets noise
    of (seed, k), drawn on the CPU: every run is asked about the same noisy pictures.
    """
    device = denoiser.device
    shape = (len(data.images), *data.images.shape[1:])
    noise = randn(shape, image_generators(seed, shape[0]))
    times = times_of(log_snrs, denoiser.schedule)
    total = torch.zeros(len(times), dtype=torch.float64, device=device)
    for first in range(0, shape[0], batch_size):
        rows = slice(first, first + batch_size)
        x0, eps = to_unit(data.images[rows]).to(device), noise[rows].to(device)
        cond = conditions(denoiser, None if data.labels is None else data.labels[rows])
        cond |= {name: values[rows].to(device) for name, values in (told or {}).items()}
        for k, t in enumerate(times):
            x_t = q_sample(x0, t, eps, denoiser.schedule)
            total[k] += (denoiser(x_t, t, **cond) - x0).square().sum(dtype=torch.float64)
    return (total / noise.numel()).cpu()


def conditions(denoiser: Denoiser, labels: Tensor | None) -> dict[str, Tensor]:
    """{"y": labels} on the denoiser's device; {} without labels, or if its network knows none."""
    if labels is None or getattr(denoiser.net, "null_class", None) is None:
        return {}
    return {"y": labels.to(denoiser.device)}
