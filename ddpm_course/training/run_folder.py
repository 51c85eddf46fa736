"""The folder of a training run, and resuming from it.

config.json                  network, prediction and how the run was set up
metrics.csv                  one row per log_every steps
model.safetensors            averaged weights, which `load_pretrained` and `sample` read
training_state.safetensors   everything that resuming needs, and nothing else reads
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.files import load_tensors, save_tensors
from ddpm_course.pretrained.weights import CONFIG, MODEL, save_pretrained
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.curves import append_row, drop_rows_after
from ddpm_course.training.distributed import rank
from ddpm_course.training.ema import EMA

STATE, METRICS, LOCK = "training_state.safetensors", "metrics.csv", ".lock"
SAMPLES, BEST = "samples", "best"
INTERRUPTS = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    INTERRUPTS.append(signal.SIGHUP)  # of a terminal that was closed


class RunFolder:
    """Saves a run and resumes it. Without a folder it does nothing.

    Of several processes only the first writes.

    Args:
        folder: where, or None.
        denoiser, optimizer, ema: the live objects whose state is saved and loaded.
        config: the settings of the run.
        record: a JSON record for config.json.

    Attributes:
        step: the step that was saved or loaded last.
    """

    def __init__(
        self,
        folder: Path | str | None,
        denoiser: Denoiser,
        optimizer: torch.optim.Optimizer,
        ema: EMA[Denoiser],
        config: TrainConfig,
        record: dict | None,
    ):
        self.folder = None if folder is None else Path(folder)
        self.writes = folder is not None and rank() == 0
        self.denoiser, self.optimizer, self.ema = denoiser, optimizer, ema
        self.identity = config.identity()
        self.identity["prediction"] = denoiser.prediction
        self.identity["schedule"] = denoiser.schedule.alphas_cumprod.tolist()
        self.record = record
        self.step = 0

    @contextmanager
    def open(self, resume: bool) -> Iterator[None]:
        """Lock the folder, and load its state or save that of a new run.

        Raises ValueError if another process trains there, or the folder holds a run already; with
        `resume`, if it holds no state, or the state of a run that was set up differently.
        """
        if resume and (self.folder is None or not (self.folder / STATE).is_file()):
            raise ValueError(
                f"{self.folder} holds no training state to resume from: start a run in another "
                "folder, or remove this one."
            )
        with exclusive(self.folder) if self.folder and self.writes else nullcontext():
            if resume:
                self._load()
            elif self.folder and self.writes:
                refuse_to_overwrite(self.folder)
                self.save(0)  # a folder that cannot be written to is found out now, not hours later
            yield

    def save(self, step: int) -> None:
        """Write weights and state, each atomically.

        The state comes last, since a run whose state is at its last step is never resumed. In a new
        run it comes first: a folder that has only weights is refused to a run.
        """
        self.step = step
        if self.folder is None or not self.writes:
            return
        tensors = {f"network.{k}": v for k, v in self.denoiser.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.model.net.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
        metadata = {"step": step, "ema_updates": self.ema.updates, "identity": self.identity}
        if step > 0:
            save_pretrained(self.folder, self.ema.model, self.record)
        save_tensors(self.folder / STATE, tensors, metadata)
        if step == 0:
            save_pretrained(self.folder, self.ema.model, self.record)

    def append_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add a row to metrics.csv."""
        if self.folder and self.writes:
            append_row(self.folder / METRICS, {"step": step, **metrics})

    def _load(self) -> None:
        """Load the folder's state into the live objects."""
        assert self.folder is not None
        tensors, metadata = _load_state(self.folder)
        differing = [k for k, v in self.identity.items() if metadata["identity"].get(k) != v]
        if differing:
            raise ValueError(
                f"The run in {self.folder} was started with another {' and '.join(differing)}: "
                "resume with the same settings, or start a new run in another folder."
            )

        def part(prefix: str) -> dict[str, Tensor]:
            names = [name for name in tensors if name.startswith(prefix)]
            return {name.removeprefix(prefix): tensors[name] for name in names}

        try:
            self.denoiser.net.load_state_dict(part("network."))
            self.ema.model.net.load_state_dict(part("ema."))
            self._load_optimizer(part("optimizer."))
        except (RuntimeError, LookupError, ValueError) as error:
            raise ValueError(
                f"The state in {self.folder} belongs to another network: resume with the "
                "settings that the run was started with."
            ) from error
        self.ema.updates, self.step = metadata["ema_updates"], metadata["step"]
        if self.writes:
            drop_rows_after(self.folder / METRICS, self.step)

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state_dict = self.optimizer.state_dict()
        parameters = list(self.denoiser.net.parameters())
        for name, tensor in tensors.items():
            number, key = name.split(".")
            if tensor.ndim:  # fused AdamW needs its moments in the memory layout of the weights
                tensor = torch.empty_like(parameters[int(number)]).copy_(tensor)
            state_dict["state"].setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict(state_dict)


def refuse_to_overwrite(folder: Path) -> None:
    """Raise ValueError if the folder already holds weights, or a run that has something to lose.

    A run without metrics whose state is at step 0 was stopped before its first step was complete,
    and may be started again.
    """
    found = [name for name in (CONFIG, MODEL, METRICS, STATE) if (folder / name).exists()]
    if found and STATE not in found:
        raise ValueError(f"{folder} already holds {' and '.join(found)}: name another folder.")
    if METRICS in found or steps_done(folder) > 0:
        raise ValueError(f"{folder} already holds a run: resume it (--resume), or name another.")


def missing(folder: Path) -> str:
    """The name of a file without which the run in the folder cannot be resumed; "" if it can."""
    return next((name for name in (CONFIG, STATE) if not (folder / name).is_file()), "")


def steps_done(folder: Path | str) -> int:
    """The step of the training state in the folder; 0 if there is none.

    Raises ValueError if the file is damaged or holds something else.
    """
    if not (Path(folder) / STATE).is_file():
        return 0
    return _load_state(Path(folder))[1]["step"]


def _load_state(folder: Path) -> tuple[dict[str, Tensor], dict]:
    tensors, metadata = load_tensors(folder / STATE)
    types = {"step": int, "ema_updates": int, "identity": dict}
    if not all(isinstance(metadata.get(name), kind) for name, kind in types.items()):
        raise ValueError(f"{folder / STATE} holds no training state: restore it from a copy.")
    return tensors, metadata


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of the run in `folder`, which is created if it is missing.

    The lock ends with the process, however that ends. Half-written files that a killed process
    left behind are removed. Raises ValueError if another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0, thread_local=False):
            for place in (folder, folder / SAMPLES, folder / BEST):
                for stale in place.glob(".*.tmp*"):
                    stale.unlink(missing_ok=True)
            yield
    except Timeout as error:
        raise ValueError(
            f"Another process is training in {folder}: wait for its end, or name another folder."
        ) from error


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold back Ctrl-C, SIGTERM and SIGHUP until the end of the block, so that no half step is
    saved. A line on stderr acknowledges them at once.

    Outside the main thread, where no signal arrives, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def hold(number: int, frame: object) -> None:
        arrived.append(number)
        with suppress(OSError):  # the terminal may be gone
            print("\nStopping as soon as this step is complete.", file=sys.stderr, flush=True)

    handlers = {number: signal.getsignal(number) for number in INTERRUPTS}
    heeded = [number for number in INTERRUPTS if handlers[number] != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, handlers[number])
    if arrived:
        signal.raise_signal(arrived[0])
