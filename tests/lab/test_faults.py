"""A fault is planted in the package itself, everywhere at once, and is gone afterwards."""

import inspect

import pytest
import torch

import ddpm_course as dc
import ddpm_course.data.images as data_images
from ddpm_course.data.images import to_unit
from ddpm_course.lab.faults import Change, _compiled, changed, source

GREY = torch.tensor([0, 255], dtype=torch.uint8)
TO_UNIT = "data.images.to_unit"
BRIGHT = Change(TO_UNIT, "/ 127.5 - 1", "/ 255")


def test_the_function_is_changed_wherever_it_was_imported_to():
    before = to_unit.__code__
    with changed(BRIGHT):
        for name in (to_unit, dc.to_unit, data_images.to_unit):
            assert name(GREY).tolist() == [0, 1]
    assert to_unit.__code__ is before
    assert to_unit(GREY).tolist() == [-1, 1]


def test_a_change_is_undone_after_an_error():
    with pytest.raises(KeyError), changed(BRIGHT):
        raise KeyError
    assert to_unit(GREY).tolist() == [-1, 1]


def test_decorated_methods_can_be_changed():
    model = torch.nn.Linear(1, 1)
    average = dc.EMA(model)
    start = average.model.weight.clone()
    torch.nn.init.ones_(model.weight)
    with changed(Change("training.ema.EMA.update", "1 - decay)", "0.0)")):
        average.update(model)
    assert torch.equal(average.model.weight, start)
    average.update(model)
    assert not torch.equal(average.model.weight, start)


def test_generators_can_be_changed():
    schedule = dc.cosine_schedule(10)
    with changed(Change("samplers.ddim", "yield s, x, x0", "yield s + 7, x, x0")):
        [(s, *_)] = dc.ddim(lambda x, t: x, torch.zeros(1), schedule, [10, 0])
    assert s == 7


def test_a_changed_function_cannot_be_changed_again():
    again = Change(TO_UNIT, "images.float()", "images.double()")
    with changed(BRIGHT):
        with pytest.raises(ValueError, match=f"{TO_UNIT} is changed already"), changed(again):
            pass
        assert to_unit(GREY).tolist() == [0, 1]
    assert to_unit(GREY).tolist() == [-1, 1]


def test_a_lambda_among_the_parameters_is_not_taken_for_the_function(monkeypatch):
    """The compiled text then has more than one code object."""
    text = "def timesteps(x, key=lambda a: a):\n    return key(x)\n"
    monkeypatch.setattr("ddpm_course.lab.faults._parameters", lambda _: "")
    assert _compiled("schedules.timesteps", text).co_name == "timesteps"


def test_changes_add_up_and_one_can_undo_another():
    twice = Change(TO_UNIT, "images.float()", "(2 * images.float())")
    with changed(BRIGHT, twice):
        assert to_unit(GREY).tolist() == [0, 2]
    with changed(BRIGHT, Change(TO_UNIT, BRIGHT.after, BRIGHT.before)):
        assert to_unit(GREY).tolist() == [-1, 1]
    assert "2 * images" in source(TO_UNIT, BRIGHT, twice)


def test_source_is_the_unchanged_one_even_while_changed():
    healthy = inspect.getsource(data_images.to_uint8)
    with changed(Change("data.images.to_uint8", ".round()", "")):
        assert source("data.images.to_uint8") == healthy


@pytest.mark.parametrize(
    ("where", "before", "after", "message"),
    [
        ("data.images.to_units", "a", "b", r"has no function data\.images\.to_units"),
        ("dates", "a", "b", "has no function dates"),
        ("data.starter.STARTER", "a", "b", r"has no function data\.starter\.STARTER"),
        (TO_UNIT, "/ 128", "", rf"`/ 128` occurs 0 times in {TO_UNIT}"),
        (TO_UNIT, "i", "", r"`i` occurs \d+ times in .* name a piece that occurs once"),
        (TO_UNIT, "- 1", "- (", rf"{TO_UNIT} would be no valid Python"),
        ("training.ema.EMA.__init__", "0.999", "0.5", "may not touch the parameters"),
        ("unet.UNet.__init__", "super()", "super( )", "is a closure"),
    ],
)
def test_an_impossible_change_is_one_clear_sentence(where, before, after, message):
    with pytest.raises(ValueError, match=message), changed(Change(where, before, after)):
        pass
    assert to_unit(GREY).tolist() == [-1, 1]
