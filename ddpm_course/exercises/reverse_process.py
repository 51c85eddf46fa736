"""Exercises of the notebook on the reverse process."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import randn, require

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


def _pairs() -> list[tuple]:
    """Two tensors, a time and a schedule."""
    # steps of SHORT are so large that no two formulas agree by chance
    short, long = dc.linear_schedule(10, 0.05, 0.5), dc.linear_schedule(1000)
    a, b = (2 * randn(4, 3, seed=seed, dtype=torch.float64) for seed in range(2))
    x, y = a[:1].float(), b[:1].float()
    exact = [(a, b, t, short) for t in (4, 7)]
    return [*exact, (x, y, 9, short), *((a, b, t, long) for t in (1, 50, 500, 900))]


@exercises.add(
    "The mean is a weighted sum of x_0 and x_t. Name the three numbers of Eq. 7 first: β_t, ᾱ_t "
    "and ᾱ_{t−1}, which is `schedule.alphas_cumprod[t - 1]`. Without a bar, α_t is 1 − β_t.",
    _pairs,
    """
    beta / (1 - abar) -> beta / (1 - abar_before)
    beta / (1 - abar) -> beta / (1 - abar_before); + from_x_t -> + math.sqrt(1 - beta)
        You divide by 1−ᾱ_{t−1}. Divide by 1−ᾱ_t.
    alphas_cumprod[t - 1] -> alphas_cumprod[t]
    math.sqrt(abar_before) -> math.sqrt(abar)
    - beta) * (1 - abar_before) -> - beta) * (1 - abar)
    sqrt(abar_before) -> sqrt(abar); - beta) * (1 - abar_before) -> - beta) * (1 - abar)
        ᾱ_t stands where ᾱ_{t−1} belongs. √ᾱ_{t−1} on x_0 and 1−ᾱ_{t−1} on x_t are about one step
        before, `alphas_cumprod[t - 1]`.
    math.sqrt(1 - beta) -> math.sqrt(abar)
        The weight of x_t has √ᾱ_t. x_t is one step away from x_{t−1}, so it is √α_t, with α_t =
        1−β_t.
    (1 - abar_before) / (1 - abar) * beta -> beta
        Your variance is β_t, that of a step forward. Here x_0 is known, which leaves less doubt:
        β̃_t = (1−ᾱ_{t−1})/(1−ᾱ_t) · β_t.
    return from_x0 * x0 + from_x_t * x_t, math.sqrt(variance)
        You returned the standard deviation. The variance β̃_t is its square.
    return from_x0 * x0 + from_x_t * x_t
        Return two things, the mean and the variance.
    """,
    tolerance=1e-3,
)
def q_posterior(x0, x_t, t, schedule):
    """Mean and variance of q(x_{t-1} | x_t, x_0)."""
    beta = schedule.betas[t].item()
    abar, abar_before = schedule.alphas_cumprod[t].item(), schedule.alphas_cumprod[t - 1].item()
    from_x0 = math.sqrt(abar_before) * beta / (1 - abar)
    from_x_t = math.sqrt(1 - beta) * (1 - abar_before) / (1 - abar)
    variance = (1 - abar_before) / (1 - abar) * beta
    return from_x0 * x0 + from_x_t * x_t, variance


def _gaussians() -> list[tuple]:
    m1, m2, p, q = (randn(4, 3, seed=seed, dtype=torch.float64) for seed in range(4))
    half = torch.tensor(0.5)  # one variance for all values
    return [(m1, p.exp(), m2, q.exp()), (m1.float(), half, m2.float(), 3 * half)]


@exercises.add(
    "It is the mean of log N_1 − log N_2 under N_1, and half of four terms: the ratio of the "
    "variances, the squared distance of the means in units of variance_2, the log of a ratio of "
    "variances, and the −1 that makes it 0 for two equal Gaussians.",
    _gaussians,
    """
    _1 / variance_2 -> _1**2 / variance_2**2; ** 2 / variance_2 -> ** 2 / variance_2**2
        You squared the variances. They are σ² already.
    _1 / variance_2 -> _1**0.5 / variance_2**0.5; ** 2 / variance_2 -> ** 2 / variance_2**0.5
        You took standard deviations for variances. No root is needed.
    return 0.5 * (ratio + distance - 1 - torch.log(ratio)) / math.log(2)
        This is in bits. Nats need the natural logarithm.
    """,
)
def kl_gaussians(mean_1, variance_1, mean_2, variance_2):
    """KL(N_1 ‖ N_2) of each value, in nats."""
    ratio = variance_1 / variance_2
    distance = (mean_1 - mean_2) ** 2 / variance_2
    return 0.5 * (ratio + distance - 1 - torch.log(ratio))


@exercises.add(
    "Eq. 4 says how x_t is made of x_0 and ε. Solve it for x_0: first subtract the noise, then "
    "undo the shrinking of the image.",
    _pairs,
    """
    return x_t - math.sqrt(1 - abar) * eps / math.sqrt(abar)
    return x_t / math.sqrt(abar) - math.sqrt(1 - abar) * eps
        Only one term is divided by √ᾱ_t. Put brackets around both.
    """,
    tolerance=1e-4,
)
def x0_from_eps(x_t, eps, t, schedule):
    """The x_0 that, noised with eps, gives x_t."""
    abar = schedule.alphas_cumprod[t].item()
    return (x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)


@exercises.add(
    "x_t = √ᾱ x_0 + √(1−ᾱ) ε and v = √ᾱ ε − √(1−ᾱ) x_0 are a rotation of x_0 and ε. Multiply the "
    "first by √ᾱ and the second by √(1−ᾱ): in their difference ε cancels.",
    _pairs,
    """
    return math.sqrt(1 - abar) * x_t - math.sqrt(abar) * v
        The factors of x_t and v are swapped. At t = 0, x_0 is x_t.
    return math.sqrt(1 - abar) * x_t + math.sqrt(abar) * v
        This is ε = √(1−ᾱ_t) x_t + √ᾱ_t v. You need the other combination, x_0.
    return (x_t - math.sqrt(1 - abar) * v) / math.sqrt(abar)
        You treated v as ε. For v nothing is divided.
    """,
    tolerance=1e-4,
)
def x0_from_v(x_t, v, t, schedule):
    """The x_0 for which x_t and v are what they are."""
    abar = schedule.alphas_cumprod[t].item()
    return math.sqrt(abar) * x_t - math.sqrt(1 - abar) * v


class _Net(nn.Module):
    """A network whose output depends on everything it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, 0.1, -0.2]]))
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        require(
            x.dtype == torch.float32,
            "x_t is float64, as the schedule is. Networks take float32, so use `.to(x0.dtype)`.",
        )
        return x * self.weight.to(x.dtype) + (1 + t).log().view(-1, 1)


def _with_net(f: Callable) -> Callable:
    def loss_and_gradient(x0, t, noise, schedule):
        net = _Net()
        loss = f(net, x0, t, noise, schedule)
        require(net.calls == 1, f"The network was called {net.calls} times. Call it once.")
        learns = isinstance(loss, Tensor) and loss.requires_grad
        require(learns, "The loss has no gradient to learn from. Leave out `.item()` or `no_grad`.")
        [gradient] = torch.autograd.grad(loss.sum(), net.weight, allow_unused=True)
        cut_off = "The gradient doesn't reach the network. Leave out `.detach()` and `.data`."
        require(gradient is not None, cut_off)
        return {"the loss": loss, "its gradient": gradient}

    return loss_and_gradient


def _batches() -> list[tuple]:
    x0, noise, t = 2 * randn(4, 3), randn(4, 3, seed=1), torch.tensor([1, 3, 7, 9])
    short, long = dc.linear_schedule(10, 0.05, 0.5), dc.cosine_schedule(1000)
    return [(x0, t, noise, short), (x0[:2], torch.tensor([700, 30]), noise[:2], long)]


@exercises.add(
    "Three steps: noise x0 to x_t, let the network predict the noise, compare. t holds one time "
    "per row, so ᾱ must be reshaped to [B, 1], and converted to the dtype of x0.",
    _batches,
    """
    .view(-1, 1) ->
        The factors don't line up with x0. t holds one time per row, so give them the shape [B, 1].
    net(x_t, t - 1) -> net(x_t, t)
        The network received t. It counts from 0, so it must receive t − 1.
    net(x_t, t - 1) -> net(x0, t - 1)
        The network received the clean x0. It must see the noised x_t.
    predicted - noise -> predicted - x0
        The prediction is compared with x0. The network predicts the noise.
    predicted - noise -> predicted - x_t
        The prediction is compared with x_t instead of the noise.
    .mean() -> .mean(1)
    .mean() ->
        There is one loss per row or value. Take the mean over everything.
    """,
    through=_with_net,
)
def diffusion_loss(net, x0, t, noise, schedule):
    """Mean squared error of the noise that net predicts, for x0 [B, D] at times t [B]."""
    abar = schedule.alphas_cumprod[t].view(-1, 1).to(x0.dtype)
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    predicted = net(x_t, t - 1)
    return ((predicted - noise) ** 2).mean()


def _points() -> list[tuple]:
    x = torch.linspace(-3, 3, 24, dtype=torch.float64)
    long = dc.linear_schedule(1000)
    probes = [(x.view(2, 3, 4), t, long) for t in (1000, 700, 300, 50, 1)]
    return [*probes, (x[:1], 4, dc.linear_schedule(10, 0.05, 0.5)), (x.float(), 500, long)]


@exercises.add(
    "Given x_0 = ±1, x_t is N(±√ᾱ, 1−ᾱ). By Bayes, each point is weighted by its density at x_t; "
    "the squares cancel, and (eᵘ − e⁻ᵘ)/(eᵘ + e⁻ᵘ) is left, which is tanh u.",
    _points,
    """
    return x_t.sign()
        This is the nearest point. Where both are likely, the mean lies between them.
    / (1 - abar) -> / math.sqrt(1 - abar)
        You divided by √(1−ᾱ_t). A Gaussian divides by 1−ᾱ_t.
    return torch.sigmoid(math.sqrt(abar) * x_t / (1 - abar))
    return torch.sigmoid(2 * math.sqrt(abar) * x_t / (1 - abar))
        This is p, the probability of +1. The mean is 2p − 1.
    / (1 - abar) -> / (1 - abar) / 2
        The exponent is half of what it should be.
    return x_t / math.sqrt(abar)
    return (x_t / math.sqrt(abar)).clamp(-1, 1)
        You only undid the shrinking. x_t/√ᾱ_t still holds all the noise.
    return math.sqrt(abar) * x_t / (1 - abar)
        The tanh is missing. A mean of −1 and +1 can't lie outside of them.
    """,
)
def two_point_denoiser(x_t, t, schedule):
    """E[x_0 | x_t], where x_0 is −1 or +1, each with probability ½."""
    abar = schedule.alphas_cumprod[t].item()
    return torch.tanh(math.sqrt(abar) * x_t / (1 - abar))
