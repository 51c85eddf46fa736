import pytest
import torch
from torch import nn

from ddpm_course import Denoiser, cosine_schedule, linear_schedule, x0_error
from ddpm_course.data.images import ImageData, to_uint8, to_unit
from ddpm_course.evaluation.denoising import LOG_SNRS, times_of


class Wiener(nn.Module):
    """The best x̂_0 for pixels N(0, variance): x_t times a number that depends on t alone."""

    null_class = 3

    def __init__(self, schedule, variance):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.schedule, self.variance, self.labels = schedule, variance, []

    def forward(self, x, t, y=None):
        abar = self.schedule.alphas_cumprod[t + 1].float()[:, None, None, None]
        self.labels.append(y)
        return x * abar.sqrt() * self.variance / (abar * self.variance + 1 - abar)


def images_of(number, std):
    draw = torch.Generator().manual_seed(0)
    images = to_uint8(std * torch.randn(number, 3, 16, 16, generator=draw))
    return ImageData(images, torch.arange(number) % 3)


@pytest.mark.parametrize("schedule", [linear_schedule(), cosine_schedule()])
def test_error_of_the_best_denoiser_is_the_posterior_variance(schedule):
    data = images_of(40, std=0.3)
    variance = to_unit(data.images).var().item()
    denoiser = Denoiser(Wiener(schedule, variance), schedule, "x0", clip=False)
    got = x0_error(denoiser, data, batch_size=7)
    snr = schedule.snr[times_of(LOG_SNRS, schedule)]
    torch.testing.assert_close(got, 1 / (1 / variance + snr), rtol=0.03, atol=0)
    assert got.dtype == torch.float64


def test_error_depends_on_the_seed_but_not_on_the_batch_size():
    data, schedule = images_of(10, std=0.3), cosine_schedule()
    denoiser = Denoiser(Wiener(schedule, 0.09), schedule, "x0")
    torch.testing.assert_close(x0_error(denoiser, data, batch_size=3), x0_error(denoiser, data))
    assert not torch.equal(x0_error(denoiser, data, seed=1), x0_error(denoiser, data))


def test_labels_reach_a_network_with_classes():
    data, schedule = images_of(5, std=0.3), cosine_schedule()
    net = Wiener(schedule, 0.09)
    x0_error(Denoiser(net, schedule, "x0"), data, log_snrs=[0], batch_size=2)
    assert torch.cat(net.labels).tolist() == [0, 1, 2, 0, 1]


def test_times_are_the_nearest_ones():
    schedule = linear_schedule()
    assert times_of([0.0], schedule) == [int((schedule.snr[1:] - 1).abs().argmin()) + 1]
    for schedule in (linear_schedule(), cosine_schedule()):
        times = times_of(LOG_SNRS, schedule)
        assert times == sorted(times, reverse=True)
        assert (schedule.log_snr[times] - torch.tensor(LOG_SNRS)).abs().max() < 0.1


def test_a_schedule_that_never_gets_so_noisy_is_refused():
    with pytest.raises(
        ValueError, match=r"no time near log-SNR -8: it runs from .* to -3.5 in 350"
    ):
        times_of(LOG_SNRS, linear_schedule(350))
