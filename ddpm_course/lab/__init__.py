"""What only the notebooks use: figures, panels, example data, planted faults and probes."""

from ddpm_course.lab.example_data import example_data, example_images, example_split
from ddpm_course.lab.explorer import static_explorer
from ddpm_course.lab.faults import Change
from ddpm_course.lab.figures import (
    COLOURS,
    bars,
    clouds,
    course_map,
    heatmap,
    histograms,
    image_rows,
    intervals,
    lines,
    schedule_curves,
    show,
    show_animation,
)
from ddpm_course.lab.panels import (
    embedding_explorer,
    posterior_explorer,
    schedule_explorer,
    trajectory_slider,
)
from ddpm_course.lab.records import recorded
from ddpm_course.lab.sampling_panels import GuidancePanel, SamplingPanel, level_explorer

__all__ = [
    "COLOURS", "Change", "GuidancePanel", "SamplingPanel", "bars", "clouds", "course_map",
    "embedding_explorer", "example_data", "example_images", "example_split", "heatmap",
    "histograms", "image_rows", "intervals", "level_explorer", "lines", "posterior_explorer",
    "recorded", "schedule_curves", "schedule_explorer", "show", "show_animation",
    "static_explorer", "trajectory_slider",
]  # fmt: skip
