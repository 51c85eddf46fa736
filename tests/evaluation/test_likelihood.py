import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from ddpm_course import (
    Denoiser,
    cosine_schedule,
    linear_schedule,
    q_posterior,
    rescale_zero_terminal_snr,
    to_unit,
)
from ddpm_course.data.images import ImageData
from ddpm_course.evaluation.likelihood import bits_per_dim, decoder_nats, prior_nats


class Wiener(nn.Module):
    """The best x̂_0 for pixels N(mean, std²)."""

    null_class = None

    def __init__(self, schedule, mean, std):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.schedule, self.mean, self.variance = schedule, mean, std**2

    def forward(self, x, t):
        abar = self.schedule.alphas_cumprod[t + 1].to(x.dtype)[:, None, None, None]
        gain = abar.sqrt() * self.variance / (abar * self.variance + 1 - abar)
        return self.mean + gain * (x - abar.sqrt() * self.mean)


def gaussian_bytes(number, mean=-0.3, std=0.3):
    draw = torch.Generator().manual_seed(0)
    values = mean + std * torch.randn(number, 3, 8, 8, generator=draw)
    return ImageData(((values.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8), None)


def exact_bits(data, mean=-0.3, std=0.3):
    """Per image, the mean of −log2 of the mass of each byte under the N(mean, std²) behind it."""
    x0, normal = to_unit(data.images).double(), Normal(torch.tensor(mean).double(), std)
    low = torch.where(data.images == 0, -math.inf, x0 - 1 / 255)
    high = torch.where(data.images == 255, math.inf, x0 + 1 / 255)
    mass = normal.cdf(high) - normal.cdf(low)
    return -mass.log2().flatten(1).mean(1)


def test_bound_of_the_exact_denoiser_is_just_above_the_entropy():
    """It is an upper bound, and tight up to the length of the steps."""
    data, gaps = gaussian_bytes(100), []
    for T in (250, 1000):
        schedule = linear_schedule(T, 0.1 / T, 20 / T)
        denoiser = Denoiser(Wiener(schedule, -0.3, 0.3), schedule, "x0", clip=False)
        bits = bits_per_dim(denoiser, data, draws=300).total
        gaps.append((bits - exact_bits(data)).mean().item())
    assert 0 < gaps[1] < gaps[0] < 0.1


def test_steps_are_the_divergences_of_gaussians():
    """Against torch's own KL, with a denoiser whose output does not depend on the noise."""
    schedule, data = linear_schedule(4, 0.1, 0.5), gaussian_bytes(1)
    denoiser = Denoiser(Wiener(schedule, 0.2, 0.0), schedule, "x0")  # always 0.2
    x0 = to_unit(data.images)
    total = 0.0
    for t in (2, 3, 4):
        variance = schedule.betas[t].item()
        (mean, posterior), (guess, _) = (
            q_posterior(x.double(), 0 * x0, t, t - 1, schedule) for x in (x0, 0 * x0 + 0.2)
        )
        total += kl_divergence(Normal(mean, posterior**0.5), Normal(guess, variance**0.5)).sum()
    wanted = total.item() / math.log(2) / x0.numel()
    assert bits_per_dim(denoiser, data, draws=20_000).steps.item() == pytest.approx(
        wanted, rel=1e-3
    )


def test_prior_is_the_divergence_from_pure_noise():
    x0, schedule = torch.tensor([0.2, -0.9, 1.0]), linear_schedule(350)
    abar = schedule.alphas_cumprod[-1]
    q = Normal(abar.sqrt() * x0.double(), (1 - abar).sqrt())
    wanted = kl_divergence(q, Normal(torch.zeros(3).double(), torch.ones(3).double())).sum().item()
    assert prior_nats(x0, schedule) == pytest.approx(wanted, rel=1e-9)


def test_decoder_masses_of_all_bytes_sum_to_one():
    bytes_ = to_unit(torch.arange(256, dtype=torch.uint8))
    for estimate in (-1.0, -0.99, 0.123, 0.98, 1.3):
        masses = [
            math.exp(-decoder_nats(x[None], torch.tensor([estimate]), linear_schedule()))
            for x in bytes_
        ]
        assert sum(masses) == pytest.approx(1, rel=1e-6)
        assert masses.index(max(masses)) == min(255, max(0, round((estimate + 1) * 127.5)))


@pytest.mark.parametrize("sign", [1, -1])
def test_decoder_is_finite_and_exact_far_out(sign):
    """At 100 standard deviations the mass is below the smallest float64."""
    x0, estimate = torch.tensor([0.5]) * sign, torch.tensor([-0.5]) * sign
    nats = decoder_nats(x0, estimate, linear_schedule())
    near_edge = (1 - 1 / 255) / 0.01
    assert nats == pytest.approx(
        near_edge**2 / 2 + math.log(near_edge * (2 * math.pi) ** 0.5), rel=1e-3
    )


@pytest.mark.parametrize(
    "schedule", [cosine_schedule(50), rescale_zero_terminal_snr(linear_schedule(50, 0.002, 0.4))]
)
def test_estimate_is_unbiased_and_steadier_with_more_draws(schedule):
    data = gaussian_bytes(1)
    data = ImageData(data.images.repeat(200, 1, 1, 1), None)
    denoiser = Denoiser(Wiener(schedule, -0.2, 0.3), schedule, "x0")
    few, many = (bits_per_dim(denoiser, data, draws=n).steps for n in (3, 60))
    assert (few.mean() - many.mean()).abs() < 3 * (few.var() / 200 + many.var() / 200).sqrt()
    assert few.std() > 3 * many.std()
    assert many.std() < 0.05 * many.mean()


def test_bits_depend_on_the_image_and_the_seed_alone():
    data, schedule = gaussian_bytes(3), cosine_schedule(100)
    denoiser = Denoiser(Wiener(schedule, 0.0, 0.3), schedule, "x0")
    bits = bits_per_dim(denoiser, data, draws=5)
    torch.testing.assert_close(
        bits_per_dim(denoiser, ImageData(data.images[:1], None), draws=5)[1], bits[1][:1]
    )
    assert not torch.equal(bits_per_dim(denoiser, data, draws=5, seed=1).steps, bits.steps)
    torch.testing.assert_close(bits.total, bits.prior + bits.steps + bits.decoder)


class Conditional(Wiener):
    """One whose mean depends on the class."""

    null_class = 2

    def forward(self, x, t, y):
        self.mean = torch.tensor([-0.3, 0.4])[y][:, None, None, None]
        return super().forward(x, t)


def test_the_right_labels_need_fewer_bits():
    data, schedule = gaussian_bytes(3), cosine_schedule(100)
    denoiser = Denoiser(Conditional(schedule, 0.0, 0.3), schedule, "x0", clip=False)
    right, wrong = (
        bits_per_dim(denoiser, ImageData(data.images, torch.full((3,), y))).total for y in (0, 1)
    )
    assert (wrong > right + 0.1).all()


def test_what_cannot_be_estimated_is_refused():
    for T, draws, sentence in ((1, 64, "one is too few"), (100, 0, "at least 1 draw .*, not 0")):
        schedule = cosine_schedule(T)
        denoiser = Denoiser(Wiener(schedule, 0, 1), schedule, "x0")
        with pytest.raises(ValueError, match=sentence):
            bits_per_dim(denoiser, gaussian_bytes(1), draws=draws)
