"""Plausible wrong answers to the exercises on the reverse process, and what each is told."""

import math

import torch

from ddpm_course.exercises import reverse_process


def _numbers(t, schedule):
    beta = schedule.betas[t].item()
    return beta, schedule.alphas_cumprod[t].item(), schedule.alphas_cumprod[t - 1].item()


def _roots(t, schedule):
    abar = schedule.alphas_cumprod[t].item()
    return math.sqrt(abar), math.sqrt(1 - abar)


def _columns(t, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1).float()
    return abar.sqrt(), (1 - abar).sqrt()


def q_posterior__variance_is_beta(x0, x_t, t, schedule):
    mean, _ = reverse_process.q_posterior(x0, x_t, t, schedule)
    return mean, schedule.betas[t]


def q_posterior__std(x0, x_t, t, schedule):
    mean, variance = reverse_process.q_posterior(x0, x_t, t, schedule)
    return mean, math.sqrt(variance)


def q_posterior__swapped(x0, x_t, t, schedule):
    return reverse_process.q_posterior(x_t, x0, t, schedule)


def q_posterior__abar_of_t(x0, x_t, t, schedule):
    beta, abar, _ = _numbers(t, schedule)
    from_x0 = math.sqrt(abar) * beta / (1 - abar)
    from_x_t = math.sqrt(1 - beta) * (1 - abar) / (1 - abar)
    return from_x0 * x0 + from_x_t * x_t, (1 - abar) / (1 - abar) * beta


def q_posterior__divided_by_before(x0, x_t, t, schedule):
    beta, abar, before = _numbers(t, schedule)
    from_x0 = math.sqrt(before) * beta / (1 - before)
    from_x_t = math.sqrt(1 - beta) * (1 - before) / (1 - abar)
    return from_x0 * x0 + from_x_t * x_t, (1 - before) / (1 - abar) * beta


def q_posterior__beta_counts_from_0(x0, x_t, t, schedule):
    _, abar, before = _numbers(t, schedule)
    beta = schedule.betas[t - 1].item()
    from_x0 = math.sqrt(before) * beta / (1 - abar)
    from_x_t = math.sqrt(1 - beta) * (1 - before) / (1 - abar)
    return from_x0 * x0 + from_x_t * x_t, (1 - before) / (1 - abar) * beta


def q_posterior__abar_on_x_t(x0, x_t, t, schedule):
    beta, abar, before = _numbers(t, schedule)
    from_x0 = math.sqrt(before) * beta / (1 - abar)
    from_x_t = math.sqrt(abar) * (1 - before) / (1 - abar)
    return from_x0 * x0 + from_x_t * x_t, (1 - before) / (1 - abar) * beta


def q_posterior__no_roots(x0, x_t, t, schedule):
    beta, abar, before = _numbers(t, schedule)
    mean = (before * beta * x0 + (1 - beta) * (1 - before) * x_t) / (1 - abar)
    return mean, (1 - before) / (1 - abar) * beta


def q_posterior__only_mean(x0, x_t, t, schedule):
    return reverse_process.q_posterior(x0, x_t, t, schedule)[0]


def q_posterior__forgets_return(x0, x_t, t, schedule):
    _ = reverse_process.q_posterior(x0, x_t, t, schedule)


def q_posterior__samples(x0, x_t, t, schedule):
    mean, variance = reverse_process.q_posterior(x0, x_t, t, schedule)
    return mean + math.sqrt(variance) * torch.randn_like(mean), variance


def kl_gaussians__swapped(mean_1, variance_1, mean_2, variance_2):
    return reverse_process.kl_gaussians(mean_2, variance_2, mean_1, variance_1)


def kl_gaussians__no_half(mean_1, variance_1, mean_2, variance_2):
    return 2 * reverse_process.kl_gaussians(mean_1, variance_1, mean_2, variance_2)


def kl_gaussians__no_minus_1(mean_1, variance_1, mean_2, variance_2):
    gap = (mean_1 - mean_2) ** 2
    return 0.5 * ((variance_1 + gap) / variance_2 + (variance_2 / variance_1).log())


def kl_gaussians__takes_stds(mean_1, variance_1, mean_2, variance_2):
    inside = variance_1**2 + (mean_1 - mean_2) ** 2
    return (variance_2 / variance_1).log() + inside / (2 * variance_2**2) - 0.5


def kl_gaussians__roots(mean_1, variance_1, mean_2, variance_2):
    return reverse_process.kl_gaussians(mean_1, variance_1.sqrt(), mean_2, variance_2.sqrt())


def kl_gaussians__no_log(mean_1, variance_1, mean_2, variance_2):
    return 0.5 * ((variance_1 + (mean_1 - mean_2) ** 2) / variance_2 - 1)


def kl_gaussians__log_of_inverse(mean_1, variance_1, mean_2, variance_2):
    inside = (variance_1 + (mean_1 - mean_2) ** 2) / variance_2
    return 0.5 * (inside - 1 + (variance_1 / variance_2).log())


def kl_gaussians__gap_not_divided(mean_1, variance_1, mean_2, variance_2):
    ratio = variance_1 / variance_2
    return 0.5 * (ratio + (mean_1 - mean_2) ** 2 - 1 - ratio.log())


def kl_gaussians__bits(mean_1, variance_1, mean_2, variance_2):
    nats = reverse_process.kl_gaussians(mean_1, variance_1, mean_2, variance_2)
    return nats / math.log(2)


def kl_gaussians__one_number(mean_1, variance_1, mean_2, variance_2):
    return reverse_process.kl_gaussians(mean_1, variance_1, mean_2, variance_2).mean()


def x0_from_eps__variance(x_t, eps, t, schedule):
    root, sigma = _roots(t, schedule)
    return (x_t - sigma**2 * eps) / root


def x0_from_eps__divides_by_abar(x_t, eps, t, schedule):
    root, sigma = _roots(t, schedule)
    return (x_t - sigma * eps) / root**2


def x0_from_eps__plus(x_t, eps, t, schedule):
    root, sigma = _roots(t, schedule)
    return (x_t + sigma * eps) / root


def x0_from_eps__not_divided(x_t, eps, t, schedule):
    _, sigma = _roots(t, schedule)
    return x_t - sigma * eps


def x0_from_eps__no_brackets(x_t, eps, t, schedule):
    root, sigma = _roots(t, schedule)
    return x_t - sigma * eps / root


def x0_from_eps__multiplies(x_t, eps, t, schedule):
    root, sigma = _roots(t, schedule)
    return (x_t - sigma * eps) * root


def x0_from_eps__counts_from_0(x_t, eps, t, schedule):
    return reverse_process.x0_from_eps(x_t, eps, t - 1, schedule)


def x0_from_eps__clips(x_t, eps, t, schedule):
    return reverse_process.x0_from_eps(x_t, eps, t, schedule).clamp(-1, 1)


def x0_from_v__swapped(x_t, v, t, schedule):
    root, sigma = _roots(t, schedule)
    return sigma * x_t - root * v


def x0_from_v__plus(x_t, v, t, schedule):
    root, sigma = _roots(t, schedule)
    return root * x_t + sigma * v


def x0_from_v__gives_eps(x_t, v, t, schedule):
    root, sigma = _roots(t, schedule)
    return sigma * x_t + root * v


def x0_from_v__no_roots(x_t, v, t, schedule):
    root, sigma = _roots(t, schedule)
    return root**2 * x_t - sigma**2 * v


def x0_from_v__as_eps(x_t, v, t, schedule):
    root, sigma = _roots(t, schedule)
    return (x_t - sigma * v) / root


def diffusion_loss__net_gets_t(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root * x0 + sigma * noise, t) - noise).square().mean()


def diffusion_loss__net_gets_t_plus_1(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root * x0 + sigma * noise, t + 1) - noise).square().mean()


def diffusion_loss__compares_with_x0(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root * x0 + sigma * noise, t - 1) - x0).square().mean()


def diffusion_loss__compares_with_x_t(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    x_t = root * x0 + sigma * noise
    return (net(x_t, t - 1) - x_t).square().mean()


def diffusion_loss__sums(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root * x0 + sigma * noise, t - 1) - noise).square().sum()


def diffusion_loss__per_row(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root * x0 + sigma * noise, t - 1) - noise).square().mean(1)


def diffusion_loss__no_roots(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root**2 * x0 + sigma**2 * noise, t - 1) - noise).square().mean()


def diffusion_loss__absolute(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (net(root * x0 + sigma * noise, t - 1) - noise).abs().mean()


def diffusion_loss__clean_input(net, x0, t, noise, schedule):
    return (net(x0, t - 1) - noise).square().mean()


def diffusion_loss__all_counts_from_0(net, x0, t, noise, schedule):
    root, sigma = _columns(t - 1, schedule)
    return (net(root * x0 + sigma * noise, t - 1) - noise).square().mean()


def diffusion_loss__own_noise(net, x0, t, noise, schedule):
    return reverse_process.diffusion_loss(net, x0, t, torch.randn_like(noise), schedule)


def diffusion_loss__float64(net, x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1)
    return (net(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t - 1) - noise).square().mean()


def diffusion_loss__no_reshape(net, x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].float()
    return (net(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t - 1) - noise).square().mean()


def diffusion_loss__item(net, x0, t, noise, schedule):
    return reverse_process.diffusion_loss(net, x0, t, noise, schedule).item()


def diffusion_loss__no_net(net, x0, t, noise, schedule):
    root, sigma = _columns(t, schedule)
    return (root * x0 + sigma * noise - noise).square().mean()


def two_point_denoiser__nearest(x_t, t, schedule):
    return x_t.sign()


def two_point_denoiser__std(x_t, t, schedule):
    root, sigma = _roots(t, schedule)
    return torch.tanh(root * x_t / sigma)


def two_point_denoiser__no_abar(x_t, t, schedule):
    _, sigma = _roots(t, schedule)
    return torch.tanh(x_t / sigma**2)


def two_point_denoiser__not_divided(x_t, t, schedule):
    root, _ = _roots(t, schedule)
    return torch.tanh(root * x_t)


def two_point_denoiser__probability(x_t, t, schedule):
    root, sigma = _roots(t, schedule)
    return torch.sigmoid(2 * root * x_t / sigma**2)


def two_point_denoiser__half_exponent(x_t, t, schedule):
    root, sigma = _roots(t, schedule)
    return 2 * torch.sigmoid(root * x_t / sigma**2) - 1


def two_point_denoiser__unshrinks(x_t, t, schedule):
    root, _ = _roots(t, schedule)
    return x_t / root


def two_point_denoiser__no_tanh(x_t, t, schedule):
    root, sigma = _roots(t, schedule)
    return root * x_t / sigma**2


def two_point_denoiser__overflows(x_t, t, schedule):
    root, sigma = _roots(t, schedule)
    plus, minus = (torch.exp(-((x_t - m) ** 2) / (2 * sigma**2)) for m in (root, -root))
    return (plus - minus) / (plus + minus)


WRONG = {
    q_posterior__variance_is_beta: "that of a step forward",
    q_posterior__std: "you returned the standard deviation",
    q_posterior__swapped: "the weights of x_0 and x_t are swapped",
    q_posterior__abar_of_t: "ᾱ_t stands where ᾱ_{t−1} belongs",
    q_posterior__divided_by_before: "you divide by 1−ᾱ_{t−1}",
    q_posterior__beta_counts_from_0: "you used β_{t−1}",
    q_posterior__abar_on_x_t: "the weight of x_t has √ᾱ_t",
    q_posterior__no_roots: "a root is missing",
    q_posterior__only_mean: "return two things",
    q_posterior__forgets_return: "it returned None",
    q_posterior__samples: "of zeros it makes something else",
    kl_gaussians__swapped: "this is KL(N_2 ‖ N_1)",
    kl_gaussians__no_half: "the ½ is missing",
    kl_gaussians__no_minus_1: "it is ½ too large",
    kl_gaussians__takes_stds: "you squared the variances",
    kl_gaussians__roots: "you took standard deviations for variances",
    kl_gaussians__no_log: "the log is missing",
    kl_gaussians__log_of_inverse: "the log has the wrong sign",
    kl_gaussians__gap_not_divided: "is not divided by variance_2",
    kl_gaussians__bits: "this is in bits",
    kl_gaussians__one_number: "(4, 3) was expected",
    x0_from_eps__variance: "you took away (1−ᾱ_t) ε",
    x0_from_eps__divides_by_abar: "you divided by ᾱ_t",
    x0_from_eps__plus: "you added the noise once more",
    x0_from_eps__not_divided: "without the noise √ᾱ_t x_0 is left",
    x0_from_eps__no_brackets: "put brackets around",
    x0_from_eps__multiplies: "shrinks x_0 again",
    x0_from_eps__counts_from_0: "one step off",
    x0_from_eps__clips: "you clipped to [−1, 1]",
    x0_from_v__swapped: "the factors of x_t and v are swapped",
    x0_from_v__plus: "the sign of v is wrong",
    x0_from_v__gives_eps: "this is ε",
    x0_from_v__no_roots: "the factors lack their roots",
    x0_from_v__as_eps: "you treated v as ε",
    diffusion_loss__net_gets_t: "the network was given t; it counts from 0",
    diffusion_loss__net_gets_t_plus_1: "the network was given the times",
    diffusion_loss__compares_with_x0: "is compared with x0",
    diffusion_loss__compares_with_x_t: "is compared with x_t",
    diffusion_loss__sums: "you summed",
    diffusion_loss__per_row: "the loss has shape (4,)",
    diffusion_loss__no_roots: "x_t lacks roots",
    diffusion_loss__absolute: "the error is not squared",
    diffusion_loss__clean_input: "the network was given the clean x0",
    diffusion_loss__all_counts_from_0: "x_t is noised with ᾱ_{t−1}",
    diffusion_loss__own_noise: "where ε is `noise`",
    diffusion_loss__float64: "x_t is float64",
    diffusion_loss__no_reshape: "the factors do not line up with x0",
    diffusion_loss__item: "the loss has no gradient",
    diffusion_loss__no_net: "the network was called 0 times",
    two_point_denoiser__nearest: "this is the nearest point",
    two_point_denoiser__std: "you divided by √(1−ᾱ_t)",
    two_point_denoiser__no_abar: "√ᾱ_t is missing",
    two_point_denoiser__not_divided: "you did not divide by 1−ᾱ_t",
    two_point_denoiser__probability: "this is a probability",
    two_point_denoiser__half_exponent: "the exponent is half",
    two_point_denoiser__unshrinks: "you only undid the shrinking",
    two_point_denoiser__no_tanh: "the tanh is missing",
    two_point_denoiser__overflows: "NaN at t = 1",
}
