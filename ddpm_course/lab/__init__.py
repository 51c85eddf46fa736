"""What only the notebooks use: figures, panels, example data, planted faults and probes."""

from ddpm_course.lab.architecture import unet_drawing
from ddpm_course.lab.example_data import (
    example_data,
    example_flower,
    example_images,
    example_split,
)
from ddpm_course.lab.faults import Change
from ddpm_course.lab.figures import (
    bars,
    clouds,
    figure,
    heatmap,
    histograms,
    image_rows,
    intervals,
    label_lines,
    lines,
    point_out,
    schedule_curves,
    show,
    show_animation,
)
from ddpm_course.lab.live import watch
from ddpm_course.lab.panels import (
    embedding_explorer,
    posterior_explorer,
    schedule_explorer,
    scrubber,
)
from ddpm_course.lab.records import recorded
from ddpm_course.lab.sampling_panels import GuidancePanel, SamplingPanel
from ddpm_course.lab.style import COLOURS, INK, NAMES

__all__ = [
    "COLOURS", "INK", "NAMES", "Change", "GuidancePanel", "SamplingPanel", "bars",
    "clouds", "embedding_explorer", "example_data", "example_flower",
    "example_images", "example_split", "figure", "heatmap", "histograms", "image_rows",
    "intervals", "label_lines", "lines", "point_out", "posterior_explorer", "recorded",
    "schedule_curves", "schedule_explorer", "scrubber", "show", "show_animation", "unet_drawing",
    "watch",
]  # fmt: skip
