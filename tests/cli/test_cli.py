"""`ddpm-course`, called in this process: what its commands write, and how they refuse."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
import torch
from command_line import (
    SAMPLE,
    TRAIN,
    UPSCALES,
    command,
    here,
    small_and_offline,
    trained,
    weights_of,
)
from helpers import ROOT, contents
from PIL import Image

import ddpm_course as dc
from ddpm_course import Denoiser, UNet, load_pretrained, save_pretrained
from ddpm_course.cli import options
from ddpm_course.cli.evaluate import FeaturesName
from ddpm_course.cli.upscale import Upscale
from ddpm_course.data.grids import image_grid
from ddpm_course.data.image_files import bytes_of
from ddpm_course.diffusion import PREDICTIONS
from ddpm_course.evaluation.features import EXTRACTORS
from ddpm_course.pretrained.weights import COURSE, UPSCALER
from ddpm_course.rng import LABELS
from ddpm_course.super_resolution.model import DRAWN, LEVELS, STEPS
from ddpm_course.training import settings
from ddpm_course.training.run_folder import steps_done
from ddpm_course.training.tracking import TRACKERS

__all__ = ["here", "small_and_offline", "trained"]  # fixtures

# Where an option is given twice, the last one counts.
NEW_RUN = (*TRAIN, "--out", "new")
RESUME = ("train", "--resume", "--out", "run", "--steps", "4")
FINE_TUNE = (*("train", "--data", "starter", "--batch-size", "2", "--steps", "1"),
             *("--device", "cpu", "--precision", "fp32", "--out", "new"))  # fmt: skip
LARGE = ("upscale", "--device", "cpu", "--steps", "2", "--precision", "fp32")
NEW_LARGE = (*LARGE, "--in", "there.png", "--out", "large.png")
NEW_IMAGE = (*SAMPLE, "--from", "run", "--out", "new.png")


@pytest.fixture
def shipped_here(here, monkeypatch):
    monkeypatch.setattr("ddpm_course.pretrained.weights.CHECKPOINTS", here / "shipped")
    save_pretrained(f"shipped/{COURSE}", weights_of())
    save_pretrained(f"shipped/{UPSCALER}", weights_of(**UPSCALES))


# ---- help, names and usage errors


def test_help_version_and_usage_errors_do_not_wait_for_pytorch(tmp_path):
    calls = ["--help", "--version", *(f"{name} --help" for name in COMMANDS), *USAGE]
    program = f"""
import sys
from ddpm_course.cli.main import main
for call in {calls}:
    sys.argv = ["ddpm-course", *call.split()]
    try:
        main()
    except SystemExit:
        pass
    assert not {{"torch", "torchvision", "matplotlib"}} & set(sys.modules), call
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


COMMANDS = (
    *("notebooks", "sample", "upscale", "train", "evaluate", "species", "export", "grade"),
    "download",
)
USAGE = {
    "": "Missing subcommand",
    "paint": "paint",
    "notebooks": "New folder for the copies",
    "train": "--out",
    "train --out new --stepz 4": "--stepz",
    "train --out new --steps four": "four",
    "train --out new --data cats": "'cats'.*flowers102.*starter",
    "sample --out new.png --sampler euler": "'euler'.*ddim",
}


@pytest.mark.parametrize("call", USAGE)
def test_a_usage_error_names_what_is_wrong(call, capsys):
    assert command(*call.split()) == 2
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().err)
    assert re.search(USAGE[call], text), text


def test_help_lists_commands_choices_and_defaults_in_plain_text(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert command("--help") == 0
    listed = capsys.readouterr().out
    assert all(f"• {name} " in listed for name in COMMANDS)
    assert command("train", "--help") == 0
    printed = capsys.readouterr().out
    assert not set("│─╭╰") & set(listed + printed)  # boxes are for terminals
    text = re.sub(r"\s+", " ", printed)
    assert "{tiny,light,small,base,large,upscaler}" in text
    assert "--ema-decay FLOAT Share of the averaged weights" in text
    assert command("--version") == 0
    assert re.fullmatch(r"ddpm-course \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_console_of_few_letters_costs_no_result(here):
    call = (*LARGE, "--from", "upscaler", "--in", "there.png", "--out", "large.png")
    done = subprocess.run(
        [sys.executable, "-m", "ddpm_course", *call],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1251"},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")  # nor is there a progress bar in a file
    assert done.stdout.decode("cp1251").splitlines() == ["9?9 ? 36?36 in large.png"]
    assert Path("large.png").is_file()


def test_the_notebooks_are_copied_and_never_overwritten(here, capsys):
    originals = {path.name: path.read_bytes() for path in ROOT.glob("notebooks/*.ipynb")}
    assert command("notebooks", "my copies") == 0
    opens = "Open the course with: jupyter lab 'my copies/00_start_here.ipynb'\n"
    assert capsys.readouterr().out == opens
    assert contents(here / "my copies") == originals
    (here / "my copies/00_start_here.ipynb").write_text("my answers")
    assert_one_sentence(command("notebooks", "my copies"), "my copies exists", capsys)
    assert (here / "my copies/00_start_here.ipynb").read_text() == "my answers"


@pytest.mark.parametrize(
    ("choices", "known"),
    [
        (options.SamplerName, dc.SAMPLERS),
        (options.SpacingName, dc.SPACINGS),
        (settings.DataName, dc.DATASETS),
        (settings.ScheduleName, dc.SCHEDULES),
        (settings.PresetName, dc.PRESETS),
        (settings.Prediction, PREDICTIONS),
        (settings.TrackerName, TRACKERS),
    ],
)
def test_choices_are_those_of_the_package(choices, known):
    assert get_args(choices) == tuple(known)


def test_other_names_and_defaults_are_those_of_the_package():
    assert (options.COURSE, options.UPSCALER) == (COURSE, UPSCALER)
    assert set(get_args(FeaturesName)) - {"classifier"} <= set(EXTRACTORS)
    assert Upscale(Path(), Path()).steps == STEPS
    assert f"up to {LEVELS} " in Path(sys.modules[Upscale.__module__].__file__).read_text()


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


def test_the_config_records_every_setting(trained):
    config = json.loads((trained / "config.json").read_text())
    assert config["network"]["image_size"] == 8
    run = settings.RunSettings.from_record(config["run"], trained)
    assert run.data == settings.DataSettings("synthetic", image_size=8)
    assert run.network == settings.NetworkSettings(timesteps=50)
    assert (run.training.batch_size, run.training.learning_rate) == (2, 2e-4)
    assert run.record() | {"pictures_sha256": config["run"]["pictures_sha256"]} == config["run"]


def test_the_preset_sets_the_defaults(here):
    assert command("train", "--data", "synthetic", "--device", "cpu", "--preset", "tiny",
                   "--steps", "1", "--out", "new") == 0  # fmt: skip
    run = json.loads((here / "new/config.json").read_text())["run"]
    assert (run["image_size"], run["batch_size"]) == (32, 4)


def test_tensorboard_receives_every_metric(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(trained / "tensorboard")).Reload()
    header, line = (trained / "metrics.csv").read_text().splitlines()
    for name, value in list(zip(header.split(","), line.split(","), strict=True))[1:]:
        [event] = curves.Scalars(name)
        assert event.step == 2
        assert event.value == pytest.approx(float(value), rel=1e-5)


def test_train_reports_its_size_and_the_next_command(here, capsys):
    assert command(*TRAIN, "--out", "new run") == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress bar where it would fill a file
    start, end = printed.out.splitlines()
    assert start == ("30 images of 8×8 pixels; 0.1 M parameters on cpu; 2 steps of 2, 0.133 epochs")
    assert end.startswith("Step 2 after 0 min ")
    assert end.endswith("Sample with: ddpm-course sample --from 'new run' --out flowers.png")


def test_resume_needs_only_the_folder_and_the_steps(here):
    assert command(*RESUME) == 0
    assert command(*TRAIN, "--steps", "4", "--out", "straight") == 0
    for name in ("model.safetensors", "training_state.safetensors"):
        assert (here / "run" / name).read_bytes() == (here / "straight" / name).read_bytes()
    assert json.loads((here / "run/config.json").read_text())["run"]["steps"] == 4
    assert (here / "run/samples/step_000004.png").is_file()


def test_a_conditional_run_learns_labels_and_samples_one(here):
    assert command(*NEW_RUN, "--conditional") == 0
    assert load_pretrained(here / "new").net.null_class == 8
    more = ("--label", "3", "--guidance", "2", "--number", "1")
    assert command(*SAMPLE, "--from", "new", "--out", "new.png", *more) == 0


def test_sample_grids_are_made_every_sample_every_steps(here):
    every = ("--steps", "5", "--sample-every", "2", "--log-every", "1", "--checkpoint-every", "4")
    assert command(*NEW_RUN, *every) == 0
    names = sorted(path.name for path in (here / "new/samples").iterdir())
    assert names == ["step_000002.png", "step_000004.png", "step_000005.png"]


def best_and_curve(folder):
    lines = (folder / "held_out.csv").read_text().split()
    best = json.loads((folder / "best/config.json").read_text())["run"]
    return best, [tuple(line.split(",")) for line in lines]


HELD_OUT = ("--held-out-every", "2", "--timesteps", "100", "--log-every", "1", "--steps", "6")


def test_best_weights_on_held_out_images_are_kept_not_the_last(here, monkeypatch):
    errors = iter([0.5, 0.2, 0.3, 0.1, 0.4])
    monkeypatch.setattr(
        "ddpm_course.training.monitoring.x0_error", lambda *a: torch.tensor([next(errors)] * 16)
    )
    assert command(*NEW_RUN, *HELD_OUT, "--checkpoint-every", "4") == 0
    best, curve = best_and_curve(here / "new")
    assert curve == [("step", "x0_error"), ("2", "0.5"), ("4", "0.2"), ("6", "0.3")]
    assert (best["best_step"], best["x0_error"]) == (4, pytest.approx(0.2))
    kept, last = (load_pretrained(here / name).net.state_dict() for name in ("new/best", "new"))
    assert not torch.equal(kept["conv_in.weight"], last["conv_in.weight"])
    assert command("train", "--resume", "--out", "new", "--steps", "10") == 0
    best, curve = best_and_curve(here / "new")
    assert curve[4:] == [("8", "0.1"), ("10", "0.4")]
    assert best["best_step"] == 8


def test_an_interrupt_while_the_best_weights_are_saved_loses_neither_them_nor_their_line(
    here, monkeypatch
):
    def interrupted_save(*args):
        signal.raise_signal(signal.SIGINT)
        save_pretrained(*args)

    monkeypatch.setattr("ddpm_course.training.monitoring.save_pretrained", interrupted_save)
    assert command(*NEW_RUN, *HELD_OUT) == 130
    best, curve = best_and_curve(here / "new")
    assert [step for step, _ in curve[1:]] == ["2"]
    assert best["best_step"] == 2
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
    assert "Time is up. Continue with: ddpm-course train --resume --out new\n" in out
    assert f"Step {done} after 0 min " in out
    assert command("train", "--resume", "--out", "new", "--steps", done + 2) == 0
    assert steps_done("new") == done + 2
    assert "Time is up" not in capsys.readouterr().out


def paint_folder(name, number):
    (folder := Path(name)).mkdir(exist_ok=True)
    for k in range(number):
        Image.new("RGB", (9, 9), (10 * k, 0, 0)).save(folder / f"{k:02}.png")


def test_a_folder_names_what_was_not_read_and_holds_out_a_tenth(here, capsys):
    paint_folder("mine", 20)
    for name in ("mine/a.HEIC", "mine/b.heic", "mine/notes.txt", "mine/.hidden"):
        (here / name).write_text("no image")
    own = ("--data", "folder", "--data-root", "mine", "--held-out-every", "1")
    assert command(*NEW_RUN, *own, "--timesteps", "100") == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("18 images ")
    assert second == "Not read: 2 .heic, 1 .txt"
    assert (here / "new/best/model.safetensors").is_file()
    assert command(*TRAIN, *own[:3], "mine", "--data", "folder-all", "--out", "all") == 0
    assert capsys.readouterr().out.startswith("20 images ")


def test_resuming_with_other_images_is_reported_and_never_measured(here, capsys):
    paint_folder("mine", 10)
    own = ("--data", "folder", "--data-root", "mine", "--timesteps", "100")
    assert command(*NEW_RUN, *own, "--held-out-every", "1") == 0
    resume = ("train", "--resume", "--out", "new", "--steps")
    shutil.move("mine", "moved")
    assert command(*resume, "4", "--data-root", "moved") == 0
    assert "not the images that the run began with" not in capsys.readouterr().err
    paint_folder("moved", 11)
    assert_one_sentence(command(*resume, "6"), "held out now may be among them", capsys)
    assert command(*resume, "6", "--held-out-every", "0") == 0
    assert "not the images that the run began with" in capsys.readouterr().err
    refused = command(*resume, "8", "--held-out-every", "1")  # nor any later time
    assert_one_sentence(refused, "held out now may be among them", capsys)


def test_wandb_keeps_its_files_in_the_run(here):
    pytest.importorskip("wandb")
    assert command(*NEW_RUN, "--track", "wandb") == 0
    [run] = (here / "new" / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    assert not (here / "wandb").exists()


# ---- train --init-from


@pytest.fixture
def stopped_before_the_first_step(monkeypatch):
    def stop(*args, **cond):
        raise KeyboardInterrupt

    monkeypatch.setattr(Denoiser, "loss", stop)


def test_fine_tuning_starts_from_the_weights_labels_included(here, stopped_before_the_first_step):
    assert command(*FINE_TUNE, "--init-from", COURSE, "--conditional") == 130
    expected, started = load_pretrained(COURSE), load_pretrained("new")
    assert "class_embedding.weight" in expected.net.state_dict()
    for name, value in expected.net.state_dict().items():
        assert torch.equal(started.net.state_dict()[name], value), name
    assert torch.equal(started.schedule.alphas_cumprod, expected.schedule.alphas_cumprod)
    run = json.loads((here / "new/config.json").read_text())["run"]
    assert (run["init_from"], run["preset"], run["image_size"]) == (COURSE, "tiny", 32)


@pytest.mark.parametrize("more", [(), ("--conditional", "--data", "synthetic")])
def test_other_labels_start_as_the_unconditional_part(
    here, capsys, stopped_before_the_first_step, more
):
    more = (*more, "--image-size", "16", "--dropout", "0.1")
    assert command(*FINE_TUNE, "--init-from", COURSE, *more) == 130
    assert "The labels of the weights are not these" in capsys.readouterr().err
    expected, started = load_pretrained(COURSE), load_pretrained("new")
    assert started.net.config["num_classes"] == (8 if "--conditional" in more else None)
    assert started.net.config["dropout"] == 0.1
    x_t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(started(x_t, 500), expected(x_t, 500), rtol=0, atol=1e-5)


def test_fine_tuning_resumes_without_the_weights(here):
    start = Denoiser(weights_of(num_classes=4).net, dc.linear_schedule(60), "x0")
    save_pretrained("start", start, {"preset": "tiny", "timesteps": 7})
    for out, steps in (("new", "1"), ("straight", "3")):
        more = ("--init-from", "start", "--log-every", "1", "--steps", steps, "--out", out)
        assert command(*FINE_TUNE, *more) == 0
    shutil.rmtree("start")
    assert command("train", "--resume", "--out", "new", "--steps", "3") == 0
    for name in ("model.safetensors", "training_state.safetensors"):
        assert (here / "new" / name).read_bytes() == (here / "straight" / name).read_bytes()
    tuned = load_pretrained("new")
    assert tuned.prediction == "x0"
    assert torch.equal(tuned.schedule.alphas_cumprod, start.schedule.alphas_cumprod)
    refused = command("train", "--resume", "--out", "new", "--init-from", COURSE)
    assert "was started with --init-from start" in refused


@pytest.mark.parametrize(
    ("more", "phrase"),
    [
        (("--prediction", "eps"), "are those of the weights: leave --prediction out"),
        (("--beta-end", "0.5"), "are those of the weights: leave --beta-end out"),
        (("--init-from", "nothing"), "nothing is neither a folder with config.json"),
    ],
)
def test_fine_tuning_cannot_change_the_network_or_its_noise(here, capsys, more, phrase):
    refused = command(*FINE_TUNE, "--init-from", COURSE, *more)
    assert_one_sentence(refused, phrase, capsys)
    assert not (here / "new").exists()


# ---- sample


@pytest.mark.parametrize(("number", "size"), [(1, (128, 128)), (5, (384, 256))])
def test_sample_writes_a_grid_of_enlarged_images(here, number, size):
    assert command(*SAMPLE, "--from", "run", "--out", "a/b.png", "--number", number) == 0
    with Image.open("a/b.png") as image:
        assert image.size == size
        assert image.format == "PNG"


def pixels(path, box=None):
    with Image.open(path) as image:
        return bytes_of(image.crop(box) if box else image.convert("RGB")).int()


USUAL = {"sampler": "dpm_solver_pp_2m", "spacing": "logsnr"}


def test_by_default_each_image_has_a_random_class_and_guidance(here):
    call = ("sample", "--device", "cpu", "--precision", "fp32", "--from", "labelled")
    assert command(*call, "--number", "3", "--seed", "7", "--out", "a.png") == 0
    denoiser = load_pretrained("labelled")
    classes = denoiser.net.config["num_classes"]
    draws = [dc.generator(7, k, LABELS) for k in range(3)]
    y = torch.cat([torch.randint(classes, (1,), generator=draw) for draw in draws])
    guided = dc.guided(denoiser, y, 1.5)
    x = dc.sample(guided, (3, *denoiser.image_shape), denoiser.schedule, steps=15, seed=7, **USUAL)
    assert (pixels("a.png") - bytes_of(image_grid(dc.to_uint8(x))).int()).abs().max() <= 1


def test_an_image_depends_on_the_seed_not_on_how_many_are_made_nor_on_the_batch_size(here):
    for name, more in {
        "one": ("--number", "1"),
        "four": ("--number", "4", "--batch-size", "3"),
        "other": ("--number", "1", "--seed", "1"),
    }.items():
        more = (*more, "--precision", "fp32", "--sampler", "ddpm", "--steps", "10")
        assert command(*SAMPLE, "--from", "labelled", *more, "--out", f"{name}.png") == 0
    one, four, other = (pixels(f"{n}.png", (0, 0, 128, 128)) for n in ("one", "four", "other"))
    assert (one - four).abs().max() <= 1
    assert (one - other).abs().max() > 50


def test_a_species_is_chosen_by_name_as_by_number(here, capsys):
    save_pretrained("species", weights_of(num_classes=102))
    call = (*SAMPLE, "--from", "species", "--number", "1", "--precision", "fp32", "--overwrite")
    made = []
    for label in ("53", "sunflower", " Sun Flower", "54"):
        assert command(*call, "--label", label, "--out", "there.png") == 0
        made.append(Path("there.png").read_bytes())
    assert made[0] == made[1] == made[2] != made[3]
    capsys.readouterr()
    assert command("species") == 0
    assert capsys.readouterr().out.splitlines()[53:55] == [" 53 sunflower", " 54 pelargonium"]
    refused = command(*call, "--label", "sunflour", "--out", "there.png")
    assert "no species called 'sunflour'. Closest are: sunflower." in refused
    assert "`ddpm-course species` lists all" in command(*call, "--label", "?", "--out", "new.png")


def test_a_name_that_is_not_utf8_works_or_is_refused_before_anything_is_made(here, capsys):
    name = os.fsdecode(b"\xff")
    assert command(*SAMPLE, "--from", "run", "--out", f"{name}.png") == 0
    assert Path(f"{name}.png").is_file()
    shutil.copytree("run", f"weights {name}")
    assert command(*NEW_IMAGE, "--from", f"weights {name}") == 0
    for call in ((*TRAIN, "--out", name), ("export", "--from", "run", "--to-diffusers", name)):
        assert_one_sentence(command(*call), r"not in UTF-8.*rename '\\udcff'", capsys)
        assert not Path(name).exists()


def test_images_can_be_written_one_by_one_pixel_for_pixel(here):
    three = ("--from", "run", "--number", "3", "--precision", "fp32")
    assert command(*SAMPLE, *three, "--out", "each", "--separate") == 0
    assert command(*SAMPLE, *three, "--out", "sheet.png") == 0
    names = sorted(path.name for path in Path("each").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]
    tiles = [pixels(Path("each") / name) for name in names]
    assert tiles[0].shape == (3, 8, 8)
    assert torch.equal(torch.cat(tiles[:2], dim=2), pixels("sheet.png")[:, ::16, ::16][:, :8])


# ---- upscale


def test_an_upscaler_is_trained_resumed_and_used(here, capsys):
    more = ("--preset", "upscaler", "--held-out-every", "2", "--timesteps", "200")
    assert command(*NEW_RUN, *more) == 0
    assert capsys.readouterr().out.endswith(
        "Upscale with: ddpm-course upscale --from new --in a.png --out b.png\n"
    )
    with Image.open("new/samples/step_000002.png") as grid:
        assert grid.size == (128, 128)  # of the one image that is held out
    error = float((here / "new/held_out.csv").read_text().split(",")[-1])
    assert 0 < error < 2
    assert load_pretrained("new/best").net.config["has_level"]

    assert command("train", "--resume", "--out", "new", "--steps", "4") == 0
    assert command(*TRAIN, *more, "--steps", "4", "--out", "straight") == 0
    for name in ("model.safetensors", "training_state.safetensors"):
        assert (here / "new" / name).read_bytes() == (here / "straight" / name).read_bytes()

    assert command(*NEW_LARGE, "--from", "new") == 0
    assert capsys.readouterr().out.endswith("9×9 → 36×36 in large.png\n")


def test_upscale_writes_an_image_four_times_as_wide_and_high(here):
    Image.new("RGBA", (12, 7), (200, 30, 60, 255)).save("pink.png")
    pink = (*NEW_LARGE, "--in", "pink.png", "--from", "upscaler", "--steps", "3")
    names = {"large": (), "same": (), "seed": ("--seed", "1"), "level": ("--level", "30")}
    for name, more in names.items():
        assert command(*pink, *more, "--out", f"{name}.png") == 0
    with Image.open("large.png") as large:
        assert (large.size, large.format, large.mode) == ((48, 28), "PNG", "RGB")
    colour = pixels("large.png").float().mean((1, 2))
    assert (colour - torch.tensor([200.0, 30, 60])).abs().max() < 12  # the small image's
    large, same, *others = (Path(f"{name}.png").read_bytes() for name in names)
    assert large == same
    assert large not in others


def test_sample_can_upscale_its_images(shipped_here):
    more = ("--number", "4", "--precision", "fp32", "--upscale", "--seed", "5")
    assert command(*NEW_IMAGE, *more) == 0
    denoiser, upscaler = load_pretrained("run"), load_pretrained(UPSCALER)
    x = dc.sample(denoiser, (4, 3, 8, 8), denoiser.schedule, steps=2, seed=5, **USUAL)
    small = dc.to_uint8(x)
    grid = image_grid(dc.upscale(upscaler, small, level=DRAWN, seed=5))
    assert grid.size == (256, 256)
    assert (pixels("new.png") - bytes_of(grid).int()).abs().max() <= 2


# ---- bad input: one sentence each


BAD_TRAINING = {
    "--data flowers102": "could not be downloaded .*--data starter`",
    "--data folder --data-root nowhere": "nowhere is not a folder of ",
    "--data folder --data-root empty": "empty holds no ",
    "--data folder --data-root images": "images/broken.jpg cannot be read .* replace or remove",
    "--data folder --data-root images --conditional": "no labels",
    "--data folder-all --data-root images --held-out-every 1 --timesteps 100": "no images out",
    "--data folder --data-root run": "The run run lies among the images in run, .* separate",
    "--data folder-all --data-root .": "The run new lies among the images in \\., .* separate",
    "--data folder --data-root empty --out empty/a/b": "run empty/a/b lies among the images in emp",
    "--preset upscaler --timesteps 200 --data folder --data-root ../": "The run new lies among",
    "--preset upscaler --conditional": "--conditional is not for an upscaler",
    "--preset upscaler --data starter": "Super-resolution learns from flowers102, folder, synth",
    "--preset upscaler --timesteps 200 --data folder --data-root images": "broken.jpg .* replace",
    "--preset upscaler --timesteps 100": "an upscaler's schedule has at least 200 steps, not 100",
    "--device tpu": "no device 'tpu' here",
    "--precision fp8": "precision is auto, fp32 or bf16, not 'fp8'",
    "--steps 0": "steps must lie between 1 and 1000000000, not 0",
    "--sample-every 0": "sample_every must lie between 1 and 1000000000, not 0",
    "--held-out-every -1": "held_out_every must lie between 0 and",
    "--held-out-every 1 --timesteps 100 --data folder --data-root run/samples": "fewest, not 1",
    "--held-out-every 1 --schedule linear": "no time near log-SNR -8",
    "--seed 9223372036854775808": "--seed must fit in 64 bits",
    "--batch-size 9999999999": "batch_size must lie between 1 and 1000000000",
    "--timesteps 0": "timesteps must lie between 1 and 1000000, not 0",
    "--timesteps 999999999999": "timesteps must lie between 1 and 1000000",
    "--image-size 0": "image_size must be a multiple of 4",
    "--beta-end 2 --schedule linear": "0 and 1",
    "--dropout nan": "--dropout must be a finite number, not nan",
    "--minutes 0": "--minutes must be above 0, not 0.0",
    "--learning-rate inf": "--learning-rate must be a finite number, not inf",
    "--image-size 30": "image_size must be a multiple of 4, .* 30 is not",
    "--beta-end 0.5": "belong to --schedule linear",
    "--dropout 2": "dropout must lie between 0 and 1, not 2",
    "--out run": "run already holds a run: .*--resume",
    "--out file": "--out file is a file: name a folder",
    "--out file/run": "Not a directory: file/run",
}
BAD_RESUMING = {
    "--out empty": "empty holds no run to resume, for lack of a config.json",
    "--out labelled": "labelled holds no run to resume, for lack of a training_state.safetensors",
    "--out run --seed 5": "run was started with --seed 0: leave the option out",
    "--out run --no-flip": "run was started with --flip: leave the option out",
    "--out run --beta-end 0.5": "run was started with no --beta-end: leave the option out",
    "--out run --steps 2": "has 2 steps already",
    "--out foreign": "foreign/training_state.safetensors holds no training state",
}
BAD_SAMPLING = {
    "--from roses": "roses is neither a folder .* nor a checkpoint shipped with the package",
    "--from images": "images is neither a folder with config.json",
    "--out there.png": "there.png exists: .*--overwrite",
    "--out flowers/": "--out names a PNG file.*not flowers",
    "--out file/new.png": r"file/new.png cannot be written \(Not a directory\)",
    "--device tpu": "no device 'tpu' here",
    "--number 0": "--number must be between 1 and 100000, not 0",
    "--number 999999999999": "--number must be between 1 and 100000, not 999999999999",
    f"--seed {2**63}": "--seed must fit in 64 bits",
    "--separate --out run": "run exists: name another folder, or remove it",
    "--separate --out there.png/new": "Not a directory",
    "--separate --out new --overwrite": "nothing to --overwrite",
    "--steps 51": "51",
    "--sampler ddpm --eta 0.5": "--eta belongs to the sampler ddim",
    "--sampler ddim --eta 2": "eta runs from 0",
    "--seed -1": "seed must be 0 or more",
    "--from upscaler": "upscaler is an upscaler: use it with `upscale`",
    "--upscale": "neither a folder .* nor a checkpoint shipped",
    "--label 1": "--label chooses a class, and this network has none",
    "--from labelled --label 4": "--label 4 is not between 0 and 3",
    "--from labelled --label rose": "classes of this network have no names: .* 0 to 3, not rose",
    "--from run --guidance 3": "this network has none",
    "--from labelled --label 1 --guidance nan": "--guidance must be a finite number, not nan",
}
BAD_UPSCALING = {
    "--from labelled": "use an upscaler",
    "--in missing.png": "missing.png cannot be read .*: name an image with --in",
    "--in file": "file cannot be read",
    "--in wide.png": "129 × 8 pixels would become 516 × 32, .* GB of memory: at most 128 × 128",
    "--in deep.png": "its pixels are of kind I;16; save it with 8 bits per channel",
    "--out there.png": "there.png exists: .*--overwrite",
    "--level 51": "The level runs from 0 to 50, not 51",
}
BAD = {
    "grade": (("grade", "--given", "file"), "nothing to grade: name the notebooks"),
    "download": (("download",), "could not be downloaded .*--data starter`"),
    **{f"train {k}": ((*NEW_RUN, *k.split()), v) for k, v in BAD_TRAINING.items()},
    **{f"train --resume {k}": ((*RESUME, *k.split()), v) for k, v in BAD_RESUMING.items()},
    **{f"sample {k}": ((*NEW_IMAGE, *k.split()), v) for k, v in BAD_SAMPLING.items()},
    **{
        f"upscale {k}": ((*NEW_LARGE, "--from", "upscaler", *k.split()), v)
        for k, v in BAD_UPSCALING.items()
    },
}


def assert_one_sentence(sentence, phrase, capsys):
    assert isinstance(sentence, str), "it succeeded"
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


@pytest.mark.parametrize(
    ("args", "condition", "remedy"),
    [
        (NEW_IMAGE, "", "choose a smaller --batch-size"),
        ((*NEW_LARGE, "--from", "upscaler"), "low_res", "choose a smaller image, or --device cpu"),
        ((*NEW_IMAGE, "--upscale"), "low_res", "leave --upscale out, or add --device cpu"),
    ],
)
def test_running_out_of_memory_names_a_remedy(
    shipped_here, monkeypatch, capsys, args, condition, remedy
):
    forward = UNet.forward

    def cramped(net, x, *rest, **cond):
        if not condition or condition in cond:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(net, x, *rest, **cond)

    monkeypatch.setattr(UNet, "forward", cramped)
    assert_one_sentence(command(*args), f"Out of memory: {remedy}", capsys)


@pytest.mark.parametrize("name", ["sample", "upscale", "evaluate", "export", "grade"])
def test_what_cannot_be_written_is_found_out_before_the_work(here, monkeypatch, capsys, name):
    """A folder that refuses new files; the network is never asked for anything."""
    monkeypatch.setattr(UNet, "forward", None)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    calls = {
        "sample": NEW_IMAGE,
        "upscale": (*NEW_LARGE, "--from", "upscaler"),
        "evaluate": ("evaluate", "--from", "run", "--out", "new.json"),
        "export": ("export", "--from", "run", "--to-diffusers", "new"),
        "grade": ("grade", "file", "--given", "file"),
    }
    before = contents(here)
    refused = r"cannot be written \(Permission denied\): choose another name or folder\.$"
    assert_one_sentence(command(*calls[name]), refused, capsys)
    assert contents(here) == before


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "ddpm-course: MemoryError, without an explanation."),
        (OSError(28, "No space left on device"), "No space left on device while writing."),
    ],
)
def test_an_error_without_text_still_gives_a_sentence(here, monkeypatch, error, sentence):
    def fail(*args):
        raise error

    monkeypatch.setattr("ddpm_course.load_pretrained", fail, raising=False)
    assert command(*NEW_IMAGE).endswith(sentence)


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


def test_a_full_disk_from_the_start_ends_in_one_sentence(here, full_disk, capsys):
    before = contents(here)
    for args in (RESUME, NEW_RUN):
        with full_disk(0):
            assert_one_sentence(command(*args), "File too large", capsys)
    after = contents(here)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_names_the_command_that_continues_it(here, monkeypatch, capsys, name):
    replace = os.replace

    def interrupted_replace(source, target):
        if target.name == "model.safetensors":
            signal.raise_signal(name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted_replace)
    assert command(*RESUME, "--steps", "9", "--checkpoint-every", "1") == 130
    monkeypatch.setattr(os, "replace", replace)
    stopping, last = capsys.readouterr().err.strip().splitlines()
    assert stopping == "Stopping as soon as this step is complete."
    assert last == "Interrupted. Continue with: ddpm-course train --resume --out run"
    assert command(*RESUME) == 0
    assert steps_done(here / "run") == 4
