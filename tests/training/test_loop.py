"""Algorithm 1, what a run reports, and when it stops itself."""

import math
import signal
from dataclasses import replace

import pytest
import torch
from small import CONFIG, FLOWERS, make, rows, run
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ddpm_course import image_batches, linear_schedule, load_pretrained, train
from ddpm_course.pretrained.files import load_tensors
from ddpm_course.rng import NOISE, TIMES, generator
from ddpm_course.training.config import TrainConfig, learning_rate
from ddpm_course.training.loop import training_step
from ddpm_course.training.run_folder import MODEL, STATE

# ---- one step


def test_a_step_is_algorithm_1_written_by_hand():
    config = replace(CONFIG, batch_size=8, warmup_steps=4, grad_clip=0.01, seed=3)
    denoiser, by_hand = make(prediction="eps"), make(prediction="eps")
    x0 = image_batches(FLOWERS, config)(2)["x0"]
    optimizer = torch.optim.SGD(denoiser.net.parameters(), lr=123.0)
    loss, norm = training_step(denoiser, optimizer, {"x0": x0}, 2, config)

    t = torch.randint(1, 51, (8,), generator=generator(3, 2, TIMES))
    noise = torch.randn(8, 3, 8, 8, generator=generator(3, 2, NOISE))
    abar = by_hand.schedule.alphas_cumprod[t].float().view(8, 1, 1, 1)
    predicted = by_hand.net(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t - 1)
    expected = (predicted - noise).square().mean()
    expected.backward()
    gradients = [p.grad for p in by_hand.net.parameters()]
    length = torch.cat([g.flatten() for g in gradients]).norm()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert norm.item() == pytest.approx(length.item(), rel=1e-5)
    assert norm > 0.1
    for p, q in zip(denoiser.net.parameters(), by_hand.net.parameters(), strict=True):
        rate = 1e-3 * 3 / 4
        torch.testing.assert_close(p, q - rate * 0.01 / length * q.grad, rtol=1e-5, atol=1e-8)


def test_the_loss_falls():
    config = replace(CONFIG, steps=60, batch_size=8, learning_rate=1e-2)
    losses = [state.loss for state in run(config, make(prediction="eps"))]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_times_cover_exactly_1_to_T_and_the_network_counts_from_0(monkeypatch):
    denoiser = make(schedule=linear_schedule(5))
    times, received = [], []
    loss = denoiser.loss
    monkeypatch.setattr(denoiser, "loss", lambda x0, t, *a: (times.append(t), loss(x0, t, *a))[1])
    denoiser.net.register_forward_pre_hook(lambda net, args: received.append(args[1]))
    run(replace(CONFIG, steps=25), denoiser)
    times, received = torch.cat(times), torch.cat(received)
    assert times.unique(return_counts=True)[0].tolist() == [1, 2, 3, 4, 5]
    assert times.unique(return_counts=True)[1].min() > 8
    assert torch.equal(received, times - 1)


def test_dropout_is_on_while_training_and_seeded_by_the_step():
    once, again, without = (run(denoiser=make(dropout=p))[-1].loss for p in (0.5, 0.5, 0.0))
    assert once == again != without


def test_a_batch_may_be_the_same_dict_at_every_step():
    inputs = image_batches(FLOWERS, CONFIG)(0)
    assert list(train(make(), lambda step: inputs, CONFIG))[-1].step == 6
    assert list(inputs) == ["x0"]


# ---- learning rate and clipping


@pytest.mark.parametrize(
    ("steps", "warmup", "decay", "rates"),
    [
        (6, 4, 0, [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]),
        (3, 0, 0, [0.4, 0.4, 0.4]),
        (2, 4, 0, [0.1, 0.2]),
        (9, 2, 4, [0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.3, 0.2, 0.1]),
        (4, 2, 2, [0.2, 0.4, 0.4, 0.2]),
        (4, 0, 4, [0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_the_learning_rate_rises_stays_and_falls_linearly(steps, warmup, decay, rates):
    config = TrainConfig(steps, learning_rate=0.4, warmup_steps=warmup, decay_steps=decay)
    assert [learning_rate(step, config) for step in range(steps)] == pytest.approx(rates)


@pytest.fixture
def before_every_step():
    """What the optimiser receives: (learning rate, 2-norm of the gradient), step by step."""
    received = []

    def look(optimizer, args, kwargs):
        [group] = optimizer.param_groups
        gradients = [p.grad for p in group["params"] if p.grad is not None]
        received.append((group["lr"], torch.nn.utils.get_total_norm(gradients).item()))

    handle = register_optimizer_step_pre_hook(look)
    yield received
    handle.remove()


def test_the_optimiser_uses_the_rate_that_the_state_reports(before_every_step):
    states = run(replace(CONFIG, learning_rate=0.4, warmup_steps=2, decay_steps=4))
    expected = [0.2, 0.4, 0.4, 0.3, 0.2, 0.1]
    assert [rate for rate, _ in before_every_step] == pytest.approx(expected)
    assert [state.learning_rate for state in states] == pytest.approx(expected)


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_longer_gradients_are_scaled_down(before_every_step, longest):
    states = run(replace(CONFIG, grad_clip=longest))
    for state, (_, norm) in zip(states, before_every_step, strict=True):
        assert norm == pytest.approx(min(state.gradient_norm, longest), rel=1e-3)
    assert all(0.01 < state.gradient_norm < 100 for state in states)


# ---- what a run reports and saves


def test_states_are_means_yielded_every_log_every_steps_and_at_the_end(tmp_path):
    states = run(replace(CONFIG, steps=7, log_every=3), folder=tmp_path)
    assert [state.step for state in states] == [3, 6, 7]
    every = [state.loss for state in run(replace(CONFIG, steps=7))]
    assert states[0].loss == pytest.approx(sum(every[:3]) / 3)
    assert states[2].loss == pytest.approx(every[6])
    assert states[0].images_per_second > 0
    for row, state in zip(rows(tmp_path / "metrics.csv"), states, strict=True):
        expected = {"step": state.step, **state.metrics()}
        assert {k: float(v) for k, v in row.items()} == pytest.approx(expected, rel=1e-5)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(folder=None)[-1].step == 6
    assert list(tmp_path.iterdir()) == []


def test_saved_weights_are_the_averaged_ones(tmp_path):
    denoiser = make()
    state = run(denoiser=denoiser, folder=tmp_path)[-1]
    saved = load_pretrained(tmp_path).net.state_dict()
    for name, tensor in state.ema.net.state_dict().items():
        assert torch.equal(saved[name], tensor)
    assert not torch.equal(saved["conv_in.weight"], denoiser.net.conv_in.weight)
    assert not state.ema.training


def test_a_compiled_network_is_saved_under_its_own_names(tmp_path):
    denoiser = make()
    names = set(denoiser.net.state_dict())
    denoiser.net.compile(backend="eager")
    run(replace(CONFIG, steps=1), denoiser, folder=tmp_path)
    assert set(load_tensors(tmp_path / MODEL)[0]) == names | {"alphas_cumprod"}
    assert not [name for name in load_tensors(tmp_path / STATE)[0] if "_orig_mod" in name]


# ---- when a run stops itself


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "steps must lie between 1 and 1000000000, not 0"),
        ({"batch_size": 10**20}, "batch_size must lie between 1 and"),
        ({"log_every": 0}, "log_every must lie"),
        ({"checkpoint_every": 0}, "checkpoint_every must lie"),
        ({"accumulate": 0}, "accumulate must lie"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0"),
        ({"grad_clip": -1.0}, "grad_clip must be above 0"),
        ({"grad_clip": math.inf}, "grad_clip must be above 0 and finite"),
        ({"label_dropout": 1.5}, "label_dropout must lie between 0 and 1, not 1.5"),
        ({"label_dropout": math.nan}, "label_dropout must lie between 0 and 1"),
        ({"ema_decay": 1.0}, "ema_decay must be at least 0 and below 1"),
        ({"ema_decay": math.nan}, "ema_decay must be at least 0"),
        ({"warmup_steps": -1}, "warmup_steps must lie between 0 and"),
        ({"decay_steps": -1}, "decay_steps must lie between 0 and"),
        ({"seed": -1}, "seed must lie between 0 and 18446744073709551615, not -1"),
        ({"seed": 2**64}, "seed must lie between 0 and 18446744073709551615, not"),
        ({"steps": 150, "decay_steps": 51}, "100 warm-up steps and 51 decay steps do not fit into"),
        ({"accumulate": 3}, "A batch of 32 cannot be split into 3 equal parts"),
        ({"precision": "fp8"}, "precision is auto, fp32 or bf16, not 'fp8'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path, settings, sentence):
    config = TrainConfig(**settings)
    with pytest.raises(ValueError, match=sentence):
        next(train(make(), lambda step: {}, config, folder=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def damaged_from(step, factor, config=CONFIG):
    """Batches of the flowers; from `step` on the images are multiplied by the factor."""
    batch = image_batches(FLOWERS, config)
    return lambda k: {"x0": batch(k)["x0"] * (factor if k >= step else 1)}


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(tmp_path, log_every):
    config = replace(CONFIG, checkpoint_every=2, log_every=log_every)
    found = 5 if log_every == 1 else 6
    sentence = f"The loss is nan at step {found}, .* The checkpoint of step 4 is kept; start again"
    with pytest.raises(FloatingPointError, match=sentence):
        list(train(make(), damaged_from(4, math.nan), config, folder=tmp_path))
    assert load_tensors(tmp_path / STATE)[1]["step"] == 4
    weights = load_pretrained(tmp_path).net.state_dict().values()
    assert all(tensor.isfinite().all() for tensor in weights)


def test_a_loss_that_explodes_stops_the_run():
    with pytest.raises(FloatingPointError, match=r"The loss is .*e\+0\d at step 4, past saving"):
        list(train(make(prediction="x0"), damaged_from(3, 1e4), CONFIG))


def test_an_interrupted_run_that_has_diverged_saves_nothing(tmp_path):
    damaged = damaged_from(2, math.nan)

    def batch(step):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return damaged(step)

    with pytest.raises(FloatingPointError, match=r"nan at step 4, .* No checkpoint was saved yet"):
        list(train(make(), batch, replace(CONFIG, log_every=100), folder=tmp_path))
    assert load_tensors(tmp_path / STATE)[1]["step"] == 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    ],
)
def test_out_of_memory_names_accumulate_which_helps(error):
    def cramped(net, args):
        if len(args[0]) > 2:
            raise error

    denoiser = make()
    denoiser.net.register_forward_pre_hook(cramped)
    with pytest.raises(MemoryError, match=r"Out of memory: process .* with --accumulate, which"):
        run(denoiser=denoiser)
    assert run(replace(CONFIG, accumulate=2), denoiser)[-1].step == 6


def test_another_error_is_not_taken_for_too_little_memory():
    def broken(net, args):
        raise RuntimeError("mat1 and mat2 cannot be multiplied")

    denoiser = make()
    denoiser.net.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="mat1"):
        run(denoiser=denoiser)
