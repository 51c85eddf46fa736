"""A run that was stopped continues as if it had not been, and nothing in its folder is lost."""

import signal
from dataclasses import replace

import pytest
import torch
from helpers import contents
from small import CONFIG, FLOWERS, make, rows, run

from ddpm_course import image_batches, linear_schedule, load_pretrained, train
from ddpm_course.pretrained.files import load_tensors
from ddpm_course.training.curves import drop_rows_after, read_column
from ddpm_course.training.run_folder import LOCK, METRICS, MODEL, STATE


def begin(folder, batch, config, denoiser, how):
    """Train for three steps and stop in one of the ways that a run can stop."""

    def fails_at(failing, fail):
        def failing_batch(step):
            if step == failing:
                fail()
            return batch(step)

        return failing_batch

    def cut_power():
        raise RuntimeError("power cut")

    def run_out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")

    if how == "finished":
        list(train(denoiser, batch, replace(config, steps=3), folder=folder))
    elif how == "closed":
        states = train(denoiser, batch, config, folder=folder)
        assert [next(states).step for _ in range(3)] == [1, 2, 3]
        states.close()
    elif how == "interrupted":
        press_ctrl_c = fails_at(2, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            list(train(denoiser, press_ctrl_c, config, folder=folder))
    elif how == "out of memory":
        often = replace(config, checkpoint_every=3)  # a half step is never saved
        with pytest.raises(MemoryError, match="--accumulate"):
            list(train(denoiser, fails_at(4, run_out_of_memory), often, folder=folder))
    elif how == "crashed":  # after a checkpoint at 3 and metrics up to 5
        often = replace(config, checkpoint_every=3)
        with pytest.raises(RuntimeError, match="power cut"):
            list(train(denoiser, fails_at(5, cut_power), often, folder=folder))
        assert [row["step"] for row in rows(folder / METRICS)] == ["1", "2", "3", "4", "5"]
        with (folder / METRICS).open("a") as file:
            file.write("6,0.")
    assert load_tensors(folder / STATE)[1]["step"] == 3


@pytest.mark.parametrize(
    ("how", "conditional"),
    [
        ("finished", False),
        ("closed", True),
        ("interrupted", False),
        ("out of memory", False),
        ("crashed", True),
    ],
)
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path, how, conditional):
    def start():
        denoiser = make(dropout=0.3, conditional=conditional)
        return denoiser, image_batches(FLOWERS, CONFIG, conditional=conditional)

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
        assert [key for key in got if not torch.equal(got[key], expected[key])] == []
        assert name == MODEL or "optimizer.0.exp_avg_sq" in got
    columns = ("step", "loss", "gradient_norm", "learning_rate")
    expected, got = (
        [[row[c] for c in columns] for row in rows(folder / METRICS)]
        for folder in (straight, stopped)
    )
    assert got == expected


def test_an_interrupt_during_a_save_leaves_a_state_to_resume_from(tmp_path, monkeypatch):
    from ddpm_course.pretrained import files

    replace_file, saves = files.os.replace, []

    def interrupted_replace(source, target):
        saves.append(target.name)
        if saves.count(STATE) == 2:
            signal.raise_signal(signal.SIGINT)
        replace_file(source, target)

    monkeypatch.setattr(files.os, "replace", interrupted_replace)
    with pytest.raises(KeyboardInterrupt):
        run(replace(CONFIG, checkpoint_every=2), folder=tmp_path)
    assert load_tensors(tmp_path / STATE)[1]["step"] == 2
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [LOCK, "config.json", METRICS, MODEL, STATE]
    monkeypatch.undo()
    assert run(folder=tmp_path, resume=True)[-1].step == 6


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"config": replace(CONFIG, batch_size=2)}, "batch_size"),
        ({"config": replace(CONFIG, seed=1, ema_decay=0.5)}, "ema_decay and seed"),
        ({"denoiser": make(prediction="eps")}, "prediction"),
        ({"denoiser": make(schedule=linear_schedule(50))}, "schedule"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_name(tmp_path, other, named):
    run(replace(CONFIG, steps=1), folder=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"was started with another {named}: resume with"):
        run(**other, folder=tmp_path, resume=True)
    assert contents(tmp_path) == before


def test_settings_that_do_not_change_the_draws_may_change_at_resume(tmp_path):
    run(replace(CONFIG, steps=1), folder=tmp_path)
    config = replace(CONFIG, steps=5, decay_steps=3, checkpoint_every=1, precision="bf16")
    rates = [state.learning_rate for state in run(config, folder=tmp_path, resume=True)]
    assert rates == pytest.approx([1e-3, 1e-3, 2e-3 / 3, 1e-3 / 3])


def test_resuming_another_network_is_refused(tmp_path):
    run(replace(CONFIG, steps=1), folder=tmp_path)
    with pytest.raises(ValueError, match="belongs to another network"):
        run(denoiser=make(channels=(8, 24)), folder=tmp_path, resume=True)


def test_resuming_nothing_and_resuming_a_finished_run_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no training state"):
        run(folder=tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()
    run(replace(CONFIG, steps=2), folder=tmp_path)
    with pytest.raises(ValueError, match="has 2 steps already: ask for more"):
        run(replace(CONFIG, steps=2), folder=tmp_path, resume=True)


def test_a_damaged_state_and_weights_in_its_place_are_refused(tmp_path):
    run(replace(CONFIG, steps=1), folder=tmp_path)
    whole = (tmp_path / STATE).read_bytes()
    (tmp_path / STATE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or cut short"):
        run(folder=tmp_path, resume=True)
    (tmp_path / STATE).write_bytes((tmp_path / MODEL).read_bytes())
    with pytest.raises(ValueError, match="holds no training state"):
        run(folder=tmp_path, resume=True)


def test_a_new_run_in_a_used_folder_is_refused(tmp_path):
    run(replace(CONFIG, steps=1), folder=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="already holds a run"):
        run(folder=tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("files", [[STATE], [STATE, MODEL]])
def test_a_run_killed_during_its_first_save_may_be_started_again(tmp_path, files):
    states = train(make(), image_batches(FLOWERS, CONFIG), CONFIG, folder=tmp_path / "whole")
    next(states)
    (tmp_path / "killed").mkdir()
    for name in files:
        (tmp_path / "killed" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    assert run(folder=tmp_path / "killed")[-1].step == 6
    (tmp_path / "killed" / "config.json").unlink()  # now it has six steps to lose
    (tmp_path / "killed" / METRICS).unlink()
    with pytest.raises(ValueError, match="already holds a run"):
        run(folder=tmp_path / "killed")


@pytest.mark.parametrize("torn", ["1", "10", "2,0.4", "\0\0\0", "x,y\r\n3", '"'])
def test_an_incomplete_last_line_is_dropped(tmp_path, torn):
    path = tmp_path / METRICS
    path.write_bytes(b"step,loss,speed\r\n1,0.5,9\r\n2,0.4,9\r\n3,0.3,9\r\n" + torn.encode())
    drop_rows_after(path, 2)
    assert path.read_bytes() == b"step,loss,speed\r\n1,0.5,9\r\n2,0.4,9\r\n"


def test_the_folder_is_written_before_the_first_step(tmp_path):
    def batch(step):
        assert load_pretrained(tmp_path / "run").prediction == "v"
        raise RuntimeError("reached the first step")

    with pytest.raises(RuntimeError, match="reached the first step"):
        list(train(make(), batch, CONFIG, folder=tmp_path / "run"))


@pytest.mark.parametrize(
    "text", ["step,loss\n1,0.5\n", "step,x0_error\n1,low\n", "step,x0_error\n1\n"]
)
def test_a_curve_without_its_numbers_is_named(tmp_path, text):
    path = tmp_path / "held_out.csv"
    assert read_column(path, "x0_error") == []
    path.write_text(text)
    with pytest.raises(ValueError, match=r"held_out.csv has no numbers under x0_error"):
        read_column(path, "x0_error")
