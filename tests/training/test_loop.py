import csv
import math
import signal
from dataclasses import replace

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ddpm_course import Denoiser, UNet, cosine_schedule, linear_schedule, load_pretrained
from ddpm_course.data.images import ImageData, to_uint8
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.pretrained.files import load_tensors
from ddpm_course.training.batches import image_batches
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.loop import train
from ddpm_course.training.run_folder import cut_rows

CLASSES = 8
CONFIG = TrainConfig(
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    precision="fp32",
    log_every=1,
    checkpoint_every=100,
)
STATE, MODEL, METRICS = "training_state.safetensors", "model.safetensors", "metrics.csv"
LOCK = ".lock"


@pytest.fixture(scope="module")
def flowers():
    images, labels = synthetic_flowers(10, 8, seed=0)
    return ImageData(images, labels.index_fill(0, torch.tensor([0]), CLASSES - 1))


def make(dropout=0.0, conditional=False, prediction="v", schedule=None, channels=(8, 16)):
    torch.manual_seed(0)
    net = UNet(
        channels=channels,
        attention_levels=(),
        blocks=1,
        head_dim=8,
        dropout=dropout,
        num_classes=CLASSES if conditional else None,
        image_size=8,
    )
    return Denoiser(net, schedule or cosine_schedule(50), prediction)


def run(flowers, config=CONFIG, denoiser=None, **options):
    """All states of a training on the flowers."""
    return list(train(denoiser or make(), image_batches(flowers, config), config, **options))


def rows(folder):
    with (folder / METRICS).open(newline="") as file:
        return list(csv.DictReader(file))


def numbered(n):
    """n images, the k-th filled with the value k and labelled k % CLASSES."""
    values = torch.arange(n, dtype=torch.uint8)
    return ImageData(values[:, None, None, None].expand(-1, 3, 8, 8), torch.arange(n) % CLASSES)


def numbers(batch):
    return to_uint8(batch["x0"])[:, 0, 0, 0].tolist()


def test_the_loss_falls(flowers):
    config = replace(CONFIG, steps=60, batch_size=8, learning_rate=1e-2)
    losses = [state.loss for state in run(flowers, config, make(prediction="eps"))]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_times_cover_exactly_1_to_T_and_the_network_counts_from_0(flowers, monkeypatch):
    denoiser = make(schedule=linear_schedule(5))
    times, heard = [], []
    loss = denoiser.loss
    monkeypatch.setattr(denoiser, "loss", lambda x0, t, *a: (times.append(t), loss(x0, t, *a))[1])
    denoiser.net.register_forward_pre_hook(lambda net, args: heard.append(args[1]))
    run(flowers, replace(CONFIG, steps=25), denoiser)
    times, heard = torch.cat(times), torch.cat(heard)
    assert times.unique(return_counts=True)[0].tolist() == [1, 2, 3, 4, 5]
    assert times.unique(return_counts=True)[1].min() > 8
    assert torch.equal(heard, times - 1)


def test_states_are_yielded_every_log_every_steps_and_at_the_end(flowers):
    states = run(flowers, replace(CONFIG, steps=7, log_every=3))
    assert [state.step for state in states] == [3, 6, 7]
    every = [state.loss for state in run(flowers, replace(CONFIG, steps=7))]
    assert states[0].loss == pytest.approx(sum(every[:3]) / 3)
    assert states[2].loss == pytest.approx(every[6])


# ---- resuming


def begin(folder, batch, config, denoiser, how):
    """Train for three steps and stop in one of the ways a run can stop."""
    if how == "finished":
        list(train(denoiser, batch, replace(config, steps=3), folder=folder))
    elif how == "closed":
        states = train(denoiser, batch, config, folder=folder)
        assert [next(states).step for _ in range(3)] == [1, 2, 3]
        states.close()
    elif how == "interrupted":

        def press_ctrl_c(step):
            if step == 2:
                signal.raise_signal(signal.SIGINT)
            return batch(step)

        with pytest.raises(KeyboardInterrupt):
            list(train(denoiser, press_ctrl_c, config, folder=folder))
    elif how == "crashed":  # after a checkpoint at 3 and metrics up to 5

        def fail(step):
            if step == 5:
                raise RuntimeError("power cut")
            return batch(step)

        with pytest.raises(RuntimeError, match="power cut"):
            list(train(denoiser, fail, replace(config, checkpoint_every=3), folder=folder))
        assert [row["step"] for row in rows(folder)] == ["1", "2", "3", "4", "5"]
        with (folder / METRICS).open("a") as file:
            file.write("6,0.")
    assert load_tensors(folder / STATE)[1]["step"] == 3


@pytest.mark.parametrize("how", ["finished", "closed", "interrupted", "crashed"])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_resumed_run_equals_one_that_was_never_stopped(flowers, tmp_path, how, conditional):
    def start():
        denoiser = make(dropout=0.3, conditional=conditional)
        return denoiser, image_batches(flowers, CONFIG, conditional=conditional)

    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    list(train(*start(), CONFIG, folder=straight))

    denoiser, batch = start()
    begin(stopped, batch, CONFIG, denoiser, how)
    torch.manual_seed(99)
    denoiser, batch = start()
    torch.nn.init.normal_(denoiser.net.conv_in.weight)
    states = list(train(denoiser, batch, CONFIG, folder=stopped, resume=True))
    assert [state.step for state in states] == [4, 5, 6]

    for name in (STATE, MODEL):
        (expected, metadata), (got, got_metadata) = (
            load_tensors(folder / name) for folder in (straight, stopped)
        )
        assert got_metadata == metadata
        assert set(got) == set(expected)
        different = [key for key in got if not torch.equal(got[key], expected[key])]
        assert different == []
        assert name == MODEL or "optimizer.0.exp_avg_sq" in got
    columns = ("step", "loss", "gradient_norm", "learning_rate")
    expected = [[row[c] for c in columns] for row in rows(straight)]
    assert [[row[c] for c in columns] for row in rows(stopped)] == expected


def test_dropout_is_on_while_training_and_seeded_by_the_step(flowers):
    once, again, without = (
        run(flowers, denoiser=make(dropout=p))[-1].loss for p in (0.5, 0.5, 0.0)
    )
    assert once == again != without


def test_an_interrupt_during_a_save_leaves_a_state_to_resume_from(flowers, tmp_path, monkeypatch):
    from ddpm_course.pretrained import files

    replace_file, saves = files.os.replace, []

    def interrupted_replace(source, target):
        saves.append(target.name)
        if saves.count(STATE) == 2:
            signal.raise_signal(signal.SIGINT)
        replace_file(source, target)

    monkeypatch.setattr(files.os, "replace", interrupted_replace)
    with pytest.raises(KeyboardInterrupt):
        run(flowers, replace(CONFIG, checkpoint_every=2), folder=tmp_path)
    assert load_tensors(tmp_path / STATE)[1]["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        LOCK,
        "config.json",
        METRICS,
        MODEL,
        STATE,
    ]
    monkeypatch.undo()
    assert run(flowers, folder=tmp_path, resume=True)[-1].step == 6


def test_an_interrupt_in_the_callers_code_saves_the_steps_done(flowers, tmp_path):
    def watch():
        for state in train(make(), image_batches(flowers, CONFIG), CONFIG, folder=tmp_path):
            if state.step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch()
    assert load_tensors(tmp_path / STATE)[1]["step"] == 4


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"config": replace(CONFIG, seed=1)}, "seed"),
        ({"config": replace(CONFIG, batch_size=2)}, "batch_size"),
        ({"config": replace(CONFIG, seed=1, ema_decay=0.5)}, "ema_decay and seed"),
        ({"denoiser": make(prediction="eps")}, "prediction"),
        ({"denoiser": make(schedule=linear_schedule(50))}, "schedule"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(flowers, tmp_path, other, named):
    run(flowers, replace(CONFIG, steps=1), folder=tmp_path)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(ValueError, match=f"was started with another {named}: resume with"):
        run(flowers, **other, folder=tmp_path, resume=True)
    assert (tmp_path / STATE).read_bytes() == before


def test_settings_that_do_not_change_the_draws_may_change_at_resume(flowers, tmp_path):
    run(flowers, replace(CONFIG, steps=1), folder=tmp_path)
    config = replace(CONFIG, steps=3, log_every=2, checkpoint_every=1, precision="bf16")
    assert run(flowers, config, folder=tmp_path, resume=True)[-1].step == 3


def test_resuming_another_network_is_refused(flowers, tmp_path):
    run(flowers, replace(CONFIG, steps=1), folder=tmp_path)
    with pytest.raises(ValueError, match="belongs to another network"):
        run(flowers, denoiser=make(channels=(8, 24)), folder=tmp_path, resume=True)


def test_resuming_nothing_and_resuming_a_finished_run_are_refused(flowers, tmp_path):
    with pytest.raises(ValueError, match="holds no training state"):
        run(flowers, folder=tmp_path, resume=True)
    run(flowers, replace(CONFIG, steps=2), folder=tmp_path)
    with pytest.raises(ValueError, match="has 2 steps already: ask for more"):
        run(flowers, replace(CONFIG, steps=2), folder=tmp_path, resume=True)


def test_a_state_cut_short_is_refused(flowers, tmp_path):
    run(flowers, replace(CONFIG, steps=1), folder=tmp_path)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or cut short"):
        run(flowers, folder=tmp_path, resume=True)


def test_weights_in_place_of_a_state_are_refused(flowers, tmp_path):
    run(flowers, replace(CONFIG, steps=1), folder=tmp_path)
    (tmp_path / STATE).write_bytes((tmp_path / MODEL).read_bytes())
    with pytest.raises(ValueError, match="holds no training state"):
        run(flowers, folder=tmp_path, resume=True)


# ---- what a run leaves behind


def test_a_new_run_in_a_used_folder_is_refused(flowers, tmp_path):
    run(flowers, replace(CONFIG, steps=1), folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="already holds a run"):
        run(flowers, folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("there", [[STATE], [STATE, MODEL]])
def test_a_run_killed_while_it_was_first_saved_may_be_started_anew(flowers, tmp_path, there):
    states = train(make(), image_batches(flowers, CONFIG), CONFIG, folder=tmp_path / "whole")
    next(states)
    newborn = {name: (tmp_path / "whole" / name).read_bytes() for name in there}
    (tmp_path / "killed").mkdir()
    for name, data in newborn.items():
        (tmp_path / "killed" / name).write_bytes(data)
    assert run(flowers, folder=tmp_path / "killed")[-1].step == 6
    (tmp_path / "killed" / "config.json").unlink()  # now it is no newborn
    (tmp_path / "killed" / METRICS).unlink()
    with pytest.raises(ValueError, match="already holds a run"):
        run(flowers, folder=tmp_path / "killed")


@pytest.mark.parametrize("torn", ["1", "10", "2,0.4", "\0\0\0", "x,y\r\n3", '"'])
def test_a_line_cut_short_is_dropped(tmp_path, torn):
    path = tmp_path / METRICS
    path.write_bytes(b"step,loss,speed\r\n1,0.5,9\r\n2,0.4,9\r\n3,0.3,9\r\n" + torn.encode())
    cut_rows(path, 2)
    assert path.read_bytes() == b"step,loss,speed\r\n1,0.5,9\r\n2,0.4,9\r\n"


def test_without_a_folder_nothing_is_written(flowers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(flowers, folder=None)[-1].step == 6
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_written_before_the_first_step(flowers, tmp_path):
    def batch(step):
        assert load_pretrained(tmp_path / "run").prediction == "v"
        raise RuntimeError("reached the first step")

    with pytest.raises(RuntimeError, match="reached the first step"):
        list(train(make(), batch, CONFIG, folder=tmp_path / "run"))


def test_saved_weights_are_the_averaged_ones(flowers, tmp_path):
    denoiser = make()
    state = run(flowers, denoiser=denoiser, folder=tmp_path)[-1]
    saved = load_pretrained(tmp_path).net.state_dict()
    for name, tensor in state.ema.net.state_dict().items():
        assert torch.equal(saved[name], tensor)
    assert not torch.equal(saved["conv_in.weight"], denoiser.net.conv_in.weight)
    assert not state.ema.training


def test_a_compiled_network_is_saved_under_its_own_names(flowers, tmp_path):
    denoiser = make()
    names = set(denoiser.net.state_dict())
    denoiser.net.compile(backend="eager")
    run(flowers, replace(CONFIG, steps=1), denoiser, folder=tmp_path)
    assert set(load_tensors(tmp_path / MODEL)[0]) == names | {"alphas_cumprod"}
    assert not [name for name in load_tensors(tmp_path / STATE)[0] if "_orig_mod" in name]


def test_metrics_go_to_the_log_and_to_the_folder_alike(flowers, tmp_path):
    logged = []
    config = replace(CONFIG, steps=4, log_every=2)
    states = run(flowers, config, folder=tmp_path, log=lambda m, step: logged.append((step, m)))
    assert logged == [(state.step, state.metrics()) for state in states]
    assert [row["step"] for row in rows(tmp_path)] == ["2", "4"]
    for row, state in zip(rows(tmp_path), states, strict=True):
        assert float(row["loss"]) == pytest.approx(state.loss, rel=1e-5)
        assert float(row["gradient_norm"]) == pytest.approx(state.gradient_norm, rel=1e-5)
    assert states[0].images_per_second > 0


# ---- batches


@pytest.mark.parametrize("batch_size", [2, 5, 7, 16])
def test_each_epoch_visits_every_image_once(batch_size):
    batch = image_batches(numbered(7), replace(CONFIG, batch_size=batch_size))
    seen = [k for step in range(21) for k in numbers(batch(step))]
    epochs = [seen[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_is_a_function_of_the_step_alone(flowers):
    forwards, backwards = (image_batches(flowers, CONFIG, conditional=True) for _ in range(2))
    first = [forwards(step) for step in range(8)]
    second = [backwards(step) for step in reversed(range(8))][::-1]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a["x0"], b["x0"])
        assert torch.equal(a["y"], b["y"])
    other = image_batches(flowers, replace(CONFIG, seed=1))
    assert not torch.equal(other(0)["x0"], first[0]["x0"])


def test_batches_lie_between_minus_1_and_1():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    x0 = image_batches(ImageData(images, None), replace(CONFIG, batch_size=2))(0)["x0"]
    assert x0.dtype == torch.float32
    assert sorted(x0.unique().tolist()) == [-1, 1]


def test_labels_belong_to_their_images_or_are_null_as_often_as_asked():
    config = replace(CONFIG, batch_size=50, label_dropout=0.3)
    batch = image_batches(numbered(16), config, conditional=True)
    batches = [batch(step) for step in range(40)]
    k = torch.tensor([n for b in batches for n in numbers(b)])
    y = torch.cat([b["y"] for b in batches])
    hidden = y == CLASSES
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))
    assert torch.equal(y[~hidden], k[~hidden] % CLASSES)


@pytest.mark.parametrize(("share", "expected"), [(0.0, []), (1.0, [CLASSES])])
def test_no_label_or_every_label_can_be_dropped(share, expected):
    config = replace(CONFIG, batch_size=16, label_dropout=share)
    y = image_batches(numbered(16), config, conditional=True)(0)["y"]
    assert sorted(set(y.tolist()) - set(range(CLASSES))) == expected


@pytest.mark.parametrize(("flip", "share"), [(True, 0.5), (False, 0.0)])
def test_half_of_the_images_are_mirrored_left_to_right(flip, share):
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[..., :2, 0] = 255
    batch = image_batches(ImageData(images, None), replace(CONFIG, batch_size=50, flip=flip))
    x0 = torch.cat([batch(step)["x0"] for step in range(40)])
    mirrored = x0[:, 0, 0, -1] == 1
    assert torch.equal(x0[:, 0, 0, 0] == 1, ~mirrored)
    assert (x0[:, :, 2:] == -1).all()
    assert mirrored.float().mean().item() == pytest.approx(share, abs=4 * 0.5 / math.sqrt(2000))


def test_conditional_batches_need_labels(flowers):
    with pytest.raises(ValueError, match="no labels"):
        image_batches(ImageData(flowers.images, None), CONFIG, conditional=True)
    assert list(image_batches(flowers, CONFIG)(0)) == ["x0"]


def test_a_batch_may_be_the_same_dict_at_every_step(flowers):
    inputs = image_batches(flowers, CONFIG)(0)
    assert list(train(make(), lambda step: inputs, CONFIG))[-1].step == 6
    assert list(inputs) == ["x0"]


# ---- one step


@pytest.fixture
def before_every_step():
    """What the optimiser sees: (learning rate, 2-norm of the gradient), step by step."""
    seen = []

    def look(optimizer, args, kwargs):
        [group] = optimizer.param_groups
        grads = [p.grad for p in group["params"] if p.grad is not None]
        seen.append((group["lr"], torch.nn.utils.get_total_norm(grads).item()))

    handle = register_optimizer_step_pre_hook(look)
    yield seen
    handle.remove()


def test_the_learning_rate_rises_in_a_straight_line(flowers, before_every_step):
    states = run(flowers, replace(CONFIG, learning_rate=0.4, warmup_steps=4))
    expected = [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    assert [rate for rate, _ in before_every_step] == pytest.approx(expected)
    assert [state.learning_rate for state in states] == pytest.approx(expected)


def test_without_warm_up_the_first_step_is_a_full_one(flowers, before_every_step):
    run(flowers, replace(CONFIG, steps=1, warmup_steps=0))
    assert before_every_step[0][0] == CONFIG.learning_rate


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_longer_gradients_are_scaled_down(flowers, before_every_step, longest):
    states = run(flowers, replace(CONFIG, grad_clip=longest))
    for state, (_, norm) in zip(states, before_every_step, strict=True):
        assert norm == pytest.approx(min(state.gradient_norm, longest), rel=1e-3)
    assert all(0.01 < state.gradient_norm < 100 for state in states)


def test_bf16_tracks_fp32(flowers):
    losses = {
        precision: [s.loss for s in run(flowers, replace(CONFIG, steps=10, precision=precision))]
        for precision in ("fp32", "bf16")
    }
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


# ---- what is refused


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("steps", 0, "steps must be 1 or more, not 0"),
        ("batch_size", -1, "batch_size must be 1 or more"),
        ("log_every", 0, "log_every must be 1 or more"),
        ("checkpoint_every", 0, "checkpoint_every must be 1 or more"),
        ("learning_rate", 0.0, "learning_rate must be above 0"),
        ("learning_rate", math.nan, "learning_rate must be above 0"),
        ("grad_clip", -1.0, "grad_clip must be above 0"),
        ("label_dropout", 1.5, "label_dropout lies between 0 and 1"),
        ("ema_decay", 1.0, "ema_decay lies between 0 and 1"),
        ("warmup_steps", -1, "warmup_steps and seed must be 0 or more"),
        ("seed", -1, "warmup_steps and seed must be 0 or more"),
        ("precision", "fp8", "precision is auto, fp32 or bf16, not 'fp8'"),
    ],
)
def test_bad_settings_are_refused(field, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(**{field: value})


def spoilt_from(step, batch):
    return lambda k: {"x0": batch(k)["x0"] * (math.nan if k >= step else 1)}


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(flowers, tmp_path, log_every):
    config = replace(CONFIG, checkpoint_every=2, log_every=log_every)
    batch = spoilt_from(4, image_batches(flowers, config))
    found = 5 if log_every == 1 else 6
    sentence = f"The loss is nan at step {found}, .* The checkpoint of step 4 is kept; try a lower"
    with pytest.raises(FloatingPointError, match=sentence):
        list(train(make(), batch, config, folder=tmp_path))
    assert load_tensors(tmp_path / STATE)[1]["step"] == 4
    weights = load_pretrained(tmp_path).net.state_dict().values()
    assert all(tensor.isfinite().all() for tensor in weights)


def test_a_loss_that_explodes_stops_the_run(flowers, tmp_path):
    batch = image_batches(flowers, CONFIG)
    wild = lambda k: {"x0": batch(k)["x0"] * (1e4 if k >= 3 else 1)}  # noqa: E731
    with pytest.raises(FloatingPointError, match=r"The loss is .*e\+0\d at step 4, past saving"):
        list(train(make(prediction="x0"), wild, replace(CONFIG, log_every=1), folder=tmp_path))


class Cramped(torch.nn.Module):
    """A network on a device that has room for `room` images."""

    def __init__(self, net, room, error):
        super().__init__()
        self.net, self.room, self.error = net, room, error
        self.config = net.config

    def forward(self, x, t, **cond):
        if len(x) > self.room:
            raise self.error
        return self.net(x, t, **cond)


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
def test_out_of_memory_says_what_fits(flowers, error):
    for room, told in (
        (2, "Out of memory with 4 images at once on cpu; 2 fit: add --accumulate 2, which learns"),
        (1, "; 1 fit: add --accumulate 4"),
        (0, "; not even one image fits: choose a smaller --preset"),
    ):
        denoiser = make()
        denoiser.net = Cramped(denoiser.net, room, error)
        before = [p.clone() for p in denoiser.parameters()]
        with pytest.raises(MemoryError, match=told):
            list(train(denoiser, image_batches(flowers, CONFIG), CONFIG))
        assert all(torch.equal(a, b) for a, b in zip(before, denoiser.parameters(), strict=True))
        if room:
            parts = replace(CONFIG, accumulate=4 // room)
            assert list(train(denoiser, image_batches(flowers, parts), parts))[-1].step == 6


def test_running_out_of_memory_keeps_the_steps_done(flowers, tmp_path):
    denoiser, batch = make(), image_batches(flowers, CONFIG)
    states = train(denoiser, batch, CONFIG, folder=tmp_path)
    for _ in range(3):
        next(states)
    error = torch.OutOfMemoryError("CUDA out of memory.")

    def crowded(module, given):
        if len(given[0]) > 1:
            raise error

    denoiser.net.register_forward_pre_hook(crowded)
    with pytest.raises(MemoryError, match="1 fit: add --accumulate 4"):
        next(states)
    assert load_tensors(tmp_path / STATE)[1]["step"] == 3
    denoiser.net._forward_pre_hooks.clear()
    resumed, straight = make(), make()
    run(flowers, denoiser=resumed, folder=tmp_path, resume=True)
    run(flowers, denoiser=straight)
    pairs = zip(resumed.parameters(), straight.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_another_error_is_not_taken_for_too_little_memory(flowers):
    denoiser = make()
    denoiser.net = Cramped(denoiser.net, 0, RuntimeError("mat1 and mat2 cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        list(train(denoiser, image_batches(flowers, CONFIG), CONFIG))


def test_stopping_a_run_that_is_not_finite_saves_nothing(flowers, tmp_path):
    config = replace(CONFIG, log_every=2)
    states = train(make(), spoilt_from(2, image_batches(flowers, config)), config, folder=tmp_path)
    next(states)
    with pytest.raises(FloatingPointError, match="No checkpoint was saved yet"):
        list(states)
    assert load_tensors(tmp_path / STATE)[1]["step"] == 0
