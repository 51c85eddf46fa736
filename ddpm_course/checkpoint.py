"""The folder of a training run, and going on from it.

config.json                  network, prediction and how the run was set up
metrics.csv                  one line per log_every steps
model.safetensors            averaged weights: what `load_pretrained` and `sample` read
training_state.safetensors   everything that going on needs, read by nothing else
"""

import csv
import io
from pathlib import Path

import torch
from torch import Tensor

from ddpm_course.diffusion import Denoiser
from ddpm_course.ema import EMA
from ddpm_course.files import load_tensors, save_tensors, write_text
from ddpm_course.weights import CONFIG, MODEL, save_pretrained

STATE, METRICS = "training_state.safetensors", "metrics.csv"


def refuse_to_overwrite(folder: Path | str | None) -> None:
    """Raise ValueError if the folder already holds a run, or weights."""
    if folder and any((Path(folder) / name).exists() for name in (STATE, METRICS, CONFIG, MODEL)):
        raise ValueError(
            f"{folder} already holds a run: go on with it (--resume), or name another."
        )


def steps_done(folder: Path) -> int:
    """Steps behind the folder's training state; 0 where there is none.

    Raises ValueError if the file is damaged or holds something else.
    """
    if not (folder / STATE).is_file():
        return 0
    _, metadata = load_tensors(folder / STATE)
    if "step" not in metadata:
        raise ValueError(f"{folder / STATE} holds no training state: restore it from a copy.")
    return metadata["step"]


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
        """Write weights and state, each atomically; the state last, since resuming reads it."""
        if self.folder is None or not self.writes:
            return
        save_pretrained(self.folder, self.ema.model, self.run)
        metadata = {"step": step, "ema_updates": self.ema.updates, "identity": self.identity}
        save_tensors(self.folder / STATE, self._tensors(), metadata)

    def load(self) -> int:
        """Restore every object in place; returns the number of steps done.

        Raises ValueError in a sentence if there is nothing to go on from, or it does not fit.
        """
        if self.folder is None or not (self.folder / STATE).is_file():
            raise ValueError(
                f"{self.folder} holds no training state to resume from: start a run in another "
                "folder, or remove this one."
            )
        tensors, metadata = load_tensors(self.folder / STATE)
        self._refuse_other_run(metadata.get("identity", {}))
        network = _without_prefix(tensors, "network.")
        optimizer = _without_prefix(tensors, "optimizer.")
        try:
            self.denoiser.net.load_state_dict(network)
            self.ema.model.net.load_state_dict(_without_prefix(tensors, "ema."))
            self.ema.updates, step = metadata["ema_updates"], metadata["step"]
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"The state in {self.folder} belongs to another network: resume with the "
                "settings that the run was started with."
            ) from error
        parameters = list(self.denoiser.net.parameters())
        per_parameter: dict[int, dict[str, Tensor]] = {}
        for name, tensor in optimizer.items():
            number, key = name.split(".")
            if tensor.ndim:  # fused AdamW wants its moments laid out in memory as the weights are
                tensor = torch.empty_like(parameters[int(number)]).copy_(tensor)
            per_parameter.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
        if self.writes:
            cut_rows(self.folder / METRICS, step)
        return step

    def append_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add a line to metrics.csv, and its header if it is the first."""
        if self.folder is not None and self.writes:
            append_row(self.folder / METRICS, {"step": step, **metrics})

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
    """Drop lines logged after `step`, whose state was saved: those steps are to be done again."""
    if path.is_file():
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        kept = rows[:1] + [r for r in rows[1:] if r and r[0].isdigit() and int(r[0]) <= step]
        write_text(path, "".join(",".join(row) + "\r\n" for row in kept))


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
