import itertools
import math

import pytest
import torch
from torch import nn

from ddpm_course import (
    Denoiser,
    convert,
    cosine_schedule,
    dataset_oracle,
    gaussian_oracle,
    guided,
    linear_schedule,
    mixture_oracle,
    q_posterior,
    q_sample,
    rescale_zero_terminal_snr,
)
from ddpm_course.diffusion import PREDICTIONS

SCHEDULE = linear_schedule(1000)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Recorder(nn.Module):
    """A network that outputs w·x and records how it was called."""

    def __init__(self, w=0.5):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))
        self.calls = []

    def forward(self, x, t, **cond):
        self.calls.append((t, cond))
        return self.w * x


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 2), (2, 3, 5, 2)])
def test_q_sample_is_eq_4(shape):
    """Each image has its own t, even where the batch is as long as the width."""
    x0, noise = randn(*shape), randn(*shape, seed=1)
    t = torch.tensor([1, 500])
    x = q_sample(x0, t, noise, SCHEDULE)
    for row, abar in enumerate((0.9999, 0.07858724288177824)):
        expected = math.sqrt(abar) * x0[row] + math.sqrt(1 - abar) * noise[row]
        torch.testing.assert_close(x[row], expected)
    assert torch.equal(q_sample(x0, 0, noise, SCHEDULE), x0)


def test_q_sample_equals_iterating_single_steps():
    """Noising step by step (Eq. 2), with each step's noise folded into one, is Eq. 4."""
    mean, variance = 1.0, 0.0
    for t in range(1, 301):
        beta = SCHEDULE.betas[t].item()
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
    assert SCHEDULE.sqrt_alphas_cumprod[300].item() == pytest.approx(mean, rel=1e-12)
    assert SCHEDULE.sqrt_one_minus_alphas_cumprod[300].item() ** 2 == pytest.approx(variance)


def test_noise_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        q_sample(randn(2, 3), 1, randn(2, 1), SCHEDULE)


def test_posterior_reference_variances():
    x = randn(2, 3)
    for t, expected in ((1, 0.0), (2, 5.4531876613021935e-05), (10, 0.00023818202782345307)):
        assert q_posterior(x, x, t, t - 1, SCHEDULE)[1] == pytest.approx(expected, rel=1e-9, abs=0)
        time = torch.tensor([t, t])
        _, variance = q_posterior(x, x, time, time - 1, SCHEDULE)
        assert variance.shape == (2, 1)
        assert variance[0].item() == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize(("t", "s"), [(2, 1), (700, 699), (700, 20), (1000, 0), (1, 0)])
def test_posterior_is_bayes_rule(t, s):
    """Precisions add: the prior q(x_s|x_0) times the likelihood q(x_t|x_s), by completing the
    square, independently of the formula in the code.
    """
    abar = SCHEDULE.alphas_cumprod
    x0, x_t = randn(4), randn(4, seed=1)
    alpha = (abar[t] / abar[s]).item()
    mean, variance = q_posterior(x0, x_t, t, s, SCHEDULE)
    if s == 0:
        assert variance == 0
        torch.testing.assert_close(mean, x0)
        return
    prior_precision = 1 / (1 - abar[s].item())
    likelihood_precision = alpha / (1 - alpha)
    precision = prior_precision + likelihood_precision
    assert variance == pytest.approx(1 / precision, rel=1e-9)
    by_hand = prior_precision * math.sqrt(abar[s]) * x0
    by_hand = (by_hand + likelihood_precision * x_t / math.sqrt(alpha)) / precision
    torch.testing.assert_close(mean, by_hand)


def test_posterior_goes_back_in_time():
    x = randn(2, 2)
    with pytest.raises(ValueError, match="must be smaller than t"):
        q_posterior(x, x, 5, 5, SCHEDULE)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(PREDICTIONS, repeat=2)))
@pytest.mark.parametrize("t", [1, 500, 1000, torch.tensor([1, 20, 600, 1000])])
def test_conversions(source, target, t):
    x0, eps = randn(4, 3), randn(4, 3, seed=1)
    x_t = q_sample(x0, t, eps, SCHEDULE)
    a, b = SCHEDULE.signal_noise(t, x_t)
    values = {"eps": eps, "x0": x0, "v": a * eps - b * x0}
    got = convert(values[source], x_t, t, SCHEDULE, source=source, target=target)
    torch.testing.assert_close(got, values[target], rtol=1e-7, atol=1e-9)


def test_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="choose one of eps, x0, v"):
        Denoiser(nn.Identity(), SCHEDULE, "score")
    for kinds in ({"source": "score", "target": "x0"}, {"source": "x0", "target": "score"}):
        with pytest.raises(ValueError, match="Unknown prediction 'score'"):
            convert(randn(2, 3), randn(2, 3, seed=1), 5, SCHEDULE, **kinds)


def test_eps_with_zero_terminal_snr_is_refused_by_name():
    zero = rescale_zero_terminal_snr(SCHEDULE)
    with pytest.raises(ValueError, match="eps network cannot be used where ᾱ_T = 0"):
        Denoiser(nn.Identity(), zero, "eps")
    x = randn(2, 3)
    denoiser = Denoiser(Recorder(), zero, "v", clip=False)
    torch.testing.assert_close(denoiser(x, 1000), -0.5 * x)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_network_receives_t_minus_1_and_conditions(prediction):
    net, x, y = Recorder(), randn(3, 2), torch.tensor([0, 1, 2])
    denoiser = Denoiser(net, SCHEDULE, prediction, clip=False)
    denoiser(x, 1000)
    denoiser(x, torch.tensor([1, 2, 3]), y=y)
    denoiser.bind(y=y)(x, 7)
    assert [call[0].tolist() for call in net.calls] == [[999] * 3, [0, 1, 2], [6] * 3]
    assert [list(call[1]) for call in net.calls] == [[], ["y"], ["y"]]
    expected = convert(0.5 * x, x, 7, SCHEDULE, source=prediction, target="x0")
    torch.testing.assert_close(denoiser(x, 7), expected)


def test_clip_limits_the_estimate_not_x_t():
    wild, x = Denoiser(Recorder(50.0), SCHEDULE, "x0"), randn(8, 3)
    assert wild(x, 900).abs().max() == 1
    assert wild.predict_x0(x, 900).abs().max() > 1
    mean, _ = q_posterior(wild(x, 900), x, 900, 899, SCHEDULE)
    assert mean.abs().max() > 1


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", [SCHEDULE, cosine_schedule(1000)])
def test_loss_of_a_network_that_outputs_0(prediction, schedule):
    """At initialisation: 1 for ε, E[x_0²] for x_0, ᾱ + (1−ᾱ) E[x_0²] for v."""
    x0, noise = 0.5 * randn(4000, 4), randn(4000, 4, seed=1)
    t = torch.full((4000,), 400)
    loss = Denoiser(Recorder(0.0), schedule, prediction).loss(x0, t, noise)
    assert loss.shape == (4000,)
    abar = schedule.alphas_cumprod[400].item()
    expected = {"eps": 1.0, "x0": 0.25, "v": abar + 0.25 * (1 - abar)}[prediction]
    assert loss.mean().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_is_0_for_a_perfect_network(prediction):
    x0, noise, t = randn(4, 3), randn(4, 3, seed=1), torch.tensor([1, 50, 500, 1000])
    abar = SCHEDULE.alphas_cumprod[t][:, None]
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    truth, seen = convert(noise, x_t, t, SCHEDULE, source="eps", target=prediction), []
    denoiser = Denoiser(lambda_net(lambda x, t: seen.append(x) or truth), SCHEDULE, prediction)
    assert denoiser.loss(x0, t, noise).max() < 1e-12
    torch.testing.assert_close(seen, [x_t])


def lambda_net(f):
    class Net(nn.Module):
        null_class = 10

        def forward(self, x, t, **cond):
            return f(x, t, **cond)

    return Net()


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guidance_combines_unclipped_and_clips_once(prediction):
    x, y = randn(3, 2), torch.tensor([1, 2, 3])
    sizes = []

    def f(x, t, y):
        sizes.append(len(x))
        return torch.where(y == 10, -0.4, 0.1 * y.double())[:, None] * torch.ones_like(x)

    denoiser = Denoiser(lambda_net(f), SCHEDULE, prediction, clip=False)
    with_y, without = denoiser(x, 600, y=y), denoiser(x, 600, y=torch.full_like(y, 10))
    sizes.clear()
    for t in (600, torch.tensor([600] * 3)):
        got = guided(denoiser, y, 3.0)(x, t)
        torch.testing.assert_close(got, without + 3.0 * (with_y - without))
    assert sizes == [6, 6]
    torch.testing.assert_close(guided(denoiser, y, 1.0)(x, 600), with_y)
    torch.testing.assert_close(guided(denoiser, y, 0.0)(x, 600), without)
    denoiser.clip = True
    clipped = guided(denoiser, y, 3.0)(x, 600)
    torch.testing.assert_close(clipped, (without + 3.0 * (with_y - without)).clamp(-1, 1))


def test_guidance_needs_classes():
    with pytest.raises(ValueError, match="class-conditional"):
        guided(Denoiser(nn.Identity(), SCHEDULE), torch.tensor([0]), 2.0)


def test_mixture_oracle_against_numerical_integration():
    weights, means, stds = torch.tensor([0.3, 0.7]), torch.tensor([[-0.5], [0.8]]), [0.2, 0.1]
    denoise = mixture_oracle(weights, means, torch.tensor(stds), SCHEDULE)
    grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    density = sum(
        w * torch.exp(-0.5 * ((grid - m) / s) ** 2) / s
        for w, m, s in zip((0.3, 0.7), (-0.5, 0.8), stds, strict=True)
    )
    x = torch.tensor([[-1.0], [0.1], [0.4], [1.3]], dtype=torch.float64)
    for t in (5, 200, 600, 1000):
        abar = SCHEDULE.alphas_cumprod[t]
        likelihood = torch.exp(-0.5 * (x - abar.sqrt() * grid) ** 2 / (1 - abar))
        posterior = likelihood * density
        expected = (posterior * grid).sum(1) / posterior.sum(1)
        torch.testing.assert_close(denoise(x, t)[:, 0], expected, rtol=1e-5, atol=1e-6)
        times = torch.full((4,), t)
        torch.testing.assert_close(denoise(x, times), denoise(x, t), rtol=1e-5, atol=1e-6)


def test_oracles_agree_where_they_overlap():
    x = randn(6, 2, 3)
    one = torch.ones(1, dtype=torch.float64)
    mixture = mixture_oracle(one, -0.3 * torch.ones(1, 2, 3).double(), 0.5 * one, SCHEDULE)
    gaussian = gaussian_oracle(-0.3, 0.5, SCHEDULE)
    point = dataset_oracle(0.4 * torch.ones(1, 2, 3).double(), SCHEDULE)
    for t in (1, 300, 1000):
        torch.testing.assert_close(mixture(x, t), gaussian(x, t))
        torch.testing.assert_close(point(x, t), torch.full_like(x, 0.4))
        torch.testing.assert_close(gaussian_oracle(0.4, 0.0, SCHEDULE)(x, t), point(x, t))


def test_dataset_oracle_finds_the_nearest_item_at_low_noise_and_the_mean_at_high():
    data = randn(5, 3)
    denoise = dataset_oracle(data, SCHEDULE)
    torch.testing.assert_close(denoise(data + 1e-4, 1), data)
    blurred = denoise(randn(5, 3, seed=2), 1000)
    assert (blurred - data.mean(0)).abs().max() < 0.1


def test_bad_mixtures_are_refused():
    one, point = torch.ones(1), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="as many weights"):
        mixture_oracle(torch.ones(2), point, one, SCHEDULE)
    with pytest.raises(ValueError, match="positive weights"):
        mixture_oracle(-one, point, one, SCHEDULE)
    with pytest.raises(ValueError, match="0 or more"):
        gaussian_oracle(0.0, -1.0, SCHEDULE)
