"""Denoisers that are exactly right, for data simple enough to solve on paper.

An oracle returns E[x_0 | x_t], the very thing that a network is trained to estimate. With it a
sampler can be proved right before anything is trained, and a network's error can be told from a
sampler's.
"""

import torch
from torch import Tensor

from ddpm_course.diffusion import Denoise
from ddpm_course.schedules import NoiseSchedule


def mixture_oracle(
    weights: Tensor, means: Tensor, stds: Tensor, schedule: NoiseSchedule
) -> Denoise:
    """E[x_0 | x_t] for x_0 ~ Σ_k w_k N(m_k, s_k² I).

    weights f[K] need not sum to 1; means f[K,*]; stds f[K], 0 for a point mass. Noising keeps a
    mixture a mixture: component k becomes N(√ᾱ m_k, (ᾱ s_k² + 1 − ᾱ) I). The answer is every
    component's own Gaussian posterior mean, weighted by how likely x_t came from it.

    Raises ValueError if a weight is not positive, a std is negative, or the lengths differ.
    """
    if not len(weights) == len(means) == len(stds):
        raise ValueError("A mixture needs as many weights as means and stds.")
    if bool((weights <= 0).any()) or bool((stds < 0).any()):
        raise ValueError("A mixture needs positive weights and stds of 0 or more.")

    def denoise(x_t: Tensor, t: int | Tensor) -> Tensor:
        w, m, s = (v.to(x_t.device, x_t.dtype) for v in (weights, means.flatten(1), stds))
        x = x_t.flatten(1)
        abar = schedule.at("alphas_cumprod", t, x)
        var = abar * s**2 + schedule.at("sqrt_one_minus_alphas_cumprod", t, x) ** 2  # [B or 1, K]
        var = var.expand(len(x), len(s))
        a = abar**0.5
        distance = (x.square().sum(1, keepdim=True) - 2 * a * x @ m.T) + abar * m.square().sum(1)
        log_likelihood = -0.5 * (distance / var + m.shape[1] * var.log())
        responsibility = (w.log() + log_likelihood).softmax(1)
        # Component k says m_k + gain_k (x_t − √ᾱ m_k); the weighted sum, without a [B, K, D] array:
        gain = a * s**2 / var
        kept = (responsibility * (1 - a * gain)) @ m
        x0 = kept + (responsibility * gain).sum(1, keepdim=True) * x
        return x0.view_as(x_t)

    return denoise


def gaussian_oracle(mean: float, std: float, schedule: NoiseSchedule) -> Denoise:
    """E[x_0 | x_t] where every value of x_0 is N(mean, std²) by itself; std 0 is a point mass."""
    if std < 0:
        raise ValueError(f"A standard deviation is 0 or more, not {std}.")

    def denoise(x_t: Tensor, t: int | Tensor) -> Tensor:
        a = schedule.at("sqrt_alphas_cumprod", t, x_t)
        noise_var = schedule.at("sqrt_one_minus_alphas_cumprod", t, x_t) ** 2
        gain = a * std**2 / (a * a * std**2 + noise_var)
        return mean + gain * (x_t - a * mean)

    return denoise


def dataset_oracle(data: Tensor, schedule: NoiseSchedule) -> Denoise:
    """E[x_0 | x_t] where x_0 is one of the N items of `data` f[N,*], each equally likely.

    This is what a network of boundless capacity would learn from a finite training set, and what
    it draws is exactly that set: a perfect fit is a copy.
    """
    one = torch.ones(len(data), dtype=data.dtype)
    return mixture_oracle(one, data, 0 * one, schedule)
