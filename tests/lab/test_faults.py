"""A fault is planted in the package itself, everywhere at once, and is gone afterwards."""

import inspect

import pytest
import torch

import ddpm_course as dc
import ddpm_course.data.images as data_images
from ddpm_course.data.images import to_unit
from ddpm_course.lab.faults import Change, _compiled, changed, source

GREY = torch.tensor([0, 255], dtype=torch.uint8)
BRIGHT = Change("data.images.to_unit", "/ 127.5 - 1", "/ 255")


def test_the_function_itself_is_changed_wherever_it_was_imported_to():
    before = to_unit.__code__
    with changed(BRIGHT):
        for name in (to_unit, dc.to_unit, data_images.to_unit):
            assert name(GREY).tolist() == [0, 1]
    assert to_unit.__code__ is before
    assert to_unit(GREY).tolist() == [-1, 1]


def test_it_is_undone_when_something_goes_wrong_inside():
    with pytest.raises(KeyError), changed(BRIGHT):
        raise KeyError
    assert to_unit(GREY).tolist() == [-1, 1]


def test_methods_decorated_functions_and_generators():
    frozen = Change("training.ema.EMA.update", "1 - decay)", "0.0)")
    model = torch.nn.Linear(1, 1)
    average = dc.EMA(model)
    start = average.model.weight.clone()
    torch.nn.init.ones_(model.weight)
    with changed(frozen):
        average.update(model)
    assert torch.equal(average.model.weight, start)
    average.update(model)
    assert not torch.equal(average.model.weight, start)

    late = Change("samplers.ddim", "yield s, x, x0", "yield s + 7, x, x0")
    schedule = dc.cosine_schedule(10)
    with changed(late):
        [(s, *_)] = dc.ddim(lambda x, t: x, torch.zeros(1), schedule, [10, 0])
    assert s == 7


def test_a_function_is_changed_once_at_a_time():
    with changed(BRIGHT):
        again = Change("data.images.to_unit", "images.float()", "images.double()")
        with (
            pytest.raises(ValueError, match=r"data\.images\.to_unit is changed already"),
            changed(again),
        ):
            pass
        assert to_unit(GREY).tolist() == [0, 1]
    assert to_unit(GREY).tolist() == [-1, 1]


def test_a_function_with_another_function_in_its_parameters(monkeypatch):
    """The compiled text has more than one code object then."""
    text = "def timesteps(x, key=lambda a: a):\n    return key(x)\n"
    monkeypatch.setattr("ddpm_course.lab.faults._parameters", lambda _: "")
    assert _compiled("schedules.timesteps", text).co_name == "timesteps"


def test_changes_add_up_and_a_change_can_undo_another():
    twice = Change("data.images.to_unit", "images.float()", "(2 * images.float())")
    with changed(BRIGHT, twice):
        assert to_unit(GREY).tolist() == [0, 2]
    with changed(BRIGHT, Change("data.images.to_unit", BRIGHT.after, BRIGHT.before)):
        assert to_unit(GREY).tolist() == [-1, 1]
    assert "2 * images" in source("data.images.to_unit", BRIGHT, twice)


def test_the_source_that_is_told_is_the_healthy_one_also_inside():
    healthy = inspect.getsource(data_images.to_uint8)
    with changed(Change("data.images.to_uint8", ".round()", "")):
        assert source("data.images.to_uint8") == healthy


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            Change("data.images.to_units", "a", "b"),
            r"There is no function data\.images\.to_units in",
        ),
        (Change("dates", "a", "b"), "There is no function dates in the package"),
        (Change("data.STARTER", "a", "b"), r"no function data\.STARTER"),
        (
            Change("data.images.to_unit", "/ 128", ""),
            r"`/ 128` stands 0 times in data\.images\.to_unit",
        ),
        (
            Change("data.images.to_unit", "i", ""),
            r"`i` stands \d+ times in .* name a piece that stands",
        ),
        (Change("data.images.to_unit", "- 1", "- ("), r"data\.images\.to_unit would be no Python"),
        (Change("training.ema.EMA.__init__", "0.999", "0.5"), "its parameters stay as they are"),
        (Change("unet.UNet.__init__", "super()", "super( )"), "uses variables from around it"),
    ],
)
def test_what_cannot_be_changed_is_told_in_a_sentence(change, told):
    with pytest.raises(ValueError, match=told), changed(change):
        pass
    assert to_unit(GREY).tolist() == [-1, 1]
