"""Plausible wrong answers to the exercises of notebook 01, and what each is told."""

import math

import torch

from ddpm_course import cosine_schedule, linear_schedule
from ddpm_course.exercises import forward_noising


def noise_step__std_is_beta(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return math.sqrt(1 - beta) * x + beta * noise


def noise_step__no_shrinking(x, t, noise, schedule):
    return x + math.sqrt(schedule.betas[t].item()) * noise


def noise_step__swapped(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return math.sqrt(beta) * x + math.sqrt(1 - beta) * noise


def noise_step__counts_from_0(x, t, noise, schedule):
    beta = schedule.betas[t - 1].item()
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


def noise_step__mean_without_root(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return (1 - beta) * x + math.sqrt(beta) * noise


def noise_step__forgets_return(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    x = math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


def noise_step__uses_abar(x, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].item()
    return math.sqrt(abar) * x + math.sqrt(1 - abar) * noise


def alphas_cumprod__no_leading_1(betas):
    return (1 - betas).cumprod(0)


def alphas_cumprod__of_betas(betas):
    return torch.cat([betas.new_ones(1), betas]).cumprod(0)


def alphas_cumprod__adds(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumsum(0)])


def alphas_cumprod__single_alphas(betas):
    return torch.cat([betas.new_ones(1), 1 - betas])


def alphas_cumprod__rooted(betas):
    return torch.cat([betas.new_ones(1), 1 - betas]).cumprod(0).sqrt()


def alphas_cumprod__leading_0(betas):
    return torch.cat([betas.new_zeros(1), (1 - betas).cumprod(0)])


def q_sample__no_reshape(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].to(x0.dtype)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def q_sample__along_width(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].to(x0.dtype).view(1, 1, -1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def q_sample__variance_for_std(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar) * noise


def q_sample__abar_without_root(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar * x0 + (1 - abar).sqrt() * noise


def q_sample__counts_from_0(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t - 1].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def q_sample__last_beta_only(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + schedule.betas[t].view(-1, 1, 1, 1).sqrt() * noise


def q_sample__swapped(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return (1 - abar).sqrt() * x0 + abar.sqrt() * noise


def q_sample__own_noise(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * torch.randn_like(x0)


def cosine_alphas_cumprod__not_normalised(T, s):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return ((u + s) / (1 + s) * math.pi / 2).cos() ** 2


def cosine_alphas_cumprod__not_squared(T, s):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos()
    return f / f[0]


def cosine_alphas_cumprod__without_s(T, s):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return (u * math.pi / 2).cos() ** 2


def cosine_alphas_cumprod__one_short(T, s):
    return cosine_schedule(T, s).alphas_cumprod[1:]


def beta_end_for__scaled(T, target):
    return 0.02 * 1000 / T


def beta_end_for__as_copied(T, target):
    return 0.02


def beta_end_for__of_root(T, target):
    return forward_noising.beta_end_for(T, target**2)


def beta_end_for__too_large(T, target):
    return 20 * 1000 / T


def cosine_alphas_cumprod__cut_off(T, s):
    return cosine_schedule(T, s).alphas_cumprod


def cosine_alphas_cumprod__float32(T, s):
    f = ((torch.arange(T + 1) / T + s) / (1 + s) * math.pi / 2).cos() ** 2
    return f / f[0]


def q_sample__float64(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def noise_step__in_place(x, t, noise, schedule):
    x *= (1 - schedule.betas[t].item()) ** 0.5
    return x.add_(noise, alpha=schedule.betas[t].item() ** 0.5)


def alphas_cumprod__in_place(betas):
    return torch.cat([torch.ones(1), betas.neg_().add_(1).cumprod(0)])


def q_sample__math(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t]
    return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise


def noise_step__one_schedule(x, t, noise, schedule):
    beta = 1e-4 + (t - 1) * (0.02 - 1e-4) / 999
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


def alphas_cumprod__one_schedule(betas):
    return linear_schedule(1000).alphas_cumprod


def noise_step__own_noise(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn_like(x)


def q_sample__one_time(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t[0]].item()
    return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise


def q_sample__noise_without_factor(x0, t, noise, schedule):
    return schedule.alphas_cumprod[t].view(-1, 1, 1, 1).sqrt().to(x0.dtype) * x0 + noise


def _bisect(T, target, keep_upper):
    low, high = 1e-4, 0.999
    for _ in range(50):
        middle = (low + high) / 2
        reached = linear_schedule(T, 1e-4, middle).alphas_cumprod[-1].item()
        low, high = (middle, high) if keep_upper(reached, target) else (low, middle)
    return middle


def beta_end_for__wrong_half(T, target):
    return _bisect(T, target, lambda reached, target: reached < target)


def beta_end_for__never_larger(T, target):
    return _bisect(T, target, lambda reached, target: False)


WRONG = {
    q_sample__noise_without_factor: "the factors of the noise are not",
    noise_step__own_noise: "asked the same twice",
    q_sample__one_time: "each has its own time in t",
    beta_end_for__wrong_half: "β_T = 0.999 cannot be",
    beta_end_for__never_larger: "β_T = 0.0001 cannot be",
    noise_step__one_schedule: "the noise is multiplied by 0.0",
    alphas_cumprod__one_schedule: "right for one schedule only",
    cosine_alphas_cumprod__cut_off: "ᾱ_T is cut off",
    cosine_alphas_cumprod__float32: "but torch.float32",
    q_sample__float64: "come as float64 where float32 went in",
    q_sample__math: "such as `torch.sqrt`",
    noise_step__in_place: "you write into x,",
    alphas_cumprod__in_place: "you write into betas,",
    noise_step__std_is_beta: "its variance is β_t²",
    noise_step__no_shrinking: "without shrinking the image",
    noise_step__swapped: "swapped their factors",
    noise_step__counts_from_0: "you used β_499",
    noise_step__mean_without_root: "multiplied by 1−β_t",
    noise_step__forgets_return: "it returned None",
    noise_step__uses_abar: "the noise is multiplied by",
    alphas_cumprod__no_leading_1: "put ᾱ_0 = 1 in front",
    alphas_cumprod__of_betas: "you multiplied the β_t",
    alphas_cumprod__adds: "you added the α_t up",
    alphas_cumprod__single_alphas: "these are the single α_t",
    alphas_cumprod__rooted: "these are √ᾱ_t",
    alphas_cumprod__leading_0: "ᾱ_0 is 0",
    q_sample__no_reshape: "the factors do not line up",
    q_sample__along_width: "the factor changes within an image",
    q_sample__variance_for_std: "multiplied by 1−ᾱ_t, which is its variance",
    q_sample__abar_without_root: "it keeps √ᾱ_t",
    q_sample__counts_from_0: "one step off",
    q_sample__last_beta_only: "that of the last step alone",
    q_sample__swapped: "swapped their factors",
    q_sample__own_noise: "draw none of your own",
    cosine_alphas_cumprod__not_normalised: "divide by f(0)",
    cosine_alphas_cumprod__not_squared: "the cosine is not squared",
    cosine_alphas_cumprod__without_s: "s is not used",
    cosine_alphas_cumprod__one_short: "there must be 101",
    beta_end_for__scaled: "0.02 · 1000/T is a good guess",
    beta_end_for__as_copied: "ends in ᾱ_T = 0.029",
    beta_end_for__of_root: "you brought √ᾱ_T to the target",
    beta_end_for__too_large: "must lie between 0 and 1",
}
