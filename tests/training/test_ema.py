import math

import pytest
import torch
from torch import nn

from ddpm_course.training.ema import EMA


class Constant(nn.Module):
    """One weight and one buffer of one value."""

    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value], dtype=torch.float64))
        self.register_buffer("seen", torch.tensor([value], dtype=torch.float64))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("updates", [1, 7, 100])
def test_towards_a_constant_target_it_follows_the_closed_form(decay, updates):
    start, target = 3.0, -1.0
    ema, model = EMA(Constant(start), decay), Constant(target)
    for _ in range(updates):
        ema.update(model)
    left = math.prod(min(decay, (1 + i) / (10 + i)) for i in range(1, updates + 1))
    expected = target * (1 - left) + start * left
    assert ema.model.weight.item() == pytest.approx(expected, rel=1e-12)
    assert ema.updates == updates


def test_a_moving_target_is_averaged_with_the_written_weights():
    ema = EMA(Constant(0.0), 0.25)
    for value in (1.0, 2.0, 4.0):
        ema.update(Constant(value))
    d1, d2, d3 = 2 / 11, 3 / 12, 0.25
    expected = ((1 - d1) * 1.0 * d2 + (1 - d2) * 2.0) * d3 + (1 - d3) * 4.0
    assert ema.model.weight.item() == pytest.approx(expected, rel=1e-12)


def test_buffers_are_copied_not_averaged():
    model = nn.BatchNorm1d(2)
    ema = EMA(model, 0.9)
    model(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    ema.update(model)
    assert torch.equal(ema.model.running_mean, model.running_mean)
    assert ema.model.num_batches_tracked == 1
    model(torch.ones(2, 2))
    assert ema.model.num_batches_tracked == 1


def test_the_copy_is_in_eval_mode_without_gradients_and_the_original_is_left_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    before = [p.clone() for p in model.parameters()]
    ema = EMA(model, 0.9)
    assert not any(module.training for module in ema.model.modules())
    assert not any(p.requires_grad for p in ema.model.parameters())
    with torch.no_grad():
        for p in ema.model.parameters():
            p.add_(1)
    ema.update(model)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, math.nan])
def test_a_decay_outside_0_to_1_is_refused(decay):
    with pytest.raises(ValueError, match="between 0 and 1"):
        EMA(Constant(0.0), decay)
