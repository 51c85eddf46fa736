"""Denoisers that are exactly right, for data simple enough to solve on paper.

An oracle returns E[x_0 | x_t], which a network is trained to estimate. With it a sampler can be
proved right before anything is trained, and a sampler's error can be separated from a network's.
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
    mixture a mixture: component k becomes N(√ᾱ m_k, (ᾱ s_k² + 1 − ᾱ) I). The result is each
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
        a, b = schedule.signal_noise(t, x)
        abar = a**2
        var = (abar * s**2 + b**2).expand(len(x), len(s))
        distance = (x.square().sum(1, keepdim=True) - 2 * a * x @ m.T) + abar * m.square().sum(1)
        log_likelihood = -0.5 * (distance / var + m.shape[1] * var.log())
        responsibility = (w.log() + log_likelihood).softmax(1)
        # Component k estimates m_k + gain_k (x_t − √ᾱ m_k). The weighted sum needs no [B, K, D]:
        gain = a * s**2 / var
        kept = (responsibility * (1 - a * gain)) @ m
        x0 = kept + (responsibility * gain).sum(1, keepdim=True) * x
        return x0.view_as(x_t)

    return denoise


def gaussian_oracle(mean: float, std: float, schedule: NoiseSchedule) -> Denoise:
    """E[x_0 | x_t] where all values of x_0 are independent N(mean, std²); std 0 is a point mass."""
    if std < 0:
        raise ValueError(f"A standard deviation is 0 or more, not {std}.")

    def denoise(x_t: Tensor, t: int | Tensor) -> Tensor:
        a, b = schedule.signal_noise(t, x_t)
        gain = a * std**2 / (a**2 * std**2 + b**2)
        return mean + gain * (x_t - a * mean)

    return denoise


def dataset_oracle(data: Tensor, schedule: NoiseSchedule) -> Denoise:
    """E[x_0 | x_t] where x_0 is one of the N items of `data` f[N,*], each equally likely.

    A network of unlimited capacity would learn this from a finite training set. Its samples are
    exactly that set: a perfect fit is a copy.
    """
    one = torch.ones(len(data), dtype=data.dtype)
    return mixture_oracle(one, data, 0 * one, schedule)
