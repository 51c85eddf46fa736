"""Every setting of a training run, in the form that `config.json` keeps.

Nothing here imports PyTorch, so a command line can read names, defaults and docstrings at once.
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from typeguard import TypeCheckError, check_type

from ddpm_course.presets import PRESETS
from ddpm_course.training import config
from ddpm_course.training.config import MOST, TrainConfig, check_range

DataName = Literal["flowers102", "flowers102-all", "folder", "folder-all", "starter", "synthetic"]
PresetName = Literal["tiny", "light", "small", "base", "large", "upscaler"]
Prediction = Literal["eps", "x0", "v"]
ScheduleName = Literal["linear", "cosine", "sigmoid"]
TrackerName = Literal["tensorboard", "wandb"]

FROM_WEIGHTS = {"preset", "prediction", "schedule", "timesteps", "beta_start", "beta_end"}
"""What a fine-tuned model shares with the weights that it started from."""


@dataclass(frozen=True)
class DataSettings:
    """The images to learn from."""

    data: DataName = "flowers102"  # Data set. starter and synthetic need no download.
    data_root: str = "data"  # Folder with the images; flowers102 is downloaded into it.
    image_size: int = 32  # Height and width in pixels. Default: the preset's.


@dataclass(frozen=True)
class NetworkSettings:
    """The network and the noise schedule."""

    preset: PresetName = "tiny"
    """Size of the network. Millions of parameters and image size: tiny 1.6, 32; light 4.5, 64;
    small 12, 64; base 36, 64; large 63, 64; upscaler 2.1, crops of 64."""
    init_from: str | None = None
    """Start from pretrained weights: the folder of a run or the name of a shipped checkpoint.
    Network, prediction and noise schedule are then those of the weights."""
    conditional: bool = False  # Learn labels, which guidance needs.
    dropout: float = 0.0  # Dropout probability inside the network.
    prediction: Prediction = "v"  # What the network predicts.
    schedule: ScheduleName = "cosine"  # Noise schedule.
    timesteps: int = 1000  # T, the number of noising steps.
    beta_start: float | None = None  # β_1 of the linear schedule; None: 1e-4.
    beta_end: float | None = None  # β_T of the linear schedule; None: 2e-2.


@dataclass(frozen=True)
class RecordSettings:
    """Where the run is computed, and what is recorded on the way."""

    device: str = "auto"  # auto, cpu, cuda or mps.
    sample_every: int = 100  # Steps between two sample grids.
    held_out_every: int = 0
    """Steps between two errors on held-out images, which also keep the best weights; 0: never."""
    track: TrackerName = "tensorboard"  # Where the curves can be watched.


@dataclass(frozen=True)
class RunSettings:
    """Every setting of a run, in groups."""

    data: DataSettings = field(default_factory=DataSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainConfig = field(default_factory=TrainConfig)
    records: RecordSettings = field(default_factory=RecordSettings)

    def check(self) -> None:
        """Raise ValueError for a setting out of range, or for settings that do not fit together."""
        self.training.check()
        check_range(self.network, 1, 10**6, "timesteps")
        check_range(self.network, 0, 1, "dropout")
        check_range(self.records, 1, MOST, "sample_every")
        check_range(self.records, 0, MOST, "held_out_every")
        betas = (self.network.beta_start, self.network.beta_end)
        if self.network.schedule != "linear" and betas != (None, None):
            raise ValueError("--beta-start and --beta-end belong to --schedule linear.")
        if self.network.conditional and self.data.data in ("folder", "folder-all"):
            raise ValueError("The images of a folder have no labels: leave --conditional out.")

    def record(self) -> dict[str, Any]:
        """The settings as one flat dict, which JSON can hold."""
        return {name: value for group in asdict(self).values() for name, value in group.items()}

    @classmethod
    def from_record(cls, record: dict[str, Any], source: Path) -> "RunSettings":
        """The settings in such a dict. Other keys are ignored, and missing ones take the default.

        Raises ValueError, naming `source`, for a value that is not of the setting's type.
        """
        groups = {}
        for group, kind in get_type_hints(cls).items():
            hints = get_type_hints(kind)
            chosen = {name: record[name] for name in hints if name in record}
            for name, value in chosen.items():
                try:
                    check_type(value, hints[name])
                except TypeCheckError as error:
                    raise ValueError(
                        f"The setting {name} in {source} is of the wrong type ({value!r:.40}): "
                        "restore the file from a copy."
                    ) from error
            groups[group] = kind(**chosen)
        return cls(**groups)


def preset_settings(preset: PresetName = "tiny") -> RunSettings:
    """The defaults for a network of that preset."""
    chosen = PRESETS[preset]
    return RunSettings(
        DataSettings(image_size=chosen.network["image_size"]),
        NetworkSettings(preset=preset),
        TrainConfig(batch_size=chosen.batch_size, learning_rate=chosen.learning_rate),
    )


MAY_CHANGE_ON_RESUME = (
    config.MAY_CHANGE_ON_RESUME | {"data_root"} | {f.name for f in fields(RecordSettings)}
)
