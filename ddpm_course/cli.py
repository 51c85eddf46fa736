"""The command line: `ddpm-course train`, `sample` and `download`."""

import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from ddpm_course.checkpoint import refuse_to_overwrite, steps_done
from ddpm_course.data import DATASETS, download_flowers102, to_uint8
from ddpm_course.diffusion import PREDICTIONS, Denoise, Denoiser, guided
from ddpm_course.pictures import image_grid, save_image
from ddpm_course.runs import fill_in, pick_device, prepare, settings_to_resume
from ddpm_course.samplers import SAMPLERS, sample
from ddpm_course.schedules import SCHEDULES, SPACINGS
from ddpm_course.tracking import TRACKERS, open_tracker
from ddpm_course.training import TrainConfig, TrainState, train
from ddpm_course.unet import PRESETS
from ddpm_course.weights import load_pretrained, shipped

app = typer.Typer(
    help="Train denoising diffusion models on flowers, and draw from them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def one_of(choices) -> str:
    return "One of " + ", ".join(choices) + "."


def main() -> None:
    """Run the command line. What a user can mend ends in one sentence and exit code 1."""
    threading.excepthook = _report_thread
    try:
        app()
    except (ValueError, OSError, ArithmeticError) as error:
        sys.exit(f"ddpm-course: {_sentence(error)}")


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """Say nothing of a full disk: TensorBoard's thread hands it to the main one, which does."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}." if error.filename else " while writing.")
    return str(error)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
ForData = partial(typer.Option, rich_help_panel="Data")
ForModel = partial(typer.Option, rich_help_panel="Network and noise")
ForTraining = partial(typer.Option, rich_help_panel="Training")
ForRecords = partial(typer.Option, rich_help_panel="What is kept")
DEFAULT = TrainConfig()


@app.command("train")
def train_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the run.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Device = "auto",
    data: Annotated[str, ForData(help=one_of(DATASETS))] = "flowers102",
    data_root: Annotated[Path, ForData(help="Where it lies, or is downloaded to.")] = Path("data"),
    image_size: Annotated[int | None, ForData(help="Pixels a side; default: the preset's.")] = None,
    flip: Annotated[bool, ForData(help="Mirror half of the images.")] = DEFAULT.flip,
    preset: Annotated[str, ForModel(help=one_of(PRESETS))] = "tiny",
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
    precision: Annotated[str, ForTraining(help="auto, fp32 or bf16.")] = DEFAULT.precision,
    seed: Annotated[int, ForTraining(help="Names every random draw.")] = DEFAULT.seed,
    log_every: Annotated[int, ForRecords(help="Steps between metrics.")] = DEFAULT.log_every,
    checkpoint_every: Annotated[
        int, ForRecords(help="Steps between checkpoints.")
    ] = DEFAULT.checkpoint_every,
    sample_every: Annotated[int, ForRecords(help="Steps between sample grids.")] = 100,
    track: Annotated[str, ForRecords(help=one_of(TRACKERS))] = "tensorboard",
) -> None:
    """Train a network and keep config, metrics, weights and sample grids in one folder.

    The defaults train `tiny` on Oxford 102 Flowers, downloaded into --data-root if it is not
    there. A run that was interrupted goes on with `--resume --out FOLDER`, all else as it was.
    """
    settings = {k: v for k, v in context.params.items() if k not in ("out", "resume")}
    settings["data_root"] = str(data_root)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: name a folder for the run.")
    if resume:
        source = context.get_parameter_source
        given = {k for k in settings if getattr(source(k), "name", None) == "COMMANDLINE"}
        settings = settings_to_resume(out, settings, given)
    else:
        refuse_to_overwrite(out)
    if settings["sample_every"] < 1:
        raise ValueError(f"sample_every must be 1 or more, not {settings['sample_every']}.")
    settings = fill_in(settings)
    denoiser, batches, config = prepare(settings)
    tracker = open_tracker(settings["track"], out, steps_done(out))
    bar = tqdm(unit="step", dynamic_ncols=True)
    drawn, started = 0, time.perf_counter()

    def progress(remaining):
        nonlocal drawn
        bar.total, bar.n = remaining.stop, remaining.start
        drawn = remaining.start // settings["sample_every"]
        for step in remaining:
            yield step
            bar.update()

    try:
        for state in train(
            denoiser, batches, config, folder=out, resume=resume, run=settings,
            log=tracker.log, progress=progress,
        ):  # fmt: skip
            bar.set_postfix_str(f"loss {state.loss:.4f}, {state.images_per_second:.0f} images/s")
            if state.step // settings["sample_every"] > drawn or state.step == config.steps:
                drawn = state.step // settings["sample_every"]
                _draw_progress(state, out)
    except KeyboardInterrupt:
        bar.close()
        typer.echo(f"Interrupted. Go on with: ddpm-course train --resume --out {out}", err=True)
        raise typer.Exit(130) from None
    finally:
        bar.close()
        tracker.finish()
    minutes, seconds = divmod(round(time.perf_counter() - started), 60)
    typer.echo(
        f"Step {state.step} after {minutes} min {seconds} s, loss {state.loss:.4f}. "
        f"Draw with: ddpm-course sample --from {out} --out flowers.png"
    )


def _draw_progress(state: TrainState, out: Path) -> None:
    """A grid of 16 samples of the averaged weights, always from the same noise."""
    schedule, device = state.ema.schedule, next(state.ema.parameters()).device
    x = sample(
        state.ema,
        (16, *state.ema.net.image_shape),
        schedule,
        steps=min(25, schedule.T),
        device=device,
    )
    save_image(out / "samples" / f"step_{state.step:06d}.png", image_grid(to_uint8(x)))


@app.command("sample")
def sample_command(
    out: Annotated[Path, typer.Option(help="Picture to write, a PNG.")],
    source: Annotated[
        str | None,
        typer.Option("--from", help="Folder of a run, or name of a shipped checkpoint."),
    ] = None,
    number: Annotated[int, typer.Option(help="How many images to draw.")] = 16,
    sampler: Annotated[str, typer.Option(help=one_of(SAMPLERS))] = "ddim",
    steps: Annotated[int, typer.Option(help="Network calls an image, 1 to T.")] = 50,
    spacing: Annotated[str, typer.Option(help=one_of(SPACINGS))] = "trailing",
    eta: Annotated[
        float | None, typer.Option(help="Noise of ddim: 0 none, 1 as much as ddpm.")
    ] = None,
    label: Annotated[
        int | None, typer.Option(help="Class to draw, from 0; conditional networks only.")
    ] = None,
    guidance: Annotated[
        float, typer.Option(help="Scale of classifier-free guidance; 1 is none.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Image k depends on (seed, k) alone.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out if it exists.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Draw images from trained weights into one PNG."""
    if out.suffix.lower() != ".png" or out.is_dir() or out.parent.is_file():
        raise ValueError(f"--out names a PNG file, such as flowers.png, not {out}.")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: name another file, or add --overwrite.")
    if number < 1:
        raise ValueError(f"--number must be 1 or more, not {number}.")
    if eta is not None and sampler != "ddim":
        raise ValueError("--eta belongs to the sampler ddim.")
    if source is None:
        if not shipped():
            raise ValueError(
                "No checkpoint is shipped with the package yet: train one with `ddpm-course train "
                "--out runs/first` and name it with --from runs/first."
            )
        source = shipped()[0]
    where = pick_device(device)
    denoiser = load_pretrained(source).to(where)
    denoise = _bound(denoiser, label, guidance, number)
    x = sample(
        denoise,
        (number, *denoiser.net.image_shape),
        denoiser.schedule,
        sampler=sampler,
        steps=steps,
        spacing=spacing,
        seed=seed,
        device=where,
        progress=partial(tqdm, total=steps, unit="step", dynamic_ncols=True),
        **({} if eta is None else {"eta": eta}),
    )
    save_image(out, image_grid(to_uint8(x)))
    typer.echo(f"{number} images in {out}")


def _bound(denoiser: Denoiser, label: int | None, guidance: float, number: int) -> Denoise:
    """The denoiser with label and guidance filled in."""
    classes = denoiser.net.config["num_classes"]
    if label is None:
        if guidance != 1.0:
            raise ValueError("--guidance pulls towards a class: name one with --label.")
        return denoiser
    if classes is None or not 0 <= label < classes:
        known = (
            "this network knows none" if classes is None else f"they run from 0 to {classes - 1}"
        )
        raise ValueError(f"--label {label} is not a label of this network: {known}.")
    y = torch.full((number,), label, device=next(denoiser.parameters()).device)
    return guided(denoiser, y, guidance) if guidance != 1.0 else denoiser.bind(y=y)


@app.command("download")
def download_command(
    data_root: Annotated[Path, typer.Option(help="Folder to put it in.")] = Path("data"),
) -> None:
    """Fetch Oxford 102 Flowers (about 350 MB) through torchvision."""
    download_flowers102(data_root)
    typer.echo(f"Flowers-102 is complete under {data_root}")
