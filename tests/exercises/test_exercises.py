"""Every exercise: the stub is seen as one, the solution passes, and each plausible wrong answer is
told in its own words.

The wrong answers stand in `wrong_answers/`, a module a notebook, as functions named
EXERCISE__MISTAKE and a dict WRONG of what each must be told.
"""

import importlib
from types import FunctionType

import pytest
from run_notebooks import NOTEBOOKS

from ddpm_course.exercises import forward_noising

EXERCISES = [(e, name) for e in NOTEBOOKS.values() for name in e.by_name]
WRONG = [
    (NOTEBOOKS[name], f, told)
    for name in NOTEBOOKS
    for f, told in importlib.import_module(f"wrong_answers.{name}").WRONG.items()
]


def label(value):
    return getattr(value, "__name__", "") if callable(value) else ""


@pytest.mark.parametrize(("exercises", "wrong", "told"), WRONG, ids=label)
def test_wrong_answers_are_diagnosed(exercises, wrong, told, monkeypatch):
    name = wrong.__name__.split("__")[0]
    monkeypatch.setattr(wrong, "__name__", name)
    verdict = exercises.verdict(wrong)
    assert verdict.mark == "wrong"
    assert told in f"{name}: {verdict.why}"
    assert verdict.use is exercises.by_name[name].solution


def test_every_message_is_different():
    for exercises in NOTEBOOKS.values():
        told = [said for e, _, said in WRONG if e is exercises]
        assert len(set(told)) >= len(told) - 1  # "swapped" says the same in two exercises


def test_every_exercise_has_wrong_answers():
    covered = {(id(e), f.__name__.split("__")[0]) for e, f, _ in WRONG}
    assert covered == {(id(e), name) for e, name in EXERCISES}


def as_a_learner_wrote_it(f):
    """Another function with the same code."""
    return FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__)


@pytest.mark.parametrize(("exercises", "name"), EXERCISES, ids=lambda v: str(v)[:30])
def test_solutions_pass_and_are_handed_back(exercises, name):
    f = as_a_learner_wrote_it(exercises.by_name[name].solution)
    assert exercises.verdict(f) == ("correct", "", f)
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


def test_checking_twice_does_not_take_the_reference_for_the_learners(capsys, monkeypatch):
    monkeypatch.setattr(stub_1, "__name__", "noise_step")
    forward_noising.check(forward_noising.check(stub_1))
    assert "run the whole cell" in capsys.readouterr().out.splitlines()[2]


def crashes(x, t, noise, schedule):
    return x.nonsense()


def test_a_crash_is_told_in_words(capsys, monkeypatch):
    monkeypatch.setattr(crashes, "__name__", "noise_step")
    reference = forward_noising.exercises.by_name["noise_step"].solution
    assert forward_noising.check(crashes) is reference
    said = capsys.readouterr().out
    assert said.startswith("✗ noise_step: it stopped with AttributeError")
    assert "(in `return x.nonsense()`)" in said
    assert said.endswith("The cells below use the reference version.\n")


def test_a_right_answer_is_said_and_used(capsys):
    answer = as_a_learner_wrote_it(forward_noising.exercises.by_name["noise_step"].solution)
    assert forward_noising.check(answer) is answer
    assert capsys.readouterr().out == "✓ noise_step: correct\n"


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
