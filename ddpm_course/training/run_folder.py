"""The folder of a training run, and going on from it.

config.json                  network, prediction and how the run was set up
metrics.csv                  one line per log_every steps
model.safetensors            averaged weights: what `load_pretrained` and `sample` read
training_state.safetensors   everything that going on needs, read by nothing else
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.files import load_tensors, save_tensors, write_text
from ddpm_course.pretrained.weights import CONFIG, MODEL, save_pretrained
from ddpm_course.training.ema import EMA

STATE, METRICS, LOCK = "training_state.safetensors", "metrics.csv", ".lock"
RUN = (STATE, METRICS, CONFIG, MODEL)


def refuse_to_overwrite(folder: Path | str | None) -> None:
    """Raise ValueError if the folder already holds a run, or weights."""
    there = {name for name in RUN if folder and (Path(folder) / name).exists()}
    newborn = STATE in there and not {METRICS, CONFIG} & there
    killed_at_birth = newborn and steps_done(folder or "") == 0
    if there and not killed_at_birth:
        raise ValueError(
            f"{folder} already holds a run: go on with it (--resume), or name another."
        )


def steps_done(folder: Path | str) -> int:
    """Steps behind the folder's training state; 0 where there is none.

    Raises ValueError if the file is damaged or holds something else.
    """
    if not (Path(folder) / STATE).is_file():
        return 0
    return _load_state(Path(folder))[1]["step"]


def _load_state(folder: Path) -> tuple[dict[str, Tensor], dict]:
    tensors, metadata = load_tensors(folder / STATE)
    kinds = {"step": int, "ema_updates": int, "identity": dict}
    if not all(isinstance(metadata.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"{folder / STATE} holds no training state: restore it from a copy.")
    return tensors, metadata


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of the run in `folder`, which is made if it is not there.

    The lock ends with the process, whatever ends it. What a killed one was just writing is removed.
    Within this process it may be taken again. Raises ValueError if another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0, thread_local=False, is_singleton=True):
            for stale in (path for name in RUN for path in folder.glob(f".{name}.*.tmp*")):
                stale.unlink(missing_ok=True)
            yield
    except Timeout as error:
        raise ValueError(
            f"Another process is training in {folder}: wait for its end, or name another folder."
        ) from error


def refuse_to_resume_nothing(folder: Path | str | None) -> None:
    """Raise ValueError unless the folder holds a training state."""
    if folder is None or not (Path(folder) / STATE).is_file():
        raise ValueError(
            f"{folder} holds no training state to resume from: start a run in another folder, or "
            "remove this one."
        )


class TrainingFolder:
    """Saves and restores a run; with folder None it does nothing.

    Args:
        folder: where, or None.
        denoiser, optimizer, ema: the live objects whose state this is.
        identity: settings that must be equal for a run to be gone on with.
        run: a JSON record for config.json.
        writes: whether anything is written; of several processes only one should.
    """

    def __init__(
        self,
        folder: Path | str | None,
        denoiser: Denoiser,
        optimizer: torch.optim.Optimizer,
        ema: EMA[Denoiser],
        identity: dict,
        run: dict | None,
        writes: bool = True,
    ):
        self.folder = None if folder is None else Path(folder)
        self.denoiser, self.optimizer, self.ema = denoiser, optimizer, ema
        schedule = denoiser.schedule.alphas_cumprod.tolist()
        self.identity = identity | {"prediction": denoiser.prediction, "schedule": schedule}
        self.run, self.writes = run, writes and folder is not None

    def save(self, step: int) -> None:
        """Write weights and state, each atomically.

        The state comes last, since a run whose state is final is never gone on with. Of a new run
        it comes first: without a config.json beside it, it was killed at birth and is no loss.
        """
        if self.folder is None or not self.writes:
            return
        if step > 0:
            save_pretrained(self.folder, self.ema.model, self.run)
        metadata = {"step": step, "ema_updates": self.ema.updates, "identity": self.identity}
        save_tensors(self.folder / STATE, self._tensors(), metadata)
        if step == 0:
            save_pretrained(self.folder, self.ema.model, self.run)

    def load(self) -> int:
        """Restore every object in place; returns the number of steps done.

        Raises ValueError in a sentence if there is nothing to go on from, or it does not fit.
        """
        refuse_to_resume_nothing(self.folder)
        assert self.folder is not None
        tensors, metadata = _load_state(self.folder)
        self._refuse_other_run(metadata["identity"])
        try:
            self.denoiser.net.load_state_dict(_without_prefix(tensors, "network."))
            self.ema.model.net.load_state_dict(_without_prefix(tensors, "ema."))
            self._load_optimizer(_without_prefix(tensors, "optimizer."))
        except (RuntimeError, LookupError, ValueError) as error:
            raise ValueError(
                f"The state in {self.folder} belongs to another network: resume with the "
                "settings that the run was started with."
            ) from error
        self.ema.updates = metadata["ema_updates"]
        if self.writes:
            cut_rows(self.folder / METRICS, metadata["step"])
        return metadata["step"]

    def append_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add a line to metrics.csv, and its header if it is the first."""
        if self.folder is not None and self.writes:
            append_row(self.folder / METRICS, {"step": step, **metrics})

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.denoiser.net.parameters())
        per_parameter: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, key = name.split(".")
            if tensor.ndim:  # fused AdamW wants its moments laid out in memory as the weights are
                tensor = torch.empty_like(parameters[int(number)]).copy_(tensor)
            per_parameter.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{k}": v for k, v in self.denoiser.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.model.net.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
        return tensors

    def _refuse_other_run(self, identity: dict) -> None:
        differing = [k for k, v in self.identity.items() if identity.get(k) != v]
        if differing:
            raise ValueError(
                f"The run in {self.folder} was started with another {' and '.join(differing)}: "
                "resume with the same settings, or start a new run in another folder."
            )


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add a line to a CSV file, and its header if it is the first. Whole numbers stay whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(row)
        writer.writerow(v if isinstance(v, int) else f"{v:.6g}" for v in row.values())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file; none where there is no file."""
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def cut_rows(path: Path, step: int) -> None:
    """Drop lines logged after `step`, whose state was saved: those steps are to be done again.

    So goes a line that a full disk or a kill cut short.
    """
    if path.is_file():
        text = path.read_bytes().decode("utf-8", errors="replace").replace("\0", "")
        whole = text[: text.rfind("\n") + 1]
        header, *rows = list(csv.reader(io.StringIO(whole))) or [[]]
        fitting = [r for r in rows if len(r) == len(header) and r and r[0].isdigit()]
        kept = [header] * bool(header) + [r for r in fitting if int(r[0]) <= step]
        write_text(path, "".join(",".join(row) + "\r\n" for row in kept))


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
