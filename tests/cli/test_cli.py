import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import (
    ENLARGES,
    SAMPLE,
    TRAIN,
    command,
    here,
    small_and_offline,
    trained,
    weights_of,
)
from helpers import ROOT, contents, randomise
from PIL import Image

from ddpm_course import (
    Denoiser,
    UNet,
    cosine_schedule,
    load_pretrained,
    sample,
    to_uint8,
)
from ddpm_course.cli import invocation
from ddpm_course.data.grids import image_grid
from ddpm_course.data.image_files import bytes_of
from ddpm_course.pretrained.weights import COURSE, UPSCALER, save_pretrained
from ddpm_course.super_resolution.model import DRAWN, upscale
from ddpm_course.training.run_folder import steps_done

__all__ = ["here", "small_and_offline", "trained"]  # fixtures

# Where an option is given twice, the last one counts.
NEW_RUN = (*TRAIN, "--out", "new")
RESUME = ("train", "--resume", "--out", "run", "--steps", "4")
LARGE = ("upscale", "--device", "cpu", "--steps", "2", "--precision", "fp32")
NEW_LARGE = (*LARGE, "--in", "there.png", "--out", "large.png")
NEW_PICTURE = (*SAMPLE, "--from", "run", "--out", "new.png")


# ---- train


def test_train_makes_exactly_these_files(trained):
    made = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    [curves] = [name for name in made if name.startswith("tensorboard/")]
    assert curves.startswith("tensorboard/events.out.tfevents.")
    assert made - {curves} == {
        ".lock",
        "config.json",
        "metrics.csv",
        "model.safetensors",
        "training_state.safetensors",
        "samples/step_000002.png",
    }
    assert Image.open(trained / "samples/step_000002.png").size == (4 * 8 * 16, 4 * 8 * 16)


def test_the_config_says_how_the_run_was_made(trained):
    config = json.loads((trained / "config.json").read_text())
    assert config["prediction"] == "v"
    assert config["network"]["image_size"] == 8
    assert config["run"]["data"] == "synthetic"
    assert config["run"]["batch_size"] == 2
    assert config["run"]["seed"] == 0


def test_tensorboard_is_told_every_metric(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(trained / "tensorboard")).Reload()
    header, line = (trained / "metrics.csv").read_text().splitlines()
    for name, value in list(zip(header.split(","), line.split(","), strict=True))[1:]:
        [event] = curves.Scalars(name)
        assert event.step == 2
        assert event.value == pytest.approx(float(value), rel=1e-5)


def test_train_says_how_to_draw(here, capsys):
    assert command(*NEW_RUN) == 0
    said = capsys.readouterr()
    assert " 2/2 [" in said.err.split("\r")[-1]
    start, end = said.out.splitlines()
    assert start.startswith("30 pictures, 8 pixels a side; 0.1 M parameters on cpu; 2 steps of 2, ")
    assert start.endswith("0.133 passes over the pictures")
    assert end.startswith("Step 2 after 0 min ")
    assert end.endswith("Draw with: ddpm-course sample --from new --out flowers.png")


def test_commands_are_named_as_this_user_calls_them(monkeypatch):
    assert invocation.command("train") == "ddpm-course train"
    monkeypatch.setenv("UV", "/usr/bin/uv")  # as `uv run` does
    pasted = invocation.command("train", "--out", Path("my runs"))
    assert pasted == 'uv run ddpm-course train --out "my runs"'


def test_resume_needs_only_the_folder_and_the_steps(here):
    assert command(*RESUME) == 0
    assert command(*TRAIN, "--steps", "4", "--out", "straight") == 0
    for name in ("model.safetensors", "training_state.safetensors"):
        assert (here / "run" / name).read_bytes() == (here / "straight" / name).read_bytes()
    assert json.loads((here / "run/config.json").read_text())["run"]["steps"] == 4
    assert (here / "run/samples/step_000004.png").is_file()


def test_a_conditional_run_knows_its_labels_and_draws_one(here):
    assert command(*NEW_RUN, "--conditional") == 0
    assert load_pretrained(here / "new").net.null_class == 8
    options = ("--label", "3", "--guidance", "2", "--number", "1")
    assert command(*SAMPLE, "--from", "new", "--out", "new.png", *options) == 0


def test_sample_grids_are_drawn_every_sample_every_steps(here):
    options = ("--steps", "5", "--sample-every", "2", "--log-every", "1", "--checkpoint-every", "4")
    assert command(*NEW_RUN, *options) == 0
    names = sorted(path.name for path in (here / "new/samples").iterdir())
    assert names == ["step_000002.png", "step_000004.png", "step_000005.png"]


def test_best_weights_on_held_out_pictures_are_kept_not_the_last(here, monkeypatch):
    errors = iter([0.5, 0.2, 0.3, 0.1, 0.4])
    monkeypatch.setattr(
        "ddpm_course.training.monitoring.x0_error", lambda *a: torch.tensor([next(errors)] * 16)
    )
    options = (
        *TRAIN,
        "--out",
        "new",
        "--held-out-every",
        "2",
        "--timesteps",
        "100",
        "--log-every",
        "1",
    )

    def kept():
        curve = [line.split(",") for line in (here / "new/held_out.csv").read_text().split()]
        return curve, json.loads((here / "new/best/config.json").read_text())["run"]

    assert command(*options, "--steps", "6", "--checkpoint-every", "4") == 0
    curve, run = kept()
    assert curve == [["step", "x0_error"], ["2", "0.5"], ["4", "0.2"], ["6", "0.3"]]
    assert run["best_step"] == 4
    assert run["x0_error"] == pytest.approx(0.2)
    best, last = (load_pretrained(here / name).net.state_dict() for name in ("new/best", "new"))
    assert not torch.equal(best["conv_in.weight"], last["conv_in.weight"])
    assert command("train", "--resume", "--out", "new", "--steps", "10") == 0
    curve, run = kept()
    assert curve[4:] == [["8", "0.1"], ["10", "0.4"]]
    assert run["best_step"] == 8


def test_an_interrupt_while_the_best_weights_are_saved_loses_neither_them_nor_their_line(
    here, monkeypatch
):
    def interrupted_save(*args):
        signal.raise_signal(signal.SIGINT)
        save_pretrained(*args)

    monkeypatch.setattr("ddpm_course.training.monitoring.save_pretrained", interrupted_save)
    options = ("--held-out-every", "2", "--timesteps", "100", "--log-every", "1", "--steps", "6")
    assert command(*NEW_RUN, *options) == 130
    [_, line] = (here / "new/held_out.csv").read_text().splitlines()
    assert line.startswith("2,")
    assert json.loads((here / "new/best/config.json").read_text())["run"]["best_step"] == 2
    assert steps_done(here / "new") == 2


def test_time_is_up_before_the_steps_are_done(here, capsys, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    often = ("--steps", "1000", "--log-every", "1", "--minutes", "0.5", "--sample-every", "1000")
    assert command(*NEW_RUN, *often) == 0
    done = steps_done("new")
    assert 0 < done < 30
    assert (here / f"new/samples/step_{done:06}.png").is_file()
    out = capsys.readouterr().out
    assert "Time is up. Go on with: ddpm-course train --resume --out new\n" in out
    assert f"Step {done} after 0 min " in out
    assert command("train", "--resume", "--out", "new", "--steps", done + 2) == 0
    assert steps_done("new") == done + 2
    assert "Time is up" not in capsys.readouterr().out


def paint_folder(name, number):
    (folder := Path(name)).mkdir(exist_ok=True)
    for k in range(number):
        Image.new("RGB", (9, 9), (10 * k, 0, 0)).save(folder / f"{k:02}.png")


def test_a_folder_says_what_was_left_out_and_measures_on_a_tenth(here, capsys):
    paint_folder("mine", 20)
    for name in ("mine/a.HEIC", "mine/b.heic", "mine/notes.txt", "mine/.hidden"):
        (here / name).write_text("no picture")
    own = ("--data", "folder", "--data-root", "mine", "--held-out-every", "1")
    assert command(*NEW_RUN, *own, "--timesteps", "100") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("18 pictures, ")
    assert second == "Not read: 2 .heic, 1 .txt"
    assert (here / "new/best/model.safetensors").is_file()
    assert command(*TRAIN, *own[:3], "mine", "--data", "folder-all", "--out", "all") == 0
    assert capsys.readouterr().out.startswith("20 pictures, ")


def test_going_on_with_other_pictures_is_told_and_never_measured(here, capsys):
    paint_folder("mine", 10)
    own = ("--data", "folder", "--data-root", "mine", "--timesteps", "100")
    assert command(*NEW_RUN, *own, "--held-out-every", "1") == 0
    resume = ("train", "--resume", "--out", "new", "--steps")
    shutil.move("mine", "moved")
    assert command(*resume, "4", "--data-root", "moved") == 0
    assert "not the pictures that the run began with" not in capsys.readouterr().err
    paint_folder("moved", 11)
    assert_one_sentence(command(*resume, "6"), "held out now may be among them", capsys)
    assert command(*resume, "6", "--held-out-every", "0") == 0
    assert "not the pictures that the run began with" in capsys.readouterr().err
    told = command(*resume, "8", "--held-out-every", "1")  # nor any later time
    assert_one_sentence(told, "held out now may be among them", capsys)


def test_sampling_in_small_parts_draws_the_same(here):
    for name, size in (("whole.png", "4"), ("split.png", "1")):
        options = ("--number", "4", "--batch-size", size, "--precision", "fp32", "--out", name)
        assert command(*SAMPLE, "--from", "run", *options) == 0
    whole, split = (
        Image.open(name).convert("RGB").tobytes() for name in ("whole.png", "split.png")
    )
    assert max(abs(a - b) for a, b in zip(whole, split, strict=True)) <= 1


def test_wandb_keeps_its_files_in_the_run(here):
    pytest.importorskip("wandb")
    assert command(*NEW_RUN, "--track", "wandb") == 0
    [run] = (here / "new" / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    assert not (here / "wandb").exists()


# ---- sample


@pytest.mark.parametrize(
    ("number", "size"), [(1, (128, 128)), (3, (256, 256)), (16, (512, 512)), (5, (384, 256))]
)
def test_sample_writes_a_grid_of_enlarged_images(here, number, size):
    assert command(*SAMPLE, "--from", "run", "--out", "a/b.png", "--number", number) == 0
    with Image.open("a/b.png") as picture:
        assert picture.size == size
        assert picture.format == "PNG"


def first_image(path):
    with Image.open(path) as picture:
        return torch.tensor(list(picture.crop((0, 0, 128, 128)).tobytes()))


def test_an_image_depends_on_the_seed_not_on_how_many_are_drawn(here):
    for name, options in {
        "one": ("--number", "1"),
        "four": ("--number", "4"),
        "other": ("--number", "1", "--seed", "1"),
    }.items():
        options = (*options, "--sampler", "ddpm", "--steps", "10")
        assert command(*SAMPLE, "--from", "labelled", "--out", f"{name}.png", *options) == 0
    one, four, other = (first_image(f"{name}.png").int() for name in ("one", "four", "other"))
    assert (one - four).abs().max() <= 1
    assert (one - other).abs().max() > 50


def test_overwrite_replaces_a_picture(here):
    assert command(*SAMPLE, "--from", "run", "--out", "there.png", "--overwrite") == 0
    assert Image.open("there.png").size == (512, 512)


def test_images_can_be_written_one_by_one_pixel_for_pixel(here, capsys):
    options = ("--from", "run", "--number", "3", "--precision", "fp32")
    assert command(*SAMPLE, *options, "--out", "each", "--separate") == 0
    assert command(*SAMPLE, *options, "--out", "sheet.png") == 0
    names = sorted(path.name for path in Path("each").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]
    tiles = [bytes_of(Image.open(Path("each") / name)) for name in names]
    assert tiles[0].shape == (3, 8, 8)
    sheet = bytes_of(Image.open("sheet.png"))[:, ::16, ::16]
    assert torch.equal(torch.cat(tiles[:2], dim=2), sheet[:, :8])


def test_sample_draws_from_the_shipped_checkpoint_unless_told_otherwise(here, monkeypatch):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", here / "shipped")
    save_pretrained(f"shipped/{COURSE}", weights_of())
    save_pretrained("shipped/another", weights_of())
    assert command(*SAMPLE, "--out", "new.png", "--number", "1") == 0
    assert command(*SAMPLE, "--from", COURSE, "--out", "same.png", "--number", "1") == 0
    assert (here / "new.png").read_bytes() == (here / "same.png").read_bytes()


# ---- upscale


def test_a_super_resolver_is_trained_resumed_and_used(here, capsys):
    options = ("--preset", "upscaler", "--held-out-every", "2", "--timesteps", "200")
    assert command(*NEW_RUN, *options) == 0
    assert capsys.readouterr().out.endswith(
        "Enlarge with: ddpm-course upscale --from new --in flower.png --out large.png\n"
    )
    with Image.open("new/samples/step_000002.png") as grid:
        assert grid.size == (128, 128)  # of the one picture that is held out
    error = float((here / "new/held_out.csv").read_text().split(",")[-1])
    assert 0 < error < 2
    assert load_pretrained("new/best").net.config["has_level"]

    assert command("train", "--resume", "--out", "new", "--steps", "4") == 0
    assert command(*TRAIN, *options, "--steps", "4", "--out", "straight") == 0
    for name in ("model.safetensors", "training_state.safetensors"):
        assert (here / "new" / name).read_bytes() == (here / "straight" / name).read_bytes()

    assert command(*NEW_LARGE, "--from", "new") == 0
    assert capsys.readouterr().out.endswith("9×9 → 36×36 in large.png\n")


def test_upscale_writes_a_picture_four_times_as_large(here):
    Image.new("RGBA", (12, 7), (200, 30, 60, 255)).save("pink.png")
    assert command(*NEW_LARGE, "--in", "pink.png", "--from", "enlarger", "--steps", "3") == 0
    with Image.open("large.png") as large:
        assert (large.size, large.format, large.mode) == ((48, 28), "PNG", "RGB")
        colour = torch.tensor(list(large.tobytes())).view(28, 48, 3).float().mean((0, 1))
    assert (colour - torch.tensor([200.0, 30, 60])).abs().max() < 12  # it agrees with the small one
    for name, more in {"same": (), "seed": ("--seed", "1"), "level": ("--level", "30")}.items():
        args = (*NEW_LARGE, "--in", "pink.png", "--from", "enlarger", "--steps", "3", *more)
        assert command(*args, "--out", f"{name}.png") == 0
    large, same, *others = (
        (here / f"{n}.png").read_bytes() for n in ("large", "same", "seed", "level")
    )
    assert large == same
    assert large not in others


def test_sample_can_enlarge_what_it_draws(here, monkeypatch):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", here / "shipped")
    save_pretrained(f"shipped/{UPSCALER}", weights_of(**ENLARGES))
    options = ("--number", "4", "--precision", "fp32", "--upscale", "--seed", "5")
    assert command(*NEW_PICTURE, *options) == 0
    drawn, upscaler = load_pretrained("run"), load_pretrained(UPSCALER)
    small = to_uint8(sample(drawn, (4, 3, 8, 8), drawn.schedule, steps=2, seed=5))
    grid = image_grid(upscale(upscaler, small, level=DRAWN, seed=5))
    with Image.open("new.png") as made:
        assert made.size == grid.size == (256, 256)
        assert max(abs(a - b) for a, b in zip(made.tobytes(), grid.tobytes(), strict=True)) <= 2


# ---- help


def test_help_lists_the_commands_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ddpm_course", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert all(
        f" {name} " in done.stdout
        for name in ("train", "sample", "upscale", "evaluate", "export", "download")
    )
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


# ---- bad input: one sentence each


BAD_TRAINING = {
    "--data flowers102": "could not be downloaded .*--data starter`",
    "--data folder --data-root nowhere": "nowhere is not a folder of images",
    "--data folder --data-root empty": "empty holds no images",
    "--data folder --data-root pictures": "pictures/broken.jpg cannot be read .* replace or remove",
    "--data folder --data-root run/samples --conditional": "no labels",
    "--data cats": "Unknown data set 'cats': choose one of flowers102, flowers102-all, folder, "
    "folder-all, starter, synthetic",
    "--preset huge": "Unknown preset 'huge': choose one of tiny, light, small, base, large",
    "--preset upscaler --conditional": "--conditional belongs to networks that draw",
    "--preset upscaler --data starter": "Super-resolution learns from flowers102, folder, synth",
    "--preset upscaler --timesteps 200 --data folder --data-root flowers": "flowers holds no images",
    "--preset upscaler --timesteps 200 --data folder --data-root pictures": "broken.jpg .* replace",
    "--preset upscaler --timesteps 200 --image-size 228": "Crops of 228 pixels cannot be cut: ",
    "--preset upscaler --timesteps 100": "an upscaler's schedule has at least 200 steps, not 100",
    "--schedule cubic": "Unknown schedule 'cubic': choose one of .*linear",
    "--prediction score": "Unknown prediction 'score': choose one of eps, x0, v",
    "--track paper": "Unknown tracker 'paper': choose one of tensorboard, wandb",
    "--device tpu": "no device 'tpu' here",
    "--device cpu:first": "no device 'cpu:first' here",
    "--precision fp8": "precision is auto, fp32 or bf16, not 'fp8'",
    "--steps 0": "steps must be 1 or more, not 0",
    "--batch-size 0": "batch_size must be 1 or more, not 0",
    "--timesteps 0": "T must be 1 or more",
    "--sample-every 0": "sample_every must be 1 or more, not 0",
    "--held-out-every -1": "held_out_every must be 0 or more, not -1",
    "--held-out-every 1 --timesteps 100 --data folder-all --data-root run/samples": "holds no images",
    "--held-out-every 1 --timesteps 100 --data folder --data-root run/samples": "fewest, not 1",
    "--minutes 0": "--minutes must be above 0, not 0.0",
    "--minutes nan": "--minutes must be above 0, not nan",
    "--held-out-every 1 --schedule linear": "no time near log-SNR -8",
    "--accumulate 0": "accumulate must be 1 or more, not 0",
    "--accumulate 3": "A batch of 2 cannot be split into 3 equal parts",
    "--image-size 30": "image_size must be a multiple of 4, .* 30 is not",
    "--image-size 0": "image_size must be a multiple of 4, .* 0 is not",
    "--schedule linear --beta-end 1.5": "between 0 and 1",
    "--schedule linear --beta-start -0.1": "between 0 and 1",
    "--beta-end 0.5": "belong to --schedule linear",
    "--dropout 2": "between 0 and 1",
    "--ema-decay 1": "ema_decay lies between 0 and 1",
    "--seed -1": "seed must be 0 or more",
    "--decay-steps 2": "100 warm-up steps and 2 decay steps do not fit into 2 steps",
    "--out run": "run already holds a run: .*--resume",
    "--out labelled": "labelled already holds a run",
    "--out file": "--out file is a file: name a folder",
    "--out file/run": "Not a directory: file/run",
}
BAD_RESUMING = {
    "--out empty": "empty holds no run to resume, for lack of a config.json",
    "--out labelled": "labelled holds no run to resume, for lack of a training_state.safetensors",
    "--out run --seed 5": "was started with --seed 0: leave the option out",
    "--out run --steps 2": "has 2 steps already",
    "--out cut --steps 4": "cut/training_state.safetensors is damaged or cut short",
    "--out foreign --steps 4": "foreign/training_state.safetensors holds no training state",
    "--out garbled --steps 4": "garbled/config.json is not valid JSON",
}
BAD_SAMPLING = {
    "--from nothing": "nothing is neither a folder with config.json",
    "--from pictures": "pictures is neither a folder with config.json",
    "--from short": "short/model.safetensors is damaged or cut short",
    "--from mixed": "mixed/config.json does not describe the weights beside it",
    "--from garbled": "garbled/config.json is not valid JSON",
    "--out there.png": "there.png exists: .*--overwrite",
    "--out flowers/": "--out names a PNG file.*not flowers",
    "--out folder.png": "--out names a PNG file",
    "--out folder.png --overwrite": "--out names a PNG file",
    "--out new.jpg": "--out names a PNG file.*not new.jpg",
    "--out file/new.png": "file",
    "--sampler euler": "Unknown sampler 'euler': choose one of ddpm, ddim, dpm_solver_pp_2m",
    "--spacing log": "nknown spacing 'log'.*trailing",
    "--device tpu": "no device 'tpu' here",
    "--number 0": "--number must be 1 or more, not 0",
    "--batch-size 0": "--batch-size must be 1 or more, not 0",
    "--precision fp8": "precision is auto, fp32 or bf16, not 'fp8'",
    "--separate --out run": "run exists: name another folder, or remove it",
    "--separate --out there.png": "there.png exists: name another folder, or remove it",
    "--separate --out there.png/new": "there.png is a file: name another folder for --out",
    "--separate --out new --overwrite": "nothing to --overwrite",
    "--steps 0": "steps.*0",
    "--steps 51": "51",
    "--sampler ddpm --eta 0.5": "--eta belongs to the sampler ddim",
    "--eta 2": "eta runs from 0",
    "--seed -1": "seed must be 0 or more",
    "--from enlarger": "enlarger enlarges pictures and draws none",
    "--upscale": "neither a folder .* nor a checkpoint shipped",
    "--label 1": "--label 1 is not a label of this network: this network knows none",
    "--from labelled --label 4": "they run from 0 to 3",
    "--from labelled --guidance 3": "name one with --label",
}
BAD_ENLARGING = {
    "--from labelled": "use an upscaler",
    "--from nothing": "nothing is neither a folder with config.json",
    "--in missing.png": "missing.png cannot be read .*: name a picture with --in",
    "--in file": "file cannot be read",
    "--in folder.png": "folder.png cannot be read",
    "--in wide.png": "129 × 8 pixels would become 516 × 32, .* GB of memory: at most 128 × 128",
    "--in deep.png": "its pixels are of kind I;16; save it with 8 bits per channel",
    "--out there.png": "there.png exists: .*--overwrite",
    "--out new.jpg": "--out names a PNG file.*not new.jpg",
    "--level 51": "The level runs from 0 to 50, not 51",
    "--level -1": "The level runs from 0 to 50, not -1",
    "--steps 0": "steps.*0",
    "--sampler euler": "Unknown sampler 'euler'",
    "--seed -1": "seed must be 0 or more",
    "--device tpu": "no device 'tpu' here",
}
BAD = {
    "download": (("download",), "could not be downloaded .*--data starter`"),
    "sample --from roses": (
        (*SAMPLE, "--from", "roses", "--out", "new.png"),
        "roses is neither a folder .* nor a checkpoint shipped with the package",
    ),
    **{f"train {k}": ((*NEW_RUN, *k.split()), v) for k, v in BAD_TRAINING.items()},
    **{f"train --resume {k}": ((*RESUME, *k.split()), v) for k, v in BAD_RESUMING.items()},
    **{
        f"upscale {k}": ((*NEW_LARGE, "--from", "enlarger", *k.split()), v)
        for k, v in BAD_ENLARGING.items()
    },
    **{f"sample {k}": ((*NEW_PICTURE, *k.split()), v) for k, v in BAD_SAMPLING.items()},
}


def assert_one_sentence(sentence, phrase, capsys):
    assert isinstance(sentence, str), "it ended well"
    assert sentence.startswith("ddpm-course: ")
    assert "\n" not in sentence.strip()
    assert len(sentence) < 300
    assert re.search(phrase, sentence), sentence
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    assert [line for line in output.err.splitlines() if line and "step" not in line] == []


@pytest.mark.parametrize(("args", "phrase"), BAD.values(), ids=BAD)
def test_bad_input_ends_in_one_sentence(here, monkeypatch, capsys, args, phrase):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", here / "empty")
    before = contents(here)
    assert_one_sentence(command(*args), phrase, capsys)
    after = contents(here)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if name.endswith((".tmp", ".png")) and name not in before]


def test_what_is_known_to_be_wrong_at_once_leaves_no_folder(here):
    assert "Unknown tracker" in command(*NEW_RUN, "--track", "paper")
    assert not (here / "new").exists()


def test_a_run_that_another_process_trains_is_left_alone(here, capsys):
    holds = "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); "
    holds += "lock.acquire(); print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen(
        [sys.executable, "-c", holds, str(here / "run/.lock")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        before = contents(here)
        assert_one_sentence(command(*RESUME), "Another process is training in run", capsys)
        assert contents(here) == before
    finally:
        other.kill()
        other.wait()
    assert command(*RESUME) == 0  # the lock went with the process


def test_drawing_more_than_fits_says_what_to_do(here, monkeypatch, capsys):
    forward = UNet.forward

    def cramped(net, x, *args, **cond):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(net, x, *args, **cond)

    monkeypatch.setattr(UNet, "forward", cramped)
    sentence = command(*NEW_PICTURE, "--number", "9", "--batch-size", "6")
    assert_one_sentence(sentence, "Out of memory: choose a smaller --batch-size", capsys)
    assert command(*NEW_PICTURE, "--number", "9", "--batch-size", "3") == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (
            (*NEW_LARGE, "--from", "enlarger"),
            "Out of memory: choose a smaller picture, or --device",
        ),
        ((*NEW_PICTURE, "--upscale"), "Out of memory: leave --upscale out, or add --device cpu"),
    ],
)
def test_enlarging_more_than_fits_says_what_to_do(here, monkeypatch, capsys, args, told):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", here / "shipped")
    save_pretrained(f"shipped/{UPSCALER}", weights_of(**ENLARGES))
    forward = UNet.forward

    def cramped(net, x, *rest, **cond):
        if "low_res" in cond:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(net, x, *rest, **cond)

    monkeypatch.setattr(UNet, "forward", cramped)
    assert_one_sentence(command(*args), told, capsys)


def test_what_would_become_too_large_is_refused_before_it_is_drawn(here, capsys):
    net = UNet(channels=(8,), attention_levels=(), blocks=1, image_size=256, head_dim=8)
    save_pretrained("wide", Denoiser(randomise(net), cosine_schedule(50), "v"))
    sentence = command(*NEW_PICTURE, "--from", "wide", "--upscale")
    assert_one_sentence(sentence, "256 × 256 pixels would become 1024 × 1024", capsys)


def test_a_picture_is_not_computed_for_a_folder_that_may_not_be_written_to(here, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (here, os.W_OK))
    for args in (NEW_PICTURE, (*NEW_LARGE, "--from", "enlarger", "--out", "new/large.png")):
        told = f"ddpm-course: {here} may not be written to: name another folder for --out."
        assert command(*args) == told


def test_half_a_download_is_named_with_a_way_out(here, real_flowers, capsys):
    half = here / "data" / "flowers-102"
    (half / "jpg").mkdir(parents=True)
    for name in ("imagelabels.mat", "setid.mat", "jpg/image_00001.jpg"):
        shutil.copy(real_flowers / "flowers-102" / name, half / name)
    sentence = command(*NEW_RUN, "--data", "flowers102")
    assert_one_sentence(sentence, "cannot be read.*remove data/flowers-102 and run `ddpm-", capsys)


@pytest.mark.parametrize("file", ["model.safetensors", "training_state.safetensors"])
def test_a_full_disk_while_saving_keeps_the_checkpoint(here, full_disk, capsys, file):
    before = contents(here / "run")
    with full_disk(len(before[file]) - 1):
        sentence = command(*RESUME)
    assert_one_sentence(sentence, rf"File too large: run/{file}\.$", capsys)
    after = contents(here / "run")
    assert after["training_state.safetensors"] == before["training_state.safetensors"]
    assert not [name for name in after if "tmp" in name]
    assert load_pretrained(here / "run").image_shape == (3, 8, 8)
    assert command(*RESUME) == 0


def test_a_folder_that_may_not_be_written_to_ends_in_one_sentence(here, monkeypatch, capsys):
    """os.open is what a lock, the first thing that a run writes, asks for; root may write all."""
    opened = os.open

    def refuse(path, flags, *args, **options):
        if "run" in str(path) and flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *args, **options)

    before = contents(here)
    monkeypatch.setattr(os, "open", refuse)
    assert_one_sentence(command(*RESUME), r"Permission denied: run/\.lock\.$", capsys)
    monkeypatch.undo()
    assert contents(here) == before


def test_a_full_disk_from_the_start_ends_in_one_sentence(here, full_disk, capsys):
    before = contents(here)
    for options in (RESUME, NEW_RUN):
        with full_disk(0):
            assert_one_sentence(command(*options), "File too large while writing", capsys)
    after = contents(here)
    assert {name: after[name] for name in before} == before


def test_a_full_disk_while_drawing_keeps_the_old_picture(here, full_disk, capsys):
    before = contents(here)
    with full_disk(200):
        sentence = command(*SAMPLE, "--from", "run", "--out", "there.png", "--overwrite")
    assert sentence == "ddpm-course: File too large: there.png."
    assert contents(here) == before


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "training_state.safetensors"])
def test_an_interrupt_in_the_middle_of_a_save_can_be_gone_on_from(
    here, monkeypatch, capsys, file, name
):
    replace = os.replace

    def interrupted_replace(source, target):
        if target.name == file:
            signal.raise_signal(name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted_replace)
    assert command(*RESUME, "--steps", "9", "--checkpoint-every", "1") == 130
    monkeypatch.setattr(os, "replace", replace)
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == "Interrupted. Go on with: ddpm-course train --resume --out run"
    assert "Traceback" not in error
    assert steps_done(here / "run") == 3
    assert not [name for name in contents(here) if "tmp" in name]
    assert command(*RESUME) == 0
    assert steps_done(here / "run") == 4
