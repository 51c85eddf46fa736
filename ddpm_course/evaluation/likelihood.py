"""How many bits a denoiser needs to write down a picture: the variational bound of DDPM.

The bound (Ho et al. 2020, Eq. 5) is a sum over all times, in bits per value of a picture:

    L_T       KL(q(x_T|x_0) ‖ N(0, I)): what sampling gets wrong before it begins
    L_{t−1}   KL(q(x_{t−1}|x_t, x_0) ‖ p(x_{t−1}|x_t)), t = 2..T: one step back each
    L_0       −log p(x_0|x_1): the picture's bytes from the last, nearly clean one

The step back is the model's N(μ, β_t), what DDPM calls fixed and large: of the two usual choices
it needs fewer bits near the picture, where most of them are.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.diffusion import Denoiser, q_sample
from ddpm_course.evaluation.denoising import conditions
from ddpm_course.rng import generator
from ddpm_course.schedules import NoiseSchedule

AT_ONCE = 128  # noisy pictures that the network is given at once


class Bits(NamedTuple):
    """Bits per value of each picture, f64[N] each: the three parts of the bound."""

    prior: Tensor
    steps: Tensor
    decoder: Tensor

    @property
    def total(self) -> Tensor:
        return self.prior + self.steps + self.decoder


@torch.no_grad()
def bits_per_dim(denoiser: Denoiser, data: ImageData, *, draws: int = 64, seed: int = 0) -> Bits:
    """The variational bound of every picture, estimated from `draws` noisy versions of it.

    Times are drawn where the bits are, about equally often per unit of log-SNR, and stratified: one
    from each of `draws` equally likely stretches. What is likelier weighs less, so the estimate is
    unbiased. Labels are used if the network knows classes. Pictures are bytes: without any model
    they take 8 bits.

    Raises ValueError unless draws ≥ 1, and for a schedule of a single step.
    """
    if draws < 1:
        raise ValueError(f"An estimate needs at least 1 draw a picture, not {draws}.")
    if denoiser.schedule.T < 2:
        raise ValueError("Bits are counted over the steps of a schedule: one is too few.")
    schedule, shape = denoiser.schedule, data.images.shape[1:]
    device = denoiser.device
    odds, (price, toll) = _odds(schedule), _step_costs(schedule)
    bits = []
    for k, image in enumerate(data.images):
        draw, x0 = generator(seed, k), to_unit(image).to(device)
        places = (torch.arange(draws) + torch.rand(draws, generator=draw)) / draws
        picked = torch.searchsorted(odds.cumsum(0), places.double()).clamp(max=len(odds) - 1)
        times = torch.cat([torch.tensor([1]), picked + 2])  # t = 1 is the decoder's
        noise = torch.randn((len(times), *shape), generator=draw)
        estimates = []
        for t, eps in zip(times.split(AT_ONCE), noise.split(AT_ONCE), strict=True):
            x_t = q_sample(x0.expand(eps.shape), t, eps.to(device), schedule)
            labels = None if data.labels is None else data.labels[k].expand(len(t))
            estimates.append(denoiser(x_t, t, **conditions(denoiser, labels)))
        last, others = torch.cat(estimates).split([1, draws])
        squares = (others - x0).double().square().flatten(1).sum(1).cpu()
        steps = (price[picked] * squares / odds[picked]).mean() + toll.sum() * x0.numel()
        nats = (prior_nats(x0, schedule), steps.item(), decoder_nats(x0, last[0], schedule))
        bits.append([part / math.log(2) / x0.numel() for part in nats])
    return Bits(*torch.tensor(bits, dtype=torch.float64).T)


def _odds(schedule: NoiseSchedule) -> Tensor:
    """How likely each of t = 2..T is drawn, f64[T−1]: none never, and at log-SNRs below −10, where
    nearly nothing is to be known, no more than that.
    """
    width = -schedule.log_snr[1:].clamp(min=-10).diff()
    return 0.9 * width / width.sum() + 0.1 / len(width)


def _step_costs(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """In nats, for t = 2..T, what the step back costs per squared error of x̂_0, and per value even
    where x̂_0 is right, f64[T−1] each: KL(N(μ̃, β̃) ‖ N(μ, β)), written in x̂_0.
    """
    snr, noise = schedule.snr, schedule.sqrt_one_minus_alphas_cumprod**2
    ratio = noise[1:-1] / noise[2:]  # β̃_t / β_t
    return ratio * (snr[1:-1] - snr[2:]) / 2, (ratio - 1 - ratio.log()) / 2


def prior_nats(x0: Tensor, schedule: NoiseSchedule) -> float:
    """L_T of one picture f[*] in [-1, 1]."""
    abar = schedule.alphas_cumprod[-1].item()
    square = x0.double().square().sum().item()
    return 0.5 * (abar * square - x0.numel() * (abar + math.log1p(-abar)))


def decoder_nats(x0: Tensor, x0_hat: Tensor, schedule: NoiseSchedule) -> float:
    """L_0 of one picture f[*] in [-1, 1] whose estimate at t = 1 is x̂_0: a byte has the mass that
    N(x̂_0, β_1) has from half a byte below it to half a byte above; 0 and 255 have the whole tail
    (Eq. 13).
    """
    x0, x0_hat, std = x0.double(), x0_hat.double(), schedule.betas[1].item() ** 0.5
    half = 1 / 255
    low = ((x0 - half - x0_hat) / std).masked_fill(x0 < half - 1, -torch.inf)
    high = ((x0 + half - x0_hat) / std).masked_fill(x0 > 1 - half, torch.inf)
    # Far out on the right both cdfs round to 1, and on the left they do not: turn it over.
    turned = low + high > 0
    low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
    tail = torch.special.log_ndtr(high)
    mass = tail + torch.log1p(-(torch.special.log_ndtr(low) - tail).exp())
    return -mass.sum().item()
