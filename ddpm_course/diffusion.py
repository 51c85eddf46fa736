"""The forward process, its posterior, and the one place where a network becomes a denoiser.

Shapes: x0, x_t, noise are f[B,*] (images are f[B,C,H,W] in [-1, 1]); t is an int for the whole
batch or i64[B]. Equation numbers are those of DDPM (Ho et al. 2020, arXiv:2006.11239).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_course.schedules import NoiseSchedule, broadcast

PREDICTIONS = ("eps", "x0", "v")

Denoise = Callable[[Tensor, int | Tensor], Tensor]
"""What a sampler sees: denoise(x_t, t) -> x0_hat, the estimate of E[x_0 | x_t]."""


def q_sample(x0: Tensor, t: int | Tensor, noise: Tensor, schedule: NoiseSchedule) -> Tensor:
    """x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε: the noised image at time t in one step (Eq. 4)."""
    if noise.shape != x0.shape:
        raise ValueError(f"noise {tuple(noise.shape)} and x0 {tuple(x0.shape)} differ in shape.")
    a, b = schedule.signal_noise(t, x0)
    return a * x0 + b * noise


def q_posterior(x0: Tensor, x_t: Tensor, t: int | Tensor, s: int | Tensor, schedule: NoiseSchedule):
    """Mean f[B,*] and variance of q(x_s | x_t, x_0) for any s < t (Eqs. 6 and 7, where s = t−1).

    The step from s to t multiplies the image by √α with α = ᾱ_t/ᾱ_s and adds noise of variance
    1−α. At s = 0 the variance is exactly 0.
    The variance is a float for int times, f[B,1,..] for tensors. Raises ValueError unless s < t.
    """
    times = [torch.as_tensor(time).cpu() for time in (t, s)]
    if bool((times[1] >= times[0]).any()):
        raise ValueError(f"The posterior goes back in time: s = {s} must be smaller than t = {t}.")
    abar_t, abar_s = (schedule.alphas_cumprod[time] for time in times)
    alpha = abar_t / abar_s
    from_x0 = broadcast(abar_s.sqrt() * (1 - alpha) / (1 - abar_t), x_t)
    from_x_t = broadcast(alpha.sqrt() * (1 - abar_s) / (1 - abar_t), x_t)
    variance = broadcast((1 - abar_s) / (1 - abar_t) * (1 - alpha), x_t)
    return from_x0 * x0 + from_x_t * x_t, variance


def convert(
    value: Tensor,
    x_t: Tensor,
    t: int | Tensor,
    schedule: NoiseSchedule,
    *,
    source: str,
    target: str,
) -> Tensor:
    """Rewrite a prediction f[B,*]: given x_t, each of ε, x_0 and v = √ᾱ_t ε − √(1−ᾱ_t) x_0
    determines the other two (v: Salimans & Ho 2022, arXiv:2202.00512, section 4).

    `source` and `target` are "eps", "x0" or "v". ε says nothing at ᾱ_t = 0, and x_0 gives no ε at
    t = 0: the result is then infinite or NaN, as the algebra is.
    """
    for kind in (source, target):
        _check_prediction(kind)
    if source == target:
        return value
    a, b = schedule.signal_noise(t, x_t)
    if source == "eps":
        x0, eps = (x_t - b * value) / a, value
    elif source == "x0":
        x0, eps = value, (x_t - a * value) / b
    else:
        x0, eps = a * x_t - b * value, b * x_t + a * value
    return _express(x0, eps, a, b, target)


def _express(x0: Tensor, eps: Tensor, a: float | Tensor, b: float | Tensor, kind: str) -> Tensor:
    """ε, x_0 or v, from the clean image and the noise."""
    if kind == "v":
        return a * eps - b * x0
    return eps if kind == "eps" else x0


def _check_prediction(kind: str) -> None:
    if kind not in PREDICTIONS:
        raise ValueError(f"Unknown prediction {kind!r}: choose one of {', '.join(PREDICTIONS)}.")


class Denoiser(nn.Module):
    """A network with its noise schedule, as an estimator of the clean image.

    net(x_t, t−1, **cond) -> f[B,*] predicts ε, x_0 or v: this is the only place that knows which,
    the only one that clips, and the only one that subtracts 1 from t (networks count from 0).

    Args:
        net: the network.
        schedule: its noise schedule.
        prediction: "eps", "x0" or "v".
        clip: clip the estimate to [-1, 1], the range of images. Off for data that is not images.

    Raises ValueError for an unknown prediction, and for "eps" where ᾱ_T = 0.
    """

    net: Any  # a module called as net(x, t, **cond), with whatever attributes it has

    def __init__(
        self, net: nn.Module, schedule: NoiseSchedule, prediction: str = "eps", clip: bool = True
    ):
        super().__init__()
        _check_prediction(prediction)
        if prediction == "eps" and schedule.alphas_cumprod[-1] == 0:
            raise ValueError(
                "An eps network cannot be used where ᾱ_T = 0: x_T holds nothing of the image, so "
                'no x0 follows from ε there. Use prediction="v" or "x0".'
            )
        self.net, self.schedule = net, schedule
        self.prediction, self.clip = prediction, clip

    def predict_x0(self, x_t: Tensor, t: int | Tensor, **cond) -> Tensor:
        """The estimate of x_0 before clipping, f[B,*]."""
        output = self.net(x_t, self._net_time(x_t, t), **cond)
        return convert(output, x_t, t, self.schedule, source=self.prediction, target="x0")

    def forward(self, x_t: Tensor, t: int | Tensor, **cond) -> Tensor:
        """The estimate of x_0, f[B,*], clipped to [-1, 1] if `clip` is on."""
        return self._clip(self.predict_x0(x_t, t, **cond))

    def bind(self, **cond) -> Denoise:
        """denoise(x_t, t) with the conditions filled in, for example `bind(y=labels)`."""
        return partial(self, **cond)

    def loss(self, x0: Tensor, t: Tensor, noise: Tensor, **cond) -> Tensor:
        """Squared error of each image's prediction at time t, mean over its values: f[B].

        For prediction "eps" this is the inside of L_simple (Eq. 14).
        """
        x_t = q_sample(x0, t, noise, self.schedule)
        output = self.net(x_t, self._net_time(x_t, t), **cond)
        a, b = self.schedule.signal_noise(t, x0)
        target = _express(x0, noise, a, b, self.prediction)
        return (output - target).square().flatten(1).mean(1)

    @property
    def device(self) -> torch.device:
        """The device of the network's weights."""
        return next(self.parameters()).device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that the network was made for."""
        return self.net.image_shape

    def _net_time(self, x: Tensor, t: int | Tensor) -> Tensor:
        if isinstance(t, int):
            return torch.full((len(x),), t - 1, device=x.device)
        return t.to(x.device) - 1

    def _clip(self, x0: Tensor) -> Tensor:
        return x0.clamp(-1, 1) if self.clip else x0


def guided(denoiser: Denoiser, y: Tensor, scale: float) -> Denoise:
    """Classifier-free guidance towards labels y i64[B] (Ho & Salimans 2022, arXiv:2207.12598).

    x̂_0 = x̂_0(null) + scale · (x̂_0(y) − x̂_0(null)): 0 ignores the label, 1 is the plain
    conditional model, more exaggerates it. Each call is one batch of 2B. The two estimates are
    combined before clipping, and the result is clipped once if the denoiser clips. For a given x_t
    the three parameterisations are affine in each other, so combining x̂_0 is combining ε.

    Raises ValueError if the network was not trained with labels.
    """
    null_class = getattr(denoiser.net, "null_class", None)
    if null_class is None:
        raise ValueError("Guidance needs a class-conditional network; this one takes no labels.")
    labels = torch.cat([y, torch.full_like(y, null_class)])

    def denoise(x_t: Tensor, t: int | Tensor) -> Tensor:
        both_t = t if isinstance(t, int) else torch.cat([t, t])
        with_y, without = denoiser.predict_x0(torch.cat([x_t, x_t]), both_t, y=labels).chunk(2)
        return denoiser._clip(without + scale * (with_y - without))

    return denoise
