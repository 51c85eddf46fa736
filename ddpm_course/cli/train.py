"""The command `ddpm-course train`: train a network, and keep everything about it in one folder."""

import math
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

import ddpm_course as dc
from ddpm_course.cli.options import Flag, command_line, progress_bar
from ddpm_course.training.settings import (
    FROM_WEIGHTS,
    MAY_CHANGE_ON_RESUME,
    RunSettings,
    preset_settings,
)

if TYPE_CHECKING:
    from ddpm_course.training.setup import Setup


@dataclass
class Train:
    """Train a network and keep config, metrics, weights and sample grids in one folder.

    The defaults train the preset tiny on Oxford 102 Flowers, downloaded into --data-root if it is
    not there. An interrupted run continues with `--resume --out FOLDER`; its settings are stored
    there. On several GPUs: `torchrun --nproc-per-node 2 -m ddpm_course train ...`.
    """

    out: Path  # Folder for the run.
    resume: Flag = False  # Continue the run in --out.
    minutes: float | None = None
    """Stop after this time, counted from the start, and save; --resume continues."""
    settings: Annotated[RunSettings, arg(name="")] = field(default_factory=preset_settings)

    def completed(self, parse: Callable[["Train"], "Train"]) -> "Train":
        """This command, parsed again with the defaults that depend on what it names: those of a
        stored run, of pretrained weights, or of a preset.

        Raises ValueError for an option that contradicts the stored run or the weights.
        """
        network = self.settings.network
        if self.resume:
            from ddpm_course.training.setup import stored_settings

            defaults = stored_settings(self.out)
        elif network.init_from:
            from ddpm_course.training.setup import settings_for_weights

            defaults = settings_for_weights(network.init_from)
        else:
            defaults = preset_settings(network.preset)
        command = parse(Train(self.out, settings=defaults))
        given, fixed = command.settings.record(), defaults.record()
        changed = [name for name in sorted(fixed) if given[name] != fixed[name]]
        for name in changed:
            if self.resume and name not in MAY_CHANGE_ON_RESUME:
                raise ValueError(
                    f"The run in {self.out} was started with {_option(name, fixed[name])}: leave "
                    "the option out, or start afresh."
                )
            if network.init_from and name in FROM_WEIGHTS:
                raise ValueError(
                    "Network, prediction and noise schedule are those of the weights: leave "
                    f"--{name.replace('_', '-')} out."
                )
        return command

    def run(self) -> None:
        from ddpm_course.training.distributed import first_process_decides, rank
        from ddpm_course.training.run_folder import refuse_to_overwrite
        from ddpm_course.training.setup import ends_in_noise, prepare, refuse_runs_among_images

        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"--minutes must be above 0, not {self.minutes}.")
        end = time.perf_counter() + 60 * (self.minutes or math.inf)

        def is_time_up() -> bool:
            return first_process_decides(time.perf_counter() > end)  # so that all stop at one state

        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out} is a file: name a folder for the run.")
        str(self.out).encode()  # raises for a name that is not UTF-8, as TensorBoard would
        if not self.resume:
            refuse_to_overwrite(self.out)
        refuse_runs_among_images(self.out, self.settings.data)
        weights, init_from = None, self.settings.network.init_from
        if init_from:
            weights = dc.load_pretrained(self.out if self.resume else init_from)
        setup = prepare(self.settings, weights)
        record = self.settings.record() | {"pictures_sha256": self._first_images(setup)}
        if weights and setup.denoiser.net.null_class != weights.net.null_class:
            _warn("The labels of the weights are not these: all else is taken over.")
        schedule = setup.denoiser.schedule
        if not ends_in_noise(schedule, self.settings.data.image_size):
            _warn(
                f"The noise schedule keeps ᾱ_T = {schedule.alphas_cumprod[-1]:.2g} of the image, "
                "so samples, which start from noise alone, will suffer: choose more --timesteps, a "
                "larger --beta-end or --schedule cosine."
            )
        run = (setup.denoiser, setup.batches, self.settings.training)
        states = dc.train(*run, folder=self.out, resume=self.resume, run=record)
        if rank() == 0:
            self._follow(states, setup, record, is_time_up)
        else:
            with closing(states):
                next((state for state in states if is_time_up()), None)

    def _first_images(self, setup: "Setup") -> str:
        """Digest of the images that the run began with.

        Raises ValueError if the images are others now and the run measures on held-out ones, which
        it may have learned from.
        """
        from ddpm_course.pretrained.files import digest
        from ddpm_course.training.setup import stored_record

        record = stored_record(self.out) if self.resume else {}
        current = digest({"images": setup.images})
        first = record.get("pictures_sha256", current)
        if first != current:
            others = "These are not the images that the run began with"
            if self.settings.records.held_out_every > 0:
                raise ValueError(
                    f"{others}, and those held out now may be among them: start another run, or go "
                    "on with --held-out-every 0."
                )
            _warn(f"{others}: it continues with these, not as if it had never stopped.")
        return first

    def _follow(
        self,
        states: Generator["dc.TrainState"],
        setup: "Setup",
        record: dict[str, Any],
        is_time_up: Callable[[], bool],
    ) -> None:
        """Train under a progress bar until the time is up, with metrics and sample grids."""
        from ddpm_course.training.monitoring import HeldOut, draw_samples
        from ddpm_course.training.run_folder import missing, steps_done
        from ddpm_course.training.tracking import TRACKERS

        config, records = self.settings.training, self.settings.records
        step, started = steps_done(self.out), time.perf_counter()
        shown = setup.held_out[1] if setup.held_out else {}
        print(self._summary(setup))
        bar = progress_bar(unit="step", initial=step, total=config.steps)
        continue_with = command_line("train", "--resume", "--out", self.out)
        try:
            # However this ends, the state is saved before the tracker is closed.
            with bar, ExitStack() as stack, closing(states):
                first = next(states)  # locks the folder, so that the records below are ours
                held_out = None
                if setup.held_out and records.held_out_every > 0:
                    held_out = HeldOut(self.out, record, setup.held_out, step)
                tracker = TRACKERS[records.track](self.out, step)
                stack.callback(tracker.finish)
                for state in chain([first], states):
                    tracker.log(state.metrics(), state.step)
                    ends = is_time_up() or state.step == config.steps
                    if ends:
                        states.close()  # saves before anything else takes its time
                    note = f"loss {state.loss:.4f}, {state.images_per_second:.0f} images/s"
                    if held_out and (ends or _passed(records.held_out_every, step, state.step)):
                        error = held_out.measure(state)
                        tracker.log({"x0_error": error}, state.step)
                        note += f", held-out x0 error {error:.4f}"
                    if ends or _passed(records.sample_every, step, state.step):
                        draw_samples(state, self.out, config.precision, shown)
                    bar.set_postfix_str(note, refresh=False)
                    bar.update(state.step - step)
                    step = state.step
        except KeyboardInterrupt:
            resumable = not missing(self.out)
            rest = f"Continue with: {continue_with}" if resumable else "Nothing was saved yet."
            print(f"Interrupted. {rest}", file=sys.stderr)
            raise
        if state.step < config.steps:
            print(f"Time is up. Continue with: {continue_with}")
        minutes, seconds = divmod(round(time.perf_counter() - started), 60)
        print(f"Step {state.step} after {minutes} min {seconds} s, loss {state.loss:.4f}.", end=" ")
        if setup.denoiser.net.config["has_level"]:
            use = command_line("upscale", "--from", self.out, "--in", "a.png", "--out", "b.png")
            print(f"Upscale with: {use}")
        else:
            use = command_line("sample", "--from", self.out, "--out", "flowers.png")
            print(f"Sample with: {use}")

    def _summary(self, setup: "Setup") -> str:
        """The size of data, network and run, and which files of a folder are not read."""
        from ddpm_course.data.image_files import left_out

        config, data = self.settings.training, self.settings.data
        parameters = sum(p.numel() for p in setup.denoiser.parameters()) / 1e6
        device = setup.denoiser.device.type
        epochs = config.steps * config.batch_size / len(setup.images)
        summary = (
            f"{len(setup.images)} images of {data.image_size}×{data.image_size} pixels; "
            f"{parameters:.1f} M parameters on {device}; "
            f"{config.steps} steps of {config.batch_size}, {epochs:.3g} epochs"
        )
        others = left_out(data.data_root) if data.data.startswith("folder") else ""
        return f"{summary}\nNot read: {others}" if others else summary


def _passed(every: int, before: int, step: int) -> bool:
    """Whether a multiple of `every` lies after step `before`, up to `step`."""
    return step // every > before // every


def _warn(sentence: str) -> None:
    """Print to stderr, once however many processes there are."""
    from ddpm_course.training.distributed import rank

    if rank() == 0:
        print(sentence, file=sys.stderr)


def _option(name: str, value: object) -> str:
    """An option as it would be typed: --seed 0, --no-flip."""
    dashed = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{dashed}" if value else f"--no-{dashed}"
    return f"no --{dashed}" if value is None else f"--{dashed} {value}"
