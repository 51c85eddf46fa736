"""The command `ddpm-course train`: a network learns, and one folder keeps all there is to know."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, get_type_hints

import typer
from tqdm import tqdm

from ddpm_course.cli.invocation import command
from ddpm_course.cli.options import PRECISIONS, Device, one_of
from ddpm_course.data.datasets import DATASETS
from ddpm_course.data.image_files import left_out
from ddpm_course.diffusion import PREDICTIONS
from ddpm_course.presets import PRESETS
from ddpm_course.schedules import SCHEDULES
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.distributed import first_process_decides, rank
from ddpm_course.training.loop import TrainState, train
from ddpm_course.training.monitoring import HeldOut, draw_samples
from ddpm_course.training.run_folder import exclusive, refuse_to_overwrite, steps_done
from ddpm_course.training.setup import Setup, fill_in, prepare, settings_to_resume
from ddpm_course.training.tracking import TRACKERS, check_tracker, open_tracker

ForData = partial(typer.Option, rich_help_panel="Data")
ForModel = partial(typer.Option, rich_help_panel="Network and noise")
ForTraining = partial(typer.Option, rich_help_panel="Training")
ForSpeed = partial(typer.Option, rich_help_panel="Speed and memory")
ForRecords = partial(typer.Option, rich_help_panel="What is kept")
DEFAULT = TrainConfig()
PRESETS_HELP = (
    f"{one_of(PRESETS)} Millions of parameters and pixels a side: tiny 1.6, 32; small 12, 64; "
    "base 36, 64; large 63, 64; upscaler 2.1, from 56 to 224."
)


def train_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Device = "auto",
    data: Annotated[str, ForData(help=one_of(DATASETS))] = "flowers102",
    data_root: Annotated[Path, ForData(help="Where it lies, or is downloaded to.")] = Path("data"),
    image_size: Annotated[int | None, ForData(help="Pixels a side; default: the preset's.")] = None,
    flip: Annotated[bool, ForData(help="Mirror half of the images.")] = DEFAULT.flip,
    preset: Annotated[str, ForModel(help=PRESETS_HELP)] = "tiny",
    conditional: Annotated[
        bool, ForModel("--conditional", help="Learn labels, for guidance.")
    ] = False,
    dropout: Annotated[float, ForModel(help="Inside the network, 0 to 1.")] = 0.0,
    prediction: Annotated[str, ForModel(help=one_of(PREDICTIONS))] = "v",
    schedule: Annotated[str, ForModel(help=one_of(SCHEDULES))] = "cosine",
    timesteps: Annotated[int, ForModel(help="T, the number of noising steps.")] = 1000,
    beta_start: Annotated[float | None, ForModel(help="β_1 if linear; default 1e-4.")] = None,
    beta_end: Annotated[float | None, ForModel(help="β_T if linear; default 2e-2.")] = None,
    steps: Annotated[int, ForTraining(help="Optimiser steps in all.")] = DEFAULT.steps,
    minutes: Annotated[
        float | None,
        ForTraining(help="Stop after so many, counted from the start, and save; --resume goes on."),
    ] = None,
    batch_size: Annotated[
        int | None, ForTraining(help="Images a step; default: the preset's.")
    ] = None,
    learning_rate: Annotated[
        float | None, ForTraining(help="Of AdamW, after warm-up; default: the preset's.")
    ] = None,
    warmup_steps: Annotated[
        int, ForTraining(help="Steps until the learning rate is reached.")
    ] = DEFAULT.warmup_steps,
    grad_clip: Annotated[float, ForTraining(help="Longest gradient, 2-norm.")] = DEFAULT.grad_clip,
    ema_decay: Annotated[
        float, ForTraining(help="Memory of the mean weights.")
    ] = DEFAULT.ema_decay,
    label_dropout: Annotated[
        float, ForTraining(help="Share of labels hidden, if conditional.")
    ] = DEFAULT.label_dropout,
    decay_steps: Annotated[
        int, ForTraining(help="Last steps, over which the learning rate falls to 0.")
    ] = DEFAULT.decay_steps,
    seed: Annotated[int, ForTraining(help="Names every random draw.")] = DEFAULT.seed,
    precision: Annotated[str, ForSpeed(help=PRECISIONS)] = DEFAULT.precision,
    accumulate: Annotated[
        int, ForSpeed(help="Parts a batch is worked through in, to save memory.")
    ] = DEFAULT.accumulate,
    channels_last: Annotated[
        bool | None, ForSpeed(help="Memory layout of the network; default: on CUDA.")
    ] = DEFAULT.channels_last,
    compile: Annotated[
        bool | None, ForSpeed(help="torch.compile the network; default: on CUDA.")
    ] = DEFAULT.compile,
    log_every: Annotated[int, ForRecords(help="Steps between metrics.")] = DEFAULT.log_every,
    checkpoint_every: Annotated[
        int, ForRecords(help="Steps between checkpoints.")
    ] = DEFAULT.checkpoint_every,
    sample_every: Annotated[int, ForRecords(help="Steps between sample grids.")] = 100,
    held_out_every: Annotated[
        int, ForRecords(help="Steps between errors on pictures kept out; 0: never.")
    ] = 0,
    track: Annotated[str, ForRecords(help=one_of(TRACKERS))] = "tensorboard",
) -> None:
    """Train a network and keep config, metrics, weights and sample grids in one folder.

    The defaults train `tiny` on Oxford 102 Flowers, downloaded into --data-root if it is not
    there. A run that was interrupted goes on with `--resume --out FOLDER`, all else as it was.
    On several GPUs: `torchrun --nproc-per-node 2 -m ddpm_course train ...`.
    """
    up = _timer(minutes)
    settings = {k: v for k, v in context.params.items() if k not in ("out", "resume", "minutes")}
    settings["data_root"] = str(data_root)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: name a folder for the run.")
    if resume:
        source = context.get_parameter_source
        given = {k for k in settings if getattr(source(k), "name", None) == "COMMANDLINE"}
        kinds = get_type_hints(train_command) | {"data_root": str}
        settings = settings_to_resume(out, settings, given, kinds)
    else:
        refuse_to_overwrite(out)
    for name, least in (("sample_every", 1), ("held_out_every", 0)):
        if settings[name] < least:
            raise ValueError(f"{name} must be {least} or more, not {settings[name]}.")
    check_tracker(settings["track"])  # now, not after minutes of reading pictures
    settings = fill_in(settings)
    setup = prepare(settings)
    if settings.setdefault("pictures_sha256", setup.sha256) != setup.sha256:
        _tell_of_other_pictures(settings)
    start = (setup.denoiser, setup.batches, setup.config)
    run = partial(train, *start, folder=out, resume=resume, run=settings)
    if rank() == 0:
        with exclusive(out):
            _watch(run, up, setup, settings, out)
    else:
        with closing(run()) as states:
            next((state for state in states if up()), None)


def _timer(minutes: float | None) -> Callable[[], bool]:
    """up() tells all processes alike whether the minutes are over; each calls it at every state."""
    if minutes is not None and not 0 < minutes < math.inf:
        raise ValueError(f"--minutes must be above 0, not {minutes}.")
    end = math.inf if minutes is None else time.perf_counter() + 60 * minutes
    return lambda: first_process_decides(time.perf_counter() > end)


def _tell_of_other_pictures(settings: dict) -> None:
    """Raises ValueError if the run measures on pictures held out: now they may be among those that
    it has learned from.
    """
    others = "These are not the pictures that the run began with"
    if settings["held_out_every"] > 0:
        raise ValueError(
            f"{others}, and those held out now may be among them: start another run, or go on with "
            "--held-out-every 0."
        )
    if rank() == 0:
        typer.echo(f"{others}: it goes on with these, not as if it had never stopped.", err=True)


def _watch(
    run: Callable[..., Generator[TrainState]],
    up: Callable[[], bool],
    setup: Setup,
    settings: dict,
    out: Path,
) -> None:
    """Run the training under a progress bar until its time is up, with sample grids and metrics on
    the way.
    """
    done, started, config = steps_done(out), time.perf_counter(), setup.config
    held_out = None
    if settings["held_out_every"] > 0:
        held_out = HeldOut(out, settings, setup.denoiser.schedule, setup.held_out(), done)
    tracker = open_tracker(settings["track"], out, done)
    parameters = sum(p.numel() for p in setup.denoiser.net.parameters()) / 1e6
    passes = config.steps * config.batch_size / setup.pictures
    typer.echo(
        f"{setup.pictures} pictures, {settings['image_size']} pixels a side; "
        f"{parameters:.1f} M parameters on {setup.denoiser.device.type}; "
        f"{config.steps} steps of {config.batch_size}, {passes:.3g} passes over the pictures"
    )
    if settings["data"] in ("folder", "folder-all") and (others := left_out(settings["data_root"])):
        typer.echo(f"Not read: {others}")
    bar = tqdm(unit="step", initial=done, total=config.steps, dynamic_ncols=True)

    last, go_on = done, command("train", "--resume", "--out", out)

    def due(every: int) -> bool:
        return ends or state.step // every > last // every

    try:
        with closing(run()) as states:
            for state in states:
                tracker.log(state.metrics(), state.step)
                bar.update(state.step - bar.n)
                if time_is_up := up():
                    states.close()  # saved before anything else takes its time
                ends = time_is_up or state.step == config.steps
                note = f"loss {state.loss:.4f}, {state.images_per_second:.0f} images/s"
                if held_out and due(settings["held_out_every"]):
                    error = held_out.measure(state)
                    tracker.log({"x0_error": error}, state.step)
                    note += f", held-out x0 error {error:.4f}"
                if due(settings["sample_every"]):
                    draw_samples(state, out, config.precision, setup.shown)
                bar.set_postfix_str(note)
                last = state.step
    except KeyboardInterrupt:
        bar.close()
        typer.echo(f"Interrupted. Go on with: {go_on}", err=True)
        raise typer.Exit(130) from None
    finally:
        bar.close()
        tracker.finish()
    minutes, seconds = divmod(round(time.perf_counter() - started), 60)
    if state.step < config.steps:
        typer.echo(f"Time is up. Go on with: {go_on}")
    if setup.denoiser.net.config["has_level"]:
        use = command("upscale", "--from", out, "--in", "flower.png", "--out", "large.png")
        then = f"Enlarge with: {use}"
    else:
        then = f"Draw with: {command('sample', '--from', out, '--out', 'flowers.png')}"
    typer.echo(f"Step {state.step} after {minutes} min {seconds} s, loss {state.loss:.4f}. {then}")
