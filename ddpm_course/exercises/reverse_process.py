"""Exercises of the notebook on the reverse process."""

import math

import torch
from torch import Tensor

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises, close, require, tensor_of

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

SCHEDULE = dc.linear_schedule(1000)
SHORT = dc.linear_schedule(10, 0.05, 0.5)  # steps so large that no two formulas agree by chance
BEFORE, ABAR = SHORT.alphas_cumprod[3:5].tolist()  # at t = 4, where SHORT is used
ROOT, SIGMA = math.sqrt(ABAR), math.sqrt(1 - ABAR)


def _draw(count: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, generator=draw, dtype=dtype) for _ in range(count)]


def _none_of(got, mistakes: dict) -> None:
    """`Wrong` says the first sentence whose value, or one of whose list of values, was got."""
    for said, wrong in mistakes.items():
        for value in wrong if isinstance(wrong, list) else [wrong]:
            require(not close(got, value), said)


def _check_weights(f, right: tuple[float, float], names: str, mistakes: dict) -> None:
    """Whether f(x, y) = a x + b y with the weights (a, b) = right; else which mistake it is."""
    zero, some = torch.zeros(4, 3), torch.full((4, 3), 0.125)
    pairs = ((zero, zero), (some, zero), (zero, some))
    nothing, a, b = (tensor_of(f(x, y), (4, 3))[0, 0].item() / 0.125 for x, y in pairs)
    only = "of zeros it makes something else: add up a multiple of each tensor, and nothing more."
    require(close(nothing, 0.0), only)
    _none_of((a, b), mistakes)
    for got, wanted, name in zip((a, b), right, names.split(), strict=True):
        require(close(got, wanted), f"{name} is multiplied by {got:.4g}, not {wanted:.4g}.")


def _moments(answer) -> tuple[Tensor, float]:
    """The pair mean and variance, the variance as a number."""
    require(answer is not None, "it returned None: does the function end with `return`?")
    pair = isinstance(answer, tuple | list) and len(answer) == 2 and answer[1] is not None
    require(pair, "return two things, the mean and the variance.")
    return tensor_of(answer[0], (4, 3)), torch.as_tensor(answer[1]).double().mean().item()


def _test_q_posterior(f) -> None:
    last, beta = SHORT.betas[3:5].tolist()
    shrunk, root_alpha, root = (1 - BEFORE) / (1 - ABAR), math.sqrt(1 - beta), math.sqrt(BEFORE)
    a, b = root * beta / (1 - ABAR), root_alpha * shrunk

    def either(wrong_a: float, wrong_b: float) -> list[tuple[float, float]]:
        return [(wrong_a, b), (a, wrong_b), (wrong_a, wrong_b)]

    mistakes: dict = {
        "the weights of x_0 and x_t are swapped: the one with β_t is that of x_0.": (b, a),
        "you divide by 1−ᾱ_{t−1}; divide by 1−ᾱ_t.": [(a / shrunk, b), (a / shrunk, b / shrunk)],
        "ᾱ_t stands where ᾱ_{t−1} belongs: √ᾱ_{t−1} on x_0 and 1−ᾱ_{t−1} on x_t are about one "
        "step before, `alphas_cumprod[t - 1]`.": either(a * ROOT / root, root_alpha),
        "you used β_{t−1}: `schedule.betas[t]` is β_t, because index 0 holds a 0 for clean "
        "data.": either(a * last / beta, math.sqrt(1 - last) * shrunk),
        "the weight of x_t has √ᾱ_t; x_t is one step away from x_{t−1}, so it is √α_t, with α_t "
        "= 1−β_t.": (a, ROOT * shrunk),
        "a root is missing: x_0 has √ᾱ_{t−1}, and x_t has √α_t.": either(root * a, root_alpha * b),
    }
    _check_weights(lambda x0, x_t: _moments(f(x0, x_t, 4, SHORT))[0], (a, b), "x_0 x_t", mistakes)
    x0, x_t = _draw(2)
    variance, right = _moments(f(x0, x_t, 4, SHORT))[1], shrunk * beta
    mistakes = {
        "your variance is β_t, that of a step forward; x_0 is known here, which leaves less "
        "doubt: β̃_t = (1−ᾱ_{t−1})/(1−ᾱ_t) · β_t.": beta,
        "you returned the standard deviation; the variance β̃_t is its square.": math.sqrt(right),
    }
    _none_of(variance, mistakes)
    require(close(variance, right), f"the variance is {variance:.4g}; β̃_t is {right:.4g}.")
    for t in (1, 50, 500, 1000):
        mean, variance = _moments(f(x0, x_t, t, SCHEDULE))
        wanted, right = dc.q_posterior(x0, x_t, t, t - 1, SCHEDULE)
        same = close(mean, wanted, 1e-3) and math.isclose(variance, right, rel_tol=1e-3)
        require(same, f"at t = {t} of 1000 it differs from `ddpm_course.q_posterior`.")


@exercises.add(
    _test_q_posterior,
    "The mean is a weighted sum of x_0 and x_t. Name the three numbers of Eq. 7 first: β_t, ᾱ_t "
    "and ᾱ_{t−1}, which is `schedule.alphas_cumprod[t - 1]`. Without a bar, α_t is 1 − β_t.",
)
def q_posterior(x0, x_t, t, schedule):
    """Mean and variance of q(x_{t-1} | x_t, x_0)."""
    beta = schedule.betas[t].item()
    abar, abar_before = schedule.alphas_cumprod[t].item(), schedule.alphas_cumprod[t - 1].item()
    from_x0 = math.sqrt(abar_before) * beta / (1 - abar)
    from_x_t = math.sqrt(1 - beta) * (1 - abar_before) / (1 - abar)
    variance = (1 - abar_before) / (1 - abar) * beta
    return from_x0 * x0 + from_x_t * x_t, variance


def _test_kl_gaussians(f) -> None:
    m1, m2, p, q = _draw(4)
    v1, v2 = p.exp(), q.exp()

    def kl(ratio: Tensor, distance: Tensor, log: Tensor) -> Tensor:
        return 0.5 * (ratio + distance - 1 + log)

    ratio, gap, log = v1 / v2, (m1 - m2) ** 2, (v2 / v1).log()
    roots = kl(ratio.sqrt(), gap / v2.sqrt(), log / 2)
    got, right = tensor_of(f(m1, v1, m2, v2), (4, 3)), kl(ratio, gap / v2, log)
    mistakes = {
        "this is KL(N_2 ‖ N_1), with the arguments swapped.": kl(1 / ratio, gap / v1, -log),
        "it is twice too large: the ½ is missing.": 2 * right,
        "it is ½ too large: the −1 in the bracket makes it 0 for equal Gaussians.": right + 0.5,
        "you squared the variances; they are σ² already.": kl(ratio**2, gap / v2**2, 2 * log),
        "you took standard deviations for variances: no root is needed.": roots,
        "the log is missing, the price of a small variance_1.": kl(ratio, gap / v2, 0 * log),
        "the log has the wrong sign: it is of variance_2/variance_1.": kl(ratio, gap / v2, -log),
        "the squared difference of means is not divided by variance_2.": kl(ratio, gap, log),
        "this is in bits; nats need the natural logarithm.": right / math.log(2),
    }
    _none_of(got, mistakes)
    require(close(got, right), f"the first value is {got[0, 0]:.4f}, not {right[0, 0]:.4f}.")
    m1, m2, v = m1.float(), m2.float(), torch.tensor(0.5)
    require(close(f(m1, v, m2, v), gap), "with both variances ½ it is not (mean_1 − mean_2)².")


@exercises.add(
    _test_kl_gaussians,
    "It is the mean of log N_1 − log N_2 under N_1, and half of four terms: the ratio of the "
    "variances, the squared distance of the means in units of variance_2, the log of a ratio of "
    "variances, and the −1 that makes it 0 for two equal Gaussians.",
)
def kl_gaussians(mean_1, variance_1, mean_2, variance_2):
    """KL(N_1 ‖ N_2) of each value, in nats."""
    ratio = variance_1 / variance_2
    distance = (mean_1 - mean_2) ** 2 / variance_2
    return 0.5 * (ratio + distance - 1 - torch.log(ratio))


def _test_conversion(f, source: str, right: tuple[float, float], mistakes: dict) -> None:
    """Whether f(x_t, value, t, schedule) is x_0; at t = 4 of SHORT it has the weights `right`."""
    _check_weights(lambda x_t, y: f(x_t, y, 4, SHORT), right, f"x_t {source}", mistakes)
    x_t, value = _draw(2)
    for t in (1, 500, 900):
        x0 = tensor_of(f(x_t, value, t, SCHEDULE), (4, 3))
        true = dc.convert(value, x_t, t, SCHEDULE, source=source, target="x0")
        _none_of(x0, {"you clipped to [−1, 1]; that is for a sampler to do.": true.clamp(-1, 1)})
        same = close(x0, true, 1e-4)
        require(same, f"at t = {t} of 1000 it differs from `ddpm_course.convert`.")


def _test_x0_from_eps(f) -> None:
    a, b = 1 / ROOT, -SIGMA / ROOT
    mistakes = {
        "you read ᾱ one step off: its index is t.": (BEFORE**-0.5, -math.sqrt(1 / BEFORE - 1)),
        "you took away (1−ᾱ_t) ε; the noise in x_t is √(1−ᾱ_t) ε.": (a, b * SIGMA),
        "you divided by ᾱ_t; x_t holds √ᾱ_t x_0, so divide by √ᾱ_t.": (a / ROOT, b / ROOT),
        "you added the noise once more; take it away from x_t.": (a, -b),
        "without the noise √ᾱ_t x_0 is left: divide by √ᾱ_t to undo the shrinking.": (1, -SIGMA),
        "only one term is divided by √ᾱ_t: put brackets around both.": [(1, b), (a, -SIGMA)],
        "you multiplied by √ᾱ_t, which shrinks x_0 again; divide.": (ROOT, -SIGMA * ROOT),
    }
    _test_conversion(f, "eps", (a, b), mistakes)


@exercises.add(
    _test_x0_from_eps,
    "Eq. 4 says how x_t is made of x_0 and ε. Solve it for x_0: first take the noise away, then "
    "undo the shrinking of the image.",
)
def x0_from_eps(x_t, eps, t, schedule):
    """The x_0 that, noised with eps, gives x_t."""
    abar = schedule.alphas_cumprod[t].item()
    return (x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)


def _test_x0_from_v(f) -> None:
    mistakes = {
        "the factors of x_t and v are swapped: at t = 0, x_0 is x_t.": (SIGMA, -ROOT),
        "the sign of v is wrong: v holds −√(1−ᾱ_t) x_0, so take it away.": (ROOT, SIGMA),
        "this is ε = √(1−ᾱ_t) x_t + √ᾱ_t v; the other combination is x_0.": (SIGMA, ROOT),
        "the factors lack their roots: they are √ᾱ_t and √(1−ᾱ_t).": (ABAR, ABAR - 1),
        "you treated v as ε; for v nothing is divided.": (1 / ROOT, -SIGMA / ROOT),
    }
    _test_conversion(f, "v", (ROOT, -SIGMA), mistakes)


@exercises.add(
    _test_x0_from_v,
    "x_t = √ᾱ x_0 + √(1−ᾱ) ε and v = √ᾱ ε − √(1−ᾱ) x_0 are a rotation of x_0 and ε. Multiply the "
    "first by √ᾱ and the second by √(1−ᾱ): in their difference ε cancels.",
)
def x0_from_v(x_t, v, t, schedule):
    """The x_0 for which x_t and v are what they are."""
    abar = schedule.alphas_cumprod[t].item()
    return math.sqrt(abar) * x_t - math.sqrt(1 - abar) * v


def _test_diffusion_loss(f) -> None:
    x0, noise, answer = _draw(3, torch.float32)
    t, calls = torch.tensor([1, 3, 7, 10]), []

    def net(x: Tensor, t: Tensor) -> Tensor:
        calls.append((x, t))
        return answer.requires_grad_()

    try:
        loss = f(net, x0.clone(), t.clone(), noise.clone(), SHORT)
    except RuntimeError as problem:
        line_up = "the factors do not line up with x0: t holds one time a row, so make them [B, 1]."
        require("size of tensor" not in str(problem), line_up)
        raise
    require(loss is not None, "it returned None: does the function end with `return`?")
    require(len(calls) == 1, f"the network was called {len(calls)} times; ask it once.")
    x, time = calls[0]
    _none_of(time, {"the network was given t; it counts from 0, so it must be given t − 1.": t})
    require(close(time, t - 1), f"the network was given the times {time}, not t − 1 = {t - 1}.")
    abar, before = (SHORT.alphas_cumprod[time].view(-1, 1) for time in (t, t - 1))
    root, sigma = abar.sqrt(), (1 - abar).sqrt()
    rootless = ((abar, 1 - abar), (root, 1 - abar), (abar, sigma))
    mistakes: dict = {
        "the network was given the clean x0; it must see the noised x_t.": x0,
        "x_t lacks roots: it is √ᾱ_t x_0 + √(1−ᾱ_t) ε.": [a * x0 + b * noise for a, b in rootless],
        "x_t is noised with ᾱ_{t−1}: only the network counts from 0, and the schedule is read at "
        "t.": before.sqrt() * x0 + (1 - before).sqrt() * noise,
    }
    _none_of(x, mistakes)
    same = close(x, root * x0 + sigma * noise)
    require(same, "the network was not given √ᾱ_t x_0 + √(1−ᾱ_t) ε, where ε is `noise`.")
    dtype = "x_t is float64, as the schedule is, but networks take float32: use `.to(x0.dtype)`."
    require(x.dtype == x0.dtype, dtype)
    learns = isinstance(loss, Tensor) and loss.requires_grad
    require(learns, "the loss has no gradient to learn from: leave out `.item()` or `.detach()`.")
    shape = tuple(loss.shape)
    require(shape == (), f"the loss has shape {shape}; take the mean over everything.")
    right, of_x0, of_x_t = ((answer - target).square().mean() for target in (noise, x0, x))
    mistakes = {
        "the answer is compared with x0; the network predicts the noise.": of_x0,
        "the answer is compared with x_t, not with the noise.": of_x_t,
        "you summed; take the mean over all values.": [n * right for n in (3, 4, 12)],
        "the error is not squared, it is absolute.": (answer - noise).abs().mean(),
    }
    _none_of(loss, mistakes)
    require(close(loss, right), f"the loss is {loss.item():.4f}, not {right.item():.4f}.")
    loss = f(lambda x, t: torch.zeros(2, 3), x0[:2], t[:2], noise[:2], SCHEDULE)
    right = noise[:2].square().mean()
    require(close(loss, right), "for a network that returns 0 it is not the mean of ε².")


@exercises.add(
    _test_diffusion_loss,
    "Three steps: noise x0 to x_t, ask the network for the noise, compare. t holds one time per "
    "row, so ᾱ must be reshaped to [B, 1], and converted to the dtype of x0.",
)
def diffusion_loss(net, x0, t, noise, schedule):
    """Mean squared error of the noise that net predicts, for x0 [B, D] at times t [B]."""
    abar = schedule.alphas_cumprod[t].view(-1, 1).to(x0.dtype)
    x_t = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
    predicted = net(x_t, t - 1)
    return ((predicted - noise) ** 2).mean()


def _test_two_point_denoiser(f) -> None:
    x = torch.linspace(-3, 3, 24, dtype=torch.float64).view(2, 3, 4)
    got, u = tensor_of(f(x, 4, SHORT), (2, 3, 4)), ROOT * x / SIGMA**2
    unshrunk = [x / ROOT, (x / ROOT).clamp(-1, 1)]
    mistakes = {
        "this is the nearest point; where both are likely, the mean lies between them.": x.sign(),
        "you divided by √(1−ᾱ_t); a Gaussian divides by 1−ᾱ_t.": (ROOT * x / SIGMA).tanh(),
        "√ᾱ_t is missing: in x_t the two points have moved to ±√ᾱ_t.": (x / SIGMA**2).tanh(),
        "you did not divide by 1−ᾱ_t: less noise makes the answer surer.": (ROOT * x).tanh(),
        "this is a probability, p of +1; the mean is 2p − 1.": [u.sigmoid(), (2 * u).sigmoid()],
        "the exponent is half of what it should be.": (u / 2).tanh(),
        "you only undid the shrinking; x_t/√ᾱ_t still holds all the noise.": unshrunk,
        "the tanh is missing: a mean of −1 and +1 cannot lie outside of them.": u,
    }
    _none_of(got, mistakes)
    points = torch.tensor([[-1.0], [1.0]])
    oracle = dc.mixture_oracle(torch.ones(2), points, torch.zeros(2), SCHEDULE)
    for t in (1000, 700, 300, 50, 1):
        got, wanted = f(x, t, SCHEDULE), oracle(x.view(-1, 1), t).view_as(x)
        nan = bool(torch.as_tensor(got).isnan().any())
        require(not nan, f"NaN at t = {t}, where `exp` leaves the range of floats: use tanh.")
        same = close(tensor_of(got, (2, 3, 4)), wanted)
        require(same, f"at t = {t} of 1000 it differs from `ddpm_course.mixture_oracle`.")


@exercises.add(
    _test_two_point_denoiser,
    "Given x_0 = ±1, x_t is N(±√ᾱ, 1−ᾱ). By Bayes, each point is weighted by its density at x_t; "
    "the squares cancel, and what is left, (eᵘ − e⁻ᵘ)/(eᵘ + e⁻ᵘ), is tanh u.",
)
def two_point_denoiser(x_t, t, schedule):
    """E[x_0 | x_t], where x_0 is −1 or +1, each with probability ½."""
    abar = schedule.alphas_cumprod[t].item()
    return torch.tanh(math.sqrt(abar) * x_t / (1 - abar))
