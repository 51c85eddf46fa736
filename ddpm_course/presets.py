"""The networks of the course by name, each with the batch size and learning rate that suit it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddpm_course.unet import UNet


@dataclass(frozen=True)
class Preset:
    """Arguments of `UNet`, with the batch size and learning rate that suit them."""

    network: dict
    batch_size: int
    learning_rate: float = 2e-4


PRESETS: dict[str, Preset] = {
    # blobs on a laptop within minutes
    "tiny": Preset(
        dict(channels=(32, 64, 64), attention_levels=(2,), image_size=32),
        batch_size=32,
        learning_rate=1e-3,
    ),
    # flowers of 64 pixels, within a day or two on a laptop
    "light": Preset(
        dict(channels=(32, 64, 128, 128), attention_levels=(2, 3), blocks=1, image_size=64),
        batch_size=64,
        learning_rate=1e-3,
    ),
    # the course's flowers
    "small": Preset(
        dict(channels=(64, 96, 128, 192), attention_levels=(2, 3), image_size=64), batch_size=128
    ),
    # DDPM's own network for CIFAR-10
    "base": Preset(
        dict(channels=(128, 256, 256, 256), attention_levels=(2,), head_dim=None, image_size=64),
        batch_size=128,
    ),
    # as many parameters as the original flower experiment
    "large": Preset(
        dict(channels=(64, 128, 256, 512), attention_levels=(2, 3), image_size=64), batch_size=128
    ),
    # images made 4× larger; it learns from crops, and so has no attention
    "upscaler": Preset(
        dict(
            channels=(32, 64, 64, 96),
            attention_levels=(),
            mid_attention=False,
            blocks=1,
            in_channels=6,
            has_level=True,
            image_size=64,
        ),
        batch_size=16,
        learning_rate=1e-3,
    ),
}


def make_unet(preset: str, **changes) -> "UNet":
    """The `UNet` of a preset; `changes` replace arguments: make_unet("tiny", num_classes=10).

    Raises ValueError for an unknown preset, and as `UNet` does.
    """
    from ddpm_course.unet import UNet  # here, so that the command line reads PRESETS at once

    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    return UNet(**PRESETS[preset].network | changes)
