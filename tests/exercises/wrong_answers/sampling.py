"""Plausible wrong answers to the exercises on sampling, and what each is told."""

import math

import torch

import ddpm_course as dc


def draw(x0, x_t, t, s, noise, schedule):
    mean, variance = dc.q_posterior(x0, x_t, t, s, schedule)
    return mean + math.sqrt(variance) * noise


def ddpm_step__variance_for_std(x_t, x0_hat, t, s, noise, schedule):
    mean, variance = dc.q_posterior(x0_hat, x_t, t, s, schedule)
    return mean + variance * noise


def ddpm_step__larger_variance(x_t, x0_hat, t, s, noise, schedule):
    mean, _ = dc.q_posterior(x0_hat, x_t, t, s, schedule)
    abar = schedule.alphas_cumprod
    return mean + math.sqrt(1 - abar[t] / abar[s]) * noise


def ddpm_step__forgets_noise(x_t, x0_hat, t, s, noise, schedule):
    return dc.q_posterior(x0_hat, x_t, t, s, schedule)[0]


def ddpm_step__jumps(x_t, x0_hat, t, s, noise, schedule):
    return dc.q_sample(x0_hat, s, noise, schedule)


def ddpm_step__one_back(x_t, x0_hat, t, s, noise, schedule):
    return draw(x0_hat, x_t, t, t - 1, noise, schedule)


def ddpm_step__swapped(x_t, x0_hat, t, s, noise, schedule):
    return draw(x_t, x0_hat, t, s, noise, schedule)


def ddpm_step__own_noise(x_t, x0_hat, t, s, noise, schedule):
    return draw(x0_hat, x_t, t, s, torch.randn_like(x_t), schedule)


def ddpm_step__noise_at_the_end(x_t, x0_hat, t, s, noise, schedule):
    mean, variance = dc.q_posterior(x0_hat, x_t, t, s, schedule)
    return mean + math.sqrt(max(variance, 1e-4)) * noise


def eps_of(x_t, x0_hat, t, schedule):
    abar = schedule.alphas_cumprod[t].item()
    return (x_t - math.sqrt(abar) * x0_hat) / math.sqrt(1 - abar)


def ddim_step__one_back(x_t, x0_hat, t, s, schedule):
    return dc.q_sample(x0_hat, t - 1, eps_of(x_t, x0_hat, t, schedule), schedule)


def ddim_step__fresh_noise(x_t, x0_hat, t, s, schedule):
    return dc.q_sample(x0_hat, s, torch.randn_like(x_t), schedule)


def ddim_step__keeps_the_noise(x_t, x0_hat, t, s, schedule):
    abar_t, abar_s = schedule.alphas_cumprod[[t, s]].tolist()
    return math.sqrt(abar_s) * x0_hat + math.sqrt(1 - abar_t) * eps_of(x_t, x0_hat, t, schedule)


def ddim_step__back_to_t(x_t, x0_hat, t, s, schedule):
    return dc.q_sample(x0_hat, t, eps_of(x_t, x0_hat, t, schedule), schedule)


def ddim_step__clamps_x_s(x_t, x0_hat, t, s, schedule):
    return dc.q_sample(x0_hat, s, eps_of(x_t, x0_hat, t, schedule), schedule).clamp(-1, 1)


def ddim_step__clamps_x0_hat(x_t, x0_hat, t, s, schedule):
    x0_hat = x0_hat.clamp(-1, 1)
    return dc.q_sample(x0_hat, s, eps_of(x_t, x0_hat, t, schedule), schedule)


def ddim_step__no_root(x_t, x0_hat, t, s, schedule):
    abar = schedule.alphas_cumprod[s].item()
    return abar * x0_hat + (1 - abar) * eps_of(x_t, x0_hat, t, schedule)


def ddim_step__subtracts_all(x_t, x0_hat, t, s, schedule):
    eps = (x_t - x0_hat) / (1 - schedule.alphas_cumprod[t].item()) ** 0.5
    return dc.q_sample(x0_hat, s, eps, schedule)


def ddim_step__eps_not_divided(x_t, x0_hat, t, s, schedule):
    eps = x_t - schedule.alphas_cumprod[t].item() ** 0.5 * x0_hat
    return dc.q_sample(x0_hat, s, eps, schedule)


def ddim_step__ddpm_mean(x_t, x0_hat, t, s, schedule):
    return dc.q_posterior(x0_hat, x_t, t, s, schedule)[0]


def time_grid__leading(T, steps):
    return [k * (T // steps) for k in reversed(range(steps))]


def time_grid__no_end(T, steps):
    return [round(T * (1 - k / steps)) for k in range(steps)]


def time_grid__steps_entries(T, steps):
    return [round(t) for t in torch.linspace(T, 0, steps).tolist()]


def time_grid__rising(T, steps):
    return [round(T * k / steps) for k in range(steps + 1)]


def time_grid__floats(T, steps):
    return [T * (1 - k / steps) for k in range(steps + 1)]


def time_grid__down_to_1(T, steps):
    return [round(t) for t in torch.linspace(T, 1, steps).tolist()] + [0]


def time_grid__cut_off(T, steps):
    return [int(T * (1 - k / steps)) for k in range(steps + 1)]


def time_grid__forgets_return(T, steps):
    [round(T * (1 - k / steps)) for k in range(steps + 1)]


def angle(a, b):
    return torch.acos((a * b).sum() / (a.norm() * b.norm()))


def along(a, b, w, theta):
    return (torch.sin((1 - w) * theta) * a + torch.sin(w * theta) * b) / torch.sin(theta)


def slerp__linear(a, b, w):
    return torch.lerp(a, b, w)


def slerp__ends_swapped(a, b, w):
    return along(b, a, w, angle(a, b))


def slerp__degrees(a, b, w):
    return along(a, b, w, torch.rad2deg(angle(a, b)))


def slerp__not_normalised(a, b, w):
    return along(a, b, w, torch.acos((a * b).sum()))


def slerp__by_pixel(a, b, w):
    return along(a, b, w, torch.acos(torch.cosine_similarity(a, b)))


def slerp__unit_length(a, b, w):
    a, b = a / a.norm(), b / b.norm()
    return along(a, b, w, torch.acos((a * b).sum()))


def slerp__right_angle(a, b, w):
    return math.cos(w * math.pi / 2) * a + math.sin(w * math.pi / 2) * b


def slerp__not_divided(a, b, w):
    return along(a, b, w, angle(a, b)) * torch.sin(angle(a, b))


def slerp__cosine_for_angle(a, b, w):
    return along(a, b, w, (a * b).sum() / (a.norm() * b.norm()))


def keep_known__inverted(x_s, x0_known, mask, s, noise, schedule):
    return torch.where(mask.bool(), x_s, dc.q_sample(x0_known, s, noise, schedule))


def keep_known__clean(x_s, x0_known, mask, s, noise, schedule):
    return torch.where(mask.bool(), x0_known, x_s)


def keep_known__noised_to_T(x_s, x0_known, mask, s, noise, schedule):
    return torch.where(mask.bool(), dc.q_sample(x0_known, schedule.T, noise, schedule), x_s)


def keep_known__one_on(x_s, x0_known, mask, s, noise, schedule):
    return torch.where(mask.bool(), dc.q_sample(x0_known, s + 1, noise, schedule), x_s)


def keep_known__half(x_s, x0_known, mask, s, noise, schedule):
    known = dc.q_sample(x0_known, s, noise, schedule)
    return torch.where(mask.bool(), (known + x_s) / 2, x_s)


def keep_known__noises_all(x_s, x0_known, mask, s, noise, schedule):
    return dc.q_sample(torch.where(mask.bool(), x0_known, x_s), s, noise, schedule)


def keep_known__own_noise(x_s, x0_known, mask, s, noise, schedule):
    known = dc.q_sample(x0_known, s, torch.randn_like(noise), schedule)
    return torch.where(mask.bool(), known, x_s)


def keep_known__subtracts_bool(x_s, x0_known, mask, s, noise, schedule):
    return mask * dc.q_sample(x0_known, s, noise, schedule) + (1 - mask) * x_s


def keep_known__where_float(x_s, x0_known, mask, s, noise, schedule):
    return torch.where(mask, dc.q_sample(x0_known, s, noise, schedule), x_s)


def keep_known__in_place(x_s, x0_known, mask, s, noise, schedule):
    here = mask.bool().expand_as(x_s)
    x_s[here] = dc.q_sample(x0_known, s, noise, schedule)[here]
    return x_s


def score__sign(x_t, x0_hat, t, schedule):
    return eps_of(x_t, x0_hat, t, schedule) / (1 - schedule.alphas_cumprod[t]).sqrt()


def score__minus_eps(x_t, x0_hat, t, schedule):
    return -eps_of(x_t, x0_hat, t, schedule)


def score__divided_twice(x_t, x0_hat, t, schedule):
    return -eps_of(x_t, x0_hat, t, schedule) / (1 - schedule.alphas_cumprod[t])


def score__not_divided(x_t, x0_hat, t, schedule):
    return schedule.alphas_cumprod[t].sqrt() * x0_hat - x_t


def score__all_of_x0(x_t, x0_hat, t, schedule):
    return (x0_hat - x_t) / (1 - schedule.alphas_cumprod[t])


def score__difference(x_t, x0_hat, t, schedule):
    return x0_hat - x_t


WRONG = {
    ddpm_step__variance_for_std: "the noise is multiplied by the variance, not",
    ddpm_step__larger_variance: "you use the larger variance 1−ᾱ_t/ᾱ_s",
    ddpm_step__forgets_noise: "this is the mean alone",
    ddpm_step__jumps: "forget x_t: that jumps to another image",
    ddpm_step__one_back: "you went to t − 1 = 699",
    ddpm_step__swapped: "x_t and x0_hat have changed places",
    ddpm_step__own_noise: "two calls with the same noise differ",
    ddpm_step__noise_at_the_end: "at s = 0 you still add noise",
    ddim_step__one_back: "you used s = t − 1 = 699",
    ddim_step__fresh_noise: "you add fresh noise",
    ddim_step__keeps_the_noise: "the second term keeps √(1−ᾱ_t)",
    ddim_step__back_to_t: "this is x_t again",
    ddim_step__clamps_x_s: "clamp x0_hat, never x_s",
    ddim_step__clamps_x0_hat: "you clamp x0_hat here",
    ddim_step__no_root: "a root is missing",
    ddim_step__subtracts_all: "you subtract all of x0_hat",
    ddim_step__eps_not_divided: "eps is not divided by √(1−ᾱ_t)",
    ddim_step__ddpm_mean: "this is the mean of a DDPM step",
    time_grid__leading: "the first time is 900: the model never sees T",
    time_grid__no_end: "for T = 1000 and steps = 10 it stops at 100, where noise is left",
    time_grid__steps_entries: "you list 10 times: n steps have n + 1 ends",
    time_grid__rising: "your grid rises",
    time_grid__floats: "one of yours is float",
    time_grid__down_to_1: "strides are uneven: time 1 is 889, not 900",
    time_grid__cut_off: "take the *nearest* whole number",
    time_grid__forgets_return: "it returned None",
    slerp__linear: "you mix in a straight line",
    slerp__ends_swapped: "you swapped the ends",
    slerp__degrees: "the angle is in degrees",
    slerp__not_normalised: "acos got no cosine",
    slerp__by_pixel: "you take many angles",
    slerp__unit_length: "the result has length 1",
    slerp__right_angle: "θ is taken as 90°",
    slerp__not_divided: "not divided by sin θ",
    slerp__cosine_for_angle: "halfway the length is",
    keep_known__inverted: "the mask is inverted",
    keep_known__clean: "you paste the clean image",
    keep_known__noised_to_T: "has the noise of t = 1000",
    keep_known__one_on: "has the noise of t = 401",
    keep_known__half: "half and half",
    keep_known__noises_all: "you noise x_s as well",
    keep_known__own_noise: "two calls differ: noise the known image",
    keep_known__subtracts_bool: "it stopped at a bool mask",
    keep_known__where_float: "it stopped at a float mask",
    keep_known__in_place: "you write into x_s",
    score__sign: "the sign is wrong",
    score__minus_eps: "this is −eps: divide it",
    score__divided_twice: "this is −eps/(1−ᾱ_t)",
    score__not_divided: "divided by nothing",
    score__all_of_x0: "x_t is compared to x0_hat itself",
    score__difference: "this is x0_hat − x_t, the way",
}
