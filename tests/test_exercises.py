"""Every exercise: the stub is seen as one, the solution passes, and each plausible wrong answer is
told in its own words.
"""

import math

import pytest
import torch

from ddpm_course import cosine_schedule
from ddpm_course.exercises import forward_noising
from ddpm_course.exercises.checking import NotAttempted, Wrong

NOTEBOOKS = {"01_forward_noising": forward_noising.exercises}
EXERCISES = [(e, name) for e in NOTEBOOKS.values() for name in e.by_name]


def noise_step_std_is_beta(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return math.sqrt(1 - beta) * x + beta * noise


def noise_step_no_shrinking(x, t, noise, schedule):
    return x + math.sqrt(schedule.betas[t].item()) * noise


def noise_step_swapped(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return math.sqrt(beta) * x + math.sqrt(1 - beta) * noise


def noise_step_counts_from_0(x, t, noise, schedule):
    beta = schedule.betas[t - 1].item()
    return math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


def noise_step_mean_without_root(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    return (1 - beta) * x + math.sqrt(beta) * noise


def noise_step_forgets_return(x, t, noise, schedule):
    beta = schedule.betas[t].item()
    x = math.sqrt(1 - beta) * x + math.sqrt(beta) * noise


def noise_step_uses_abar(x, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].item()
    return math.sqrt(abar) * x + math.sqrt(1 - abar) * noise


def alphas_cumprod_no_leading_1(betas):
    return (1 - betas).cumprod(0)


def alphas_cumprod_of_betas(betas):
    return torch.cat([betas.new_ones(1), betas]).cumprod(0)


def alphas_cumprod_adds(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumsum(0)])


def alphas_cumprod_single_alphas(betas):
    return torch.cat([betas.new_ones(1), 1 - betas])


def alphas_cumprod_rooted(betas):
    return torch.cat([betas.new_ones(1), 1 - betas]).cumprod(0).sqrt()


def alphas_cumprod_leading_0(betas):
    return torch.cat([betas.new_zeros(1), (1 - betas).cumprod(0)])


def q_sample_no_reshape(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].to(x0.dtype)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def q_sample_along_width(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].to(x0.dtype).view(1, 1, -1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def q_sample_variance_for_std(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar) * noise


def q_sample_abar_without_root(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar * x0 + (1 - abar).sqrt() * noise


def q_sample_counts_from_0(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t - 1].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def q_sample_last_beta_only(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + schedule.betas[t].view(-1, 1, 1, 1).sqrt() * noise


def q_sample_swapped(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return (1 - abar).sqrt() * x0 + abar.sqrt() * noise


def q_sample_own_noise(x0, t, noise, schedule):
    abar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * torch.randn_like(x0)


def cosine_not_normalised(T, s):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return ((u + s) / (1 + s) * math.pi / 2).cos() ** 2


def cosine_not_squared(T, s):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos()
    return f / f[0]


def cosine_without_s(T, s):
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return (u * math.pi / 2).cos() ** 2


def cosine_one_short(T, s):
    return cosine_schedule(T, s).alphas_cumprod[1:]


def beta_end_scaled(T, target):
    return 0.02 * 1000 / T


def beta_end_as_copied(T, target):
    return 0.02


def beta_end_of_root(T, target):
    return forward_noising.beta_end_for(T, target**2)


def beta_end_too_large(T, target):
    return 20 * 1000 / T


WRONG = {
    noise_step_std_is_beta: "its variance is β_t²",
    noise_step_no_shrinking: "without shrinking the image",
    noise_step_swapped: "swapped their factors",
    noise_step_counts_from_0: "you used β_499",
    noise_step_mean_without_root: "multiplied by 1−β_t",
    noise_step_forgets_return: "it returned None",
    noise_step_uses_abar: "the noise is multiplied by",
    alphas_cumprod_no_leading_1: "put ᾱ_0 = 1 in front",
    alphas_cumprod_of_betas: "you multiplied the β_t",
    alphas_cumprod_adds: "you added the α_t up",
    alphas_cumprod_single_alphas: "these are the single α_t",
    alphas_cumprod_rooted: "these are √ᾱ_t",
    alphas_cumprod_leading_0: "ᾱ_0 is 0",
    q_sample_no_reshape: "the factors do not line up",
    q_sample_along_width: "the factor changes within an image",
    q_sample_variance_for_std: "multiplied by 1−ᾱ_t, which is its variance",
    q_sample_abar_without_root: "it keeps √ᾱ_t",
    q_sample_counts_from_0: "one step off",
    q_sample_last_beta_only: "that of the last step alone",
    q_sample_swapped: "swapped their factors",
    q_sample_own_noise: "without image and without noise something is left",
    cosine_not_normalised: "divide by f(0)",
    cosine_not_squared: "the cosine is not squared",
    cosine_without_s: "s is not used",
    cosine_one_short: "there must be 101",
    beta_end_scaled: "0.02 · 1000/T is a good guess",
    beta_end_as_copied: "ends in ᾱ_T = 0.029",
    beta_end_of_root: "you brought √ᾱ_T to the target",
    beta_end_too_large: "must lie between 0 and 1",
}
PREFIXES = {
    "cosine": "cosine_alphas_cumprod",
    "beta_end": "beta_end_for",
}


def exercise_of(f):
    names = [name for _, name in EXERCISES if f.__name__.startswith(name)]
    return names[0] if names else next(v for k, v in PREFIXES.items() if f.__name__.startswith(k))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda f: f.__name__)
def test_wrong_answers_are_diagnosed(wrong, capsys, monkeypatch):
    name = exercise_of(wrong)
    monkeypatch.setattr(wrong, "__name__", name)
    given = forward_noising.check(wrong)
    said = capsys.readouterr().out
    assert said.startswith(f"✗ {name}: ")
    assert WRONG[wrong] in said
    assert given is forward_noising.exercises.by_name[name].solution
    monkeypatch.setenv("DDPM_CHECK", "strict")
    with pytest.raises(Wrong):
        forward_noising.check(wrong)


def test_every_message_is_different():
    assert len(set(WRONG.values())) >= len(WRONG) - 1  # "swapped" says the same in two exercises


@pytest.mark.parametrize(("exercises", "name"), EXERCISES, ids=lambda v: str(v)[:30])
def test_solutions_pass_and_are_handed_back(exercises, name, capsys, monkeypatch):
    monkeypatch.setenv("DDPM_CHECK", "strict")
    solution = exercises.by_name[name].solution
    assert exercises.check(solution) is solution
    assert capsys.readouterr().out == f"✓ {name}: correct\n"
    lines = exercises.source(name).splitlines()
    assert lines[0].startswith(f"def {name}(")
    assert len(lines) <= 15
    assert len(exercises.by_name[name].hint) > 20


def stub_1(x): ...


def stub_2(x):
    """What to do."""
    ...  # YOUR CODE


def stub_3(x):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [stub_1, stub_2, stub_3])
def test_stubs_are_not_attempts(stub, capsys, monkeypatch):
    monkeypatch.setattr(stub, "__name__", "noise_step")
    reference = forward_noising.exercises.by_name["noise_step"].solution
    assert forward_noising.check(stub) is reference
    assert capsys.readouterr().out.startswith("○ noise_step: not attempted yet")
    monkeypatch.setenv("DDPM_CHECK", "strict")
    with pytest.raises(NotAttempted):
        forward_noising.check(stub)


def crashes(x, t, noise, schedule):
    return x.nonsense()


def test_a_crash_is_told_in_words(capsys, monkeypatch):
    monkeypatch.setattr(crashes, "__name__", "noise_step")
    forward_noising.check(crashes)
    assert "it stopped with AttributeError" in capsys.readouterr().out


def test_unknown_exercises_are_named(monkeypatch):
    monkeypatch.setattr(crashes, "__name__", "walk_home")
    with pytest.raises(ValueError, match="choose one of noise_step, alphas_cumprod"):
        forward_noising.check(crashes)


def test_hint_and_solution_show_text(monkeypatch):
    shown = []
    monkeypatch.setattr("ddpm_course.exercises.checking.display", lambda m: shown.append(m.data))
    forward_noising.hint("q_sample")
    forward_noising.solution("q_sample")
    assert shown[0].startswith("**Hint.**")
    assert "def q_sample(x0, t, noise, schedule):" in shown[1]
    assert "@" not in shown[1]
