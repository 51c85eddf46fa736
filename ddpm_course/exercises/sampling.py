"""Exercises of the notebook on sampling: from noise to an image."""

import math
from itertools import pairwise, product

import torch
from torch import Tensor

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises, Wrong, close, require, tensor_of

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

SCHEDULE = dc.linear_schedule(1000)
SHAPE = (2, 3, 8, 8)
STEPS = ((700, 500), (1000, 980), (500, 499), (300, 100), (20, 0), (1, 0))


def _images(number: int) -> list[Tensor]:
    """Random images; the first is the noise that `_package_step` draws."""
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=draw) for _ in range(number)]


def _answer(f, otherwise: str, *arguments) -> Tensor:
    """f's image; `otherwise` is what is said if it comes out differently a second time."""
    first, second = (tensor_of(f(*arguments), SHAPE) for _ in range(2))
    require(close(first, second), otherwise)
    return first


def _tell(got: Tensor, mistakes: dict[str, Tensor]) -> None:
    """Raise `Wrong` with the first sentence whose image is the one that came."""
    for sentence, wrong in mistakes.items():
        require(not close(got, wrong), sentence)


def _package_step(sampler, x_t: Tensor, x0: Tensor, t: int, s: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    [(_, x_s, _)] = sampler(lambda x, time: x0, x_t, SCHEDULE, [t, s], draw)
    return x_s


def _test_ddpm_step(f) -> None:
    noise, x_t, x0 = _images(3)
    own = "two calls with the same noise differ: use the `noise` that is given."
    t, s = STEPS[0]
    mean, variance = dc.q_posterior(x0, x_t, t, s, SCHEDULE)
    large = 1 - (SCHEDULE.alphas_cumprod[t] / SCHEDULE.alphas_cumprod[s]).item()
    one_back, its_variance = dc.q_posterior(x0, x_t, t, t - 1, SCHEDULE)
    one_back = one_back + its_variance**0.5 * noise
    swapped = dc.q_posterior(x_t, x0, t, s, SCHEDULE)[0] + variance**0.5 * noise
    mistakes = {
        "the noise is multiplied by the variance, not by its root.": mean + variance * noise,
        "you use the larger variance 1−ᾱ_t/ᾱ_s, which adds noise even at s = 0; the posterior's "
        "own, from `q_posterior`, is smaller and 0 there.": mean + large**0.5 * noise,
        "this is the mean alone; a draw is the mean plus √variance times noise.": mean,
        "you noise x0_hat to s and forget x_t: that jumps to another image instead of walking on "
        "from this one. `q_posterior` knows both.": dc.q_sample(x0, s, noise, SCHEDULE),
        f"you went to t − 1 = {t - 1}, but s = {s}: a step may be longer than 1.": one_back,
        "x_t and x0_hat have changed places: `q_posterior` takes x0 first.": swapped,
    }
    _tell(_answer(f, own, x_t, x0, t, s, noise, SCHEDULE), mistakes)
    for t, s in STEPS:
        case, mean = f"from {t} to {s}", dc.q_posterior(x0, x_t, t, s, SCHEDULE)[0]
        bare = tensor_of(f(x_t, x0, t, s, 0 * noise, SCHEDULE), SHAPE)
        require(close(bare, mean), f"{case} it is not the mean of `q_posterior` even at noise 0.")
        got = _answer(f, own, x_t, x0, t, s, noise, SCHEDULE)
        last = "at s = 0 you still add noise, and it would stay in the picture: the variance is 0."
        require(s > 0 or close(got, mean), last)
        same = close(got, _package_step(dc.ddpm, x_t, x0, t, s))
        require(same, f"{case} the mean is right, but the noise is not multiplied by √variance.")


@exercises.add(
    _test_ddpm_step,
    "`dc.q_posterior(x0_hat, x_t, t, s, schedule)` returns the mean, a tensor, and the variance, a "
    "float. A draw from N(m, v) is m + √v · noise.",
)
def ddpm_step(x_t, x0_hat, t, s, noise, schedule):
    """One ancestral step, from t to s < t: a draw from q(x_s | x_t, x0_hat)."""
    mean, variance = dc.q_posterior(x0_hat, x_t, t, s, schedule)
    return mean + math.sqrt(variance) * noise


def _test_ddim_step(f) -> None:
    (x_t, x0), (t, s) = _images(2), STEPS[0]
    fresh = "two calls differ: you add fresh noise, but with η = 0 the noise is the eps in x_t."
    abar = SCHEDULE.alphas_cumprod.tolist()

    def step(s: int, p=0.5, q=0.5, r=0.5, u=0.5, *, x0: Tensor = x0) -> Tensor:
        eps = (x_t - abar[t] ** p * x0) / (1 - abar[t]) ** q
        return abar[s] ** r * x0 + (1 - abar[s]) ** u * eps

    got = _answer(f, fresh, x_t, x0, t, s, SCHEDULE)
    all_noise = x_t + (abar[s] ** 0.5 - abar[t] ** 0.5) * x0
    clamped, x0_clamped = step(s).clamp(-1, 1), step(s, x0=x0.clamp(-1, 1))
    mistakes = {
        f"you used s = t − 1 = {t - 1}, but s = {s}: take ᾱ_s as it comes.": step(t - 1),
        "this is x_t again: take eps with ᾱ_t, but put the image together with ᾱ_s.": x_t,
        "the second term keeps √(1−ᾱ_t), so none of the noise goes: it is √(1−ᾱ_s).": all_noise,
        "you clamp x_s, which is noisy and may leave [-1, 1]; clamp x0_hat, never x_s.": clamped,
        "you clamp x0_hat here; the denoiser does that, and only for images.": x0_clamped,
        "in eps you subtract all of x0_hat; x_t holds √ᾱ_t of it.": step(s, p=0.0),
        "eps is not divided by √(1−ᾱ_t), so it is too weak.": step(s, q=0.0),
        "this is the mean of a DDPM step, noise left out and not replaced; Eq. 12 puts all of "
        "√(1−ᾱ_s) eps back.": dc.q_posterior(x0, x_t, t, s, SCHEDULE)[0],
    }
    _tell(got, mistakes)
    for powers in list(product((0.5, 1.0), repeat=4))[1:]:
        root = "a root is missing: ᾱ and 1−ᾱ are variances, and values are scaled by their roots."
        require(not close(got, step(s, *powers)), root)
    for t, s in STEPS:
        got = _answer(f, fresh, x_t, x0, t, s, SCHEDULE)
        require(s > 0 or close(got, x0), f"from {t} to 0 it is not x0_hat, though ᾱ_0 = 1.")
        same = close(got, _package_step(dc.ddim, x_t, x0, t, s))
        require(same, f"from {t} to {s} it differs from `dc.ddim` with η = 0.")


@exercises.add(
    _test_ddim_step,
    "x_t is √ᾱ_t of x0_hat plus √(1−ᾱ_t) of a noise eps. Find eps, then mix the same two again in "
    "the shares of s.",
)
def ddim_step(x_t, x0_hat, t, s, schedule):
    """One step of DDIM with η = 0, from t to s < t: the same eps, less of it."""
    abar_t = schedule.alphas_cumprod[t].item()
    abar_s = schedule.alphas_cumprod[s].item()
    eps = (x_t - math.sqrt(abar_t) * x0_hat) / math.sqrt(1 - abar_t)
    return math.sqrt(abar_s) * x0_hat + math.sqrt(1 - abar_s) * eps


def _test_time_grid(f) -> None:
    for T, steps in ((1000, 10), (1000, 7), (350, 50), (350, 100), (1000, 1), (350, 350)):
        got, case = f(T, steps), f"for T = {T} and steps = {steps}"
        require(got is not None, "it returned None: does the function end with `return`?")
        kind = type(got).__name__
        require(isinstance(got, list | tuple | range), f"a list of ints is wanted, not {kind}.")
        odd = next((type(t).__name__ for t in got if type(t) is not int), None)
        require(odd is None, f"a time is the index of a table, so an int; one of yours is {odd}.")
        require(len(got) > 1, f"{case} there is no step in the grid; it needs {steps + 1} times.")
        require(got[0] > got[-1], "your grid rises; sampling goes back in time, from T to 0.")
        told = "the model never sees T, so it takes pure noise for something cleaner."
        require(got[0] == T, f"{case} the first time is {got[0]}: {told}")
        require(got[-1] == 0, f"{case} it stops at {got[-1]}, where noise is left: end in 0.")
        require(len(got) != steps, f"{case} you list {steps} times: n steps have n + 1 ends.")
        require(len(got) == steps + 1, f"{case} there are {len(got)} times, not {steps + 1}.")
        falls = all(a > b for a, b in pairwise(got))
        require(falls, f"{case} a time repeats or rises: take the *nearest* whole number, `round`.")
        wanted = dc.timesteps(dc.linear_schedule(T), steps)
        for k, (t, right) in enumerate(zip(got, wanted, strict=True)):
            require(abs(t - right) < 2, f"{case} strides are uneven: time {k} is {t}, not {right}.")


@exercises.add(
    _test_time_grid,
    "After k steps the share k/steps of the way from T to 0 is done, and k runs from 0 to steps, "
    "both included.",
)
def time_grid(T, steps):
    """The steps + 1 times from T down to 0, evenly spaced."""
    return [round(T * (1 - k / steps)) for k in range(steps + 1)]


def _test_slerp(f) -> None:
    a, b = (image[:1] for image in _images(2))
    b = 0.6 * a + 0.8 * b  # 53° apart, so that sin θ is not 1
    b, w, shape = b * (a.norm() / b.norm()), 0.3, tuple(a.shape)

    def angle(*dim: int) -> Tensor:
        square = a.square().sum(dim, keepdim=True) * b.square().sum(dim, keepdim=True)
        return ((a * b).sum(dim, keepdim=True) / square.sqrt()).acos()

    def mixed(theta: Tensor, w: float = w, b: Tensor = b) -> Tensor:
        return (((1 - w) * theta).sin() * a + (w * theta).sin() * b) / theta.sin()

    no_angle = "acos got no cosine: a·b is one only after division by the lengths of a and b."
    try:
        for second in (b, 2 * b):
            raw = f(a, second, w)
            require(not isinstance(raw, Tensor) or bool(raw.isfinite().all()), no_angle)
    except ValueError as error:
        raise Wrong(no_angle) from error
    got, start = (tensor_of(f(a, b, weight), shape) for weight in (w, 0.0))
    theta = angle(0, 1, 2, 3)
    degrees, right_angle = theta.rad2deg(), 0 * theta + math.pi / 2
    mistakes = {
        "you mix in a straight line: in the middle the variance of two noises falls to ½, and the "
        "image looks flat.": (1 - w) * a + w * b,
        "the angle is in degrees; `sin` takes radians, as `acos` gives.": mixed(degrees),
        "θ is taken as 90°, which two noises only come near: measure it.": mixed(right_angle),
        "the result is not divided by sin θ.": mixed(theta) * theta.sin(),
    }
    _tell(got, mistakes)
    _tell(start, {"you swapped the ends: w = 0 is a, w = 1 is b.": b})
    _tell(start, {"the result has length 1: divide by lengths only for the angle.": a / a.norm()})
    for dim in ((1,), (2,), (3,), (2, 3)):
        pixels = "you take many angles; a and b are one long vector each, with one angle between."
        require(not close(got, mixed(angle(*dim))), pixels)
    ends = close(start, a) and close(f(a, b, 1.0), b)
    require(ends, "w = 0 must give a itself, and w = 1 b itself.")
    middle = f(a, b, 0.5).norm() / a.norm()
    require(close(middle, 1.0), f"halfway the length is {middle:.3f} of that of a and b, not 1.")
    require(close(got, f(b, a, 1 - w)), "a at w is not b at 1 − w: treat both alike.")
    same = all(close(f(a, v, u), mixed(theta, u, v)) for v in (b, 2 * b) for u in (0.2, 0.7))
    require(same, "ends and middle are right, but between them it is not Shoemake's formula.")


@exercises.add(
    _test_slerp,
    "The cosine of the angle is the sum of a · b over all pixels, divided by both lengths; `acos` "
    "gives θ. The rest is the formula.",
)
def slerp(a, b, w):
    """From noise a (w = 0) to noise b (w = 1) along the sphere, each taken as one vector."""
    theta = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)


def _test_keep_known(f) -> None:
    (x_s, x0, noise), s = _images(3), 400
    here = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    here[..., 2:6, 1:5] = True
    answers = []
    for mask, kind in ((here.float(), "float"), (here, "bool")):
        try:
            own = "two calls differ: noise the known image with the `noise` that is given."
            answers.append(_answer(f, own, x_s, x0, mask, s, noise, SCHEDULE))
        except (RuntimeError, TypeError, IndexError) as error:
            if "bool" not in str(error).lower():
                raise
            raise Wrong(f"it stopped at a {kind} mask; both kinds come, so convert it.") from error
    got, inside = answers[0], answers[0][:, :, 2:6, 1:5]
    known = dc.q_sample(x0, s, noise, SCHEDULE)
    all_noised = dc.q_sample(torch.where(here, x0, x_s), s, noise, SCHEDULE)
    mistakes = {
        "the mask is inverted: where it is 1, the image is known.": torch.where(here, x_s, known),
        "you keep nothing of x_s where the mask is 0: that part is being sampled.": known * here,
        "you noise x_s as well, though it is at s already: noise x0_known alone.": all_noised,
    }
    _tell(got, mistakes)
    half = "you mix known and sampled half and half; inside the mask only the known counts."
    clean = "you paste the clean image: x_s is noisy, so bring x0_known to s first."
    _tell(inside, {half: ((known + x_s) / 2)[:, :, 2:6, 1:5], clean: x0[:, :, 2:6, 1:5]})
    for u in (s - 1, s + 1, 1000):
        other = dc.q_sample(x0, u, noise, SCHEDULE)[:, :, 2:6, 1:5]
        _tell(inside, {f"the known part has the noise of t = {u}; x_s is at s = {s}.": other})
    for answer in answers:
        require(close(answer * here, known * here), "where the mask is 1, it is not `q_sample`'s.")
        require(close(answer * ~here, x_s * ~here), "where the mask is 0, x_s has changed.")


@exercises.add(
    _test_keep_known,
    "x_s has the noise of s, so what joins it needs as much: `dc.q_sample` brings x0_known there. "
    "Then choose pixel by pixel, with `torch.where`.",
)
def keep_known(x_s, x0_known, mask, s, noise, schedule):
    """x_s, with the known image noised to s in its place where mask is 1."""
    known = dc.q_sample(x0_known, s, noise, schedule)
    return torch.where(mask.bool(), known, x_s)


def _test_score(f) -> None:
    means = torch.tensor([[-0.8, 0.2], [0.3, 0.6], [0.5, -0.7]], dtype=torch.float64)
    weights, stds = means.new_tensor([0.2, 0.5, 0.3]), means.new_tensor([0.1, 0.2, 0.05])
    x_t = _images(1)[0].double().view(-1, 2)
    for t in (300, 100, 700):
        abar, x = SCHEDULE.alphas_cumprod[t], x_t.clone().requires_grad_()
        with torch.enable_grad():
            variance = abar * stds**2 + 1 - abar
            distance = (x[:, None] - abar.sqrt() * means).square().sum(2)
            log_q = (weights.log() - distance / (2 * variance) - variance.log()).logsumexp(1)
            [right] = torch.autograd.grad(log_q.sum(), x)
        x0 = dc.mixture_oracle(weights, means, stds, SCHEDULE)(x_t, t)
        got, b = tensor_of(f(x_t, x0, t, SCHEDULE), tuple(x_t.shape)), (1 - abar).sqrt()
        mistakes = {
            "the sign is wrong: this points to the noise, the score to the data.": -right,
            "this is eps: change its sign and divide by √(1−ᾱ_t).": -right * b,
            "this is −eps: divide it by √(1−ᾱ_t) once more.": right * b,
            "this is −eps/(1−ᾱ_t): one division by √(1−ᾱ_t) too many.": right / b,
            "this is √ᾱ_t x0_hat − x_t, divided by nothing: it lacks 1−ᾱ_t.": right * b**2,
            "x_t is compared to x0_hat itself, not √ᾱ_t of it.": (x0 - x_t) / b**2,
            "this is x0_hat − x_t, the way to the clean image, not yet a score.": x0 - x_t,
        }
        _tell(got, mistakes)
        require(close(got, right), f"at t = {t} it is not the gradient that autograd finds.")


@exercises.add(
    _test_score,
    "Given x_0, x_t is Gaussian with mean √ᾱ_t x_0 and variance 1−ᾱ_t. Take the gradient of its "
    "log density in x_t, then put x0_hat for x_0.",
)
def score(x_t, x0_hat, t, schedule):
    """∇ log q(x_t), if x0_hat is E[x_0 | x_t]."""
    abar = schedule.alphas_cumprod[t].item()
    return (math.sqrt(abar) * x0_hat - x_t) / (1 - abar)
