"""What a sampler must do to Gaussian data, worked out with no code of the package.

With data N(m, s²) and the exact denoiser, x̂_0 = k x_t + c, so every step is affine and maps
N(μ, σ²) to N(Gμ + H, G²σ² + v). Times are the paper's; abar[0] = 1.
"""

import math
from itertools import pairwise


def affine_denoiser(abar_t, m, s):
    a = math.sqrt(abar_t)
    k = a * s * s / (abar_t * s * s + 1 - abar_t)
    return k, m - k * a * m


def ancestral_moments(abar, ts, m, s, large=False):
    """Mean and std of `ddpm` from x_T ~ N(0, 1)."""
    mu, var = 0.0, 1.0
    for t, u in pairwise(ts):
        k, c = affine_denoiser(abar[t], m, s)
        alpha, sigma2 = abar[t] / abar[u], 1 - abar[t]
        from_x0 = math.sqrt(abar[u]) * (1 - alpha) / sigma2
        from_xt = math.sqrt(alpha) * (1 - abar[u]) / sigma2
        noise = 0.0 if u == 0 else (1 - alpha) * (1 if large else (1 - abar[u]) / sigma2)
        G = from_x0 * k + from_xt
        mu, var = G * mu + from_x0 * c, G * G * var + noise
    return mu, math.sqrt(var)


def ddim_moments(abar, ts, m, s, eta=0.0):
    """Mean and std of `ddim` from x_T ~ N(0, 1)."""
    mu, var = 0.0, 1.0
    for t, u in pairwise(ts):
        k, c = affine_denoiser(abar[t], m, s)
        a, sigma2 = math.sqrt(abar[t]), 1 - abar[t]
        noise = eta**2 * (1 - abar[u]) / sigma2 * (1 - abar[t] / abar[u])
        d = math.sqrt(max(1 - abar[u] - noise, 0.0) / sigma2)
        G = math.sqrt(abar[u]) * k + d * (1 - a * k)
        H = (math.sqrt(abar[u]) - d * a) * c
        mu, var = G * mu + H, G * G * var + noise
    return mu, math.sqrt(var)


def dpm_solver_moments(abar, ts, m, s):
    """Mean and std of `dpm_solver_pp_2m` from x_T ~ N(0, 1)."""
    p, q = 1.0, 0.0  # x = p x_T + q
    old, lam_old = None, None
    for t, u in pairwise(ts):
        k, c = affine_denoiser(abar[t], m, s)
        x0 = (k * p, k * q + c)
        if u == 0:
            return x0[1], abs(x0[0])
        snr = [abar[i] / (1 - abar[i]) for i in (t, u)]
        lam_t, lam_u = (0.5 * math.log(v) if v else -math.inf for v in snr)
        h, estimate = lam_u - lam_t, x0
        if old is not None:
            r = (lam_t - lam_old) / h
            estimate = tuple(
                (1 + 1 / (2 * r)) * new - before / (2 * r)
                for new, before in zip(x0, old, strict=True)
            )
        shrink = math.sqrt((1 - abar[u]) / (1 - abar[t]))
        step = -math.expm1(-h) * math.sqrt(abar[u])
        p, q = shrink * p + step * estimate[0], shrink * q + step * estimate[1]
        old, lam_old = x0, lam_t
    raise AssertionError("the grid must end in 0")
