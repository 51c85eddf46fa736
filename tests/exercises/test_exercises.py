"""Every exercise: stubs are seen, the solution passes, and each mistake gets its own sentence."""

import functools
from textwrap import dedent
from types import FunctionType

import pytest
import torch
from run_notebooks import NOTEBOOKS
from wrong_answers import HARMLESS, RIGHT, WRONG

import ddpm_course as dc
from ddpm_course.evaluation.distances import kernel_distance, nearer_share
from ddpm_course.exercises import forward_noising
from ddpm_course.exercises.results import alike, randn
from ddpm_course.exercises.slips import changed, common_slips
from ddpm_course.layers import SinusoidalTimeEmbedding
from ddpm_course.rng import generator


def lines_of(tables):
    return [(n, line) for n, table in tables.items() for line in dedent(table).strip().splitlines()]


EXERCISES = {name: e for e in NOTEBOOKS.values() for name in e.by_name}
SLIPS = [(n, *slip) for n, e in EXERCISES.items() for slip in e.by_name[n].slips]
ANSWERS = [(name, *line.split(" => ")) for name, line in lines_of(WRONG)]
EACH = pytest.mark.parametrize("name", EXERCISES)


def verdict(name, change):
    exercises = EXERCISES[name]
    return exercises.verdict(changed(exercises.by_name[name].solution, change), name)


@pytest.mark.parametrize(("name", "change", "sentence"), SLIPS)
def test_every_slip_gets_its_own_sentence(name, change, sentence):
    """Also where the change is not possible, or another sentence comes first."""
    assert verdict(name, change)[:2] == ("wrong", sentence)


@pytest.mark.parametrize(("name", "change", "words"), ANSWERS)
def test_other_wrong_answers_are_diagnosed(name, change, words):
    mark, why, use = verdict(name, change)
    assert mark == "wrong"
    assert words in why
    assert use is EXERCISES[name].by_name[name].solution


@pytest.mark.parametrize(("name", "change"), lines_of(RIGHT))
def test_unusual_right_answers_are_accepted(name, change):
    assert verdict(name, change)[:2] == ("correct", "")


@EACH
def test_an_answer_without_return_is_seen(name):
    why = EXERCISES[name].verdict(lambda *given: None, name).why
    assert "it returned None: does the function end with `return`?" in why


def passes(exercise, f):
    """Whether f gives the same results as the solution, and passes its test."""
    if not alike(exercise.outcomes(f), exercise.wanted, exercise.tolerance):
        return False
    try:
        return not exercise.test or exercise.test(f) is None
    except Exception:
        return False


@EACH
def test_no_common_mistake_passes(name):
    """Clipping inside of an expression aside: sines, for example, are within [−1, 1]."""
    exercise = EXERCISES[name].by_name[name]
    passed = [s for f, s in common_slips(exercise.solution) if passes(exercise, f)]
    passed = [s for s in passed if not (s.startswith("You clip `") and "(" in s)]
    assert [s for s in passed if not any(n == name and s.startswith(h) for n, h in HARMLESS)] == []


def as_a_learner_wrote_it(f):
    """Another function with the same code."""
    return FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__)


@EACH
def test_solutions_pass_and_are_handed_back(name):
    exercises = EXERCISES[name]
    f = as_a_learner_wrote_it(exercises.by_name[name].solution)
    assert exercises.verdict(f, name) == ("correct", "", f)
    lines = exercises.source(name).splitlines()
    assert lines[0].startswith(f"def {name}(")
    assert len(lines) <= 15
    assert len(exercises.by_name[name].hint) > 20


T4 = torch.tensor([1, 300, 700, 1000])
SCHEDULE = dc.linear_schedule(1000)
X, Y = randn(4, 3, 8, 8), randn(4, 3, 8, 8, seed=1)
SAME_AS_THE_PACKAGE = {
    "to_unit": (dc.to_unit, (torch.arange(256, dtype=torch.uint8),)),
    "to_uint8": (dc.to_uint8, (2 * X,)),
    "q_sample": (dc.q_sample, (X, T4, Y, SCHEDULE)),
    "q_posterior": (
        lambda x0, x_t, t, schedule: dc.q_posterior(x0, x_t, t, t - 1, schedule),
        (X, Y, 500, SCHEDULE),
    ),
    "x0_from_eps": (
        lambda x_t, eps, t, schedule: dc.convert(eps, x_t, t, schedule, source="eps", target="x0"),
        (X, Y, 500, SCHEDULE),
    ),
    "x0_from_v": (
        lambda x_t, v, t, schedule: dc.convert(v, x_t, t, schedule, source="v", target="x0"),
        (X, Y, 500, SCHEDULE),
    ),
    "two_point_denoiser": (
        lambda x, t, schedule: dc.mixture_oracle(
            torch.ones(2), torch.tensor([[-1.0], [1.0]]), torch.zeros(2), schedule
        )(x, t),
        (torch.linspace(-3, 3, 24, dtype=torch.float64).view(-1, 1), 700, SCHEDULE),
    ),
    "group_norm": (functools.partial(torch.nn.functional.group_norm, eps=1e-6), (X[:, :2], 2)),
    "attention": (
        lambda q, k, v, heads: torch.nn.functional.scaled_dot_product_attention(q, k, v),
        (X[0], Y[0], X[1], 1),
    ),
    "sinusoidal_embedding": (lambda t, dim: SinusoidalTimeEmbedding(dim)(t), (T4, 8)),
    "kernel_distance": (kernel_distance, (X[0, 0], Y[0, 0, :5])),
    "nearer_share": (nearer_share, (X[0, 0, 0], Y[0, 0, 0])),
    "ddpm_step": (
        lambda x_t, x0, t, s, _, schedule: next(
            dc.ddpm(lambda x, t: x0, x_t, schedule, [t, s], generator(0))
        )[1],
        (X, Y, 700, 500, torch.randn(X.shape, generator=generator(0)), SCHEDULE),
    ),
    "ddim_step": (
        lambda x_t, x0, t, s, schedule: next(
            dc.ddim(lambda x, t: x0, x_t, schedule, [t, s], generator(0))
        )[1],
        (X, Y, 700, 500, SCHEDULE),
    ),
}


@pytest.mark.parametrize("name", SAME_AS_THE_PACKAGE)
def test_solutions_agree_with_the_package(name):
    function, given = SAME_AS_THE_PACKAGE[name]
    answer = EXERCISES[name].by_name[name].solution(*given)
    assert alike(answer, function(*given), 1e-4)


def test_the_score_is_the_gradient_of_the_log_density():
    means = torch.tensor([[-0.8, 0.2], [0.3, 0.6]], dtype=torch.float64)
    weights, stds = means.new_tensor([0.2, 0.8]), means.new_tensor([0.1, 0.2])
    abar, x = SCHEDULE.alphas_cumprod[300], randn(9, 2, dtype=torch.float64).requires_grad_()
    variance = abar * stds**2 + 1 - abar
    distance = (x[:, None] - abar.sqrt() * means).square().sum(2)
    log_q = (weights.log() - distance / (2 * variance) - variance.log()).logsumexp(1)
    [right] = torch.autograd.grad(log_q.sum(), x)
    x = x.detach()
    x0 = dc.mixture_oracle(weights, means, stds, SCHEDULE)(x, 300)
    solution = EXERCISES["score"].by_name["score"].solution
    torch.testing.assert_close(solution(x, x0, 300, SCHEDULE), right)


def noise_step(x, t, noise, schedule): ...


def stub_that_raises(x):
    """What to do."""
    raise NotImplementedError


REFERENCE = forward_noising.exercises.by_name["noise_step"].solution


@pytest.mark.parametrize("stub", [noise_step, stub_that_raises])
def test_stubs_are_not_attempts(stub, capsys, monkeypatch):
    monkeypatch.setattr(stub, "__name__", "noise_step")
    assert forward_noising.check(stub) is REFERENCE
    assert capsys.readouterr().out.startswith("○ noise_step: not attempted yet.\n")


def test_checking_twice_does_not_take_the_reference_for_the_learners(capsys):
    forward_noising.check(forward_noising.check(noise_step))
    assert "run the whole cell" in capsys.readouterr().out.splitlines()[2]


def crashes(x, t, noise, schedule):
    return x.nonsense()


def test_a_crash_is_described_in_words(capsys, monkeypatch):
    monkeypatch.setattr(crashes, "__name__", "noise_step")
    assert forward_noising.check(crashes) is REFERENCE
    printed = capsys.readouterr().out
    assert printed.startswith("✗ noise_step: it stopped with AttributeError")
    assert "(in `return x.nonsense()`)" in printed
    assert printed.endswith("The cells below use the reference version.\n")


def test_a_right_answer_is_named_and_used(capsys):
    answer = as_a_learner_wrote_it(REFERENCE)
    assert forward_noising.check(answer) is answer
    assert capsys.readouterr().out == "✓ noise_step: correct\n"


class AsModule(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *given):
        return self.f(*given)


@pytest.mark.parametrize("kind", [lambda f: lambda *given: f(*given), functools.partial, AsModule])
@pytest.mark.parametrize("call", ["check(noise_step)", "check(noise_step, 'noise_step')"])
def test_an_answer_without_a_name_is_found_by_its_variable_or_named(kind, call, capsys):
    answer = kind(REFERENCE)
    cell = {"check": forward_noising.check, "noise_step": answer}
    exec(f"noise_step = {call}", cell)
    assert cell["noise_step"] is answer
    assert capsys.readouterr().out == "✓ noise_step: correct\n"


def test_renamed_parameters_are_refused_because_cells_call_by_keyword():
    answer = lambda x, time, noise, schedule: x  # noqa: E731
    why = forward_noising.exercises.verdict(answer, "noise_step").why
    assert why.startswith("name its parameters (x, t, noise, schedule)")


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


def test_a_class_can_hide_solutions(monkeypatch):
    shown = []
    monkeypatch.setattr("ddpm_course.exercises.checking.display", lambda m: shown.append(m.data))
    monkeypatch.setenv("DDPM_SOLUTIONS", "hidden")
    forward_noising.solution("q_sample")
    assert shown == ["Solutions are hidden in this class. There is a hint: `hint('q_sample')`."]
