"""Figures show the numbers they were given."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_course.data.images import to_uint8
from ddpm_course.lab import figures
from ddpm_course.lab.svg import MARGIN, WIDTH, Axes, drawing
from ddpm_course.schedules import cosine_schedule, linear_schedule


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    return shown


def pixels(figure):
    return np.asarray(figures._rendered(figure)).astype(int)


def png(displayed_image):
    return Image.open(io.BytesIO(displayed_image.data))


def images(n, size=8):
    return torch.linspace(-1, 1, n * 3 * size * size).view(n, 3, size, size)


@pytest.mark.parametrize("titles", [None, ["a", "b"]])
def test_image_rows_show_every_pixel_as_a_square(titles):
    rows = {"one": images(2), "two": -images(2)}
    drawn = pixels(figures.image_rows(rows, titles, scale=4))
    top, gap, left = (24 if titles else 2), 6, 12 + 10 * 3
    for r, row in enumerate(rows.values()):
        for c, image in enumerate(to_uint8(row).permute(0, 2, 3, 1).numpy()):
            y, x = top + r * (32 + gap), left + c * (32 + gap)
            centres = drawn[y + 2 : y + 32 : 4, x + 2 : x + 32 : 4]
            assert np.abs(centres - image).max() <= 1


def test_images_are_128_pixels_wide_by_default():
    drawn = pixels(figures.image_rows({"": images(1, 32)}))
    assert drawn.shape[:2] == (2 + 128 + 6, 12 + 128 + 6)


def test_show_keeps_alternative_text_and_pixels_in_256_colours(displayed):
    figure = figures.image_rows({"": images(3)})
    figures.show(figure, alt="Three images, from dark to light.")
    [shown] = displayed
    assert shown.alt == "Three images, from dark to light."
    assert png(shown).mode == "P"
    assert np.abs(np.asarray(png(shown).convert("RGB")) - pixels(figure)).mean() < 3


def test_an_animation_has_all_frames_and_pauses_at_the_last(displayed):
    frames = [figures.image_rows({"": images(1) * k / 5}) for k in range(6)]
    figures.show_animation(frames, alt="An image that gains contrast.", milliseconds=70)
    film, durations = png(displayed[0]), []
    assert film.n_frames == 6
    assert film.info["loop"] == 0
    for k, frame in enumerate(frames):
        film.seek(k)
        durations.append(film.info["duration"])
        assert np.abs(np.asarray(film.convert("RGB")) - pixels(frame)).mean() < 16
    assert durations == [70] * 5 + [2500]


def test_an_animation_can_be_made_of_images(displayed):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    figures.show_animation(frames, alt="Red, then blue.")
    assert png(displayed[0]).convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def test_lines_show_their_values_and_hide_labels_with_an_underscore():
    left = {"a": ([0, 1, 2], [3, 1, 2]), "_b": ([0, 2], [1, 1])}
    panels = {"left": left, "right": {"_a": ([1, 4], [2, 2])}}
    figure = figures.lines(panels, xlabel="t", colours={"a": "#123456"}, ylim=(0, 5))
    left, right = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["left", "right"]
    assert left.get_xlabel() == "t"
    assert left.get_ylim() == (0, 5)
    assert left.lines[0].get_xydata().tolist() == [[0, 3], [1, 1], [2, 2]]
    assert left.lines[0].get_color() == right.lines[0].get_color() == "#123456"
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["a"]
    assert right.get_legend() is None


def test_a_logarithmic_axis_has_whole_numbers():
    [axis] = figures.lines({"": {"_a": ([1, 10, 100], [1, 2, 3])}}, xscale="log").axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "10", "100"]


def test_schedule_curves_are_those_of_the_schedules():
    schedules = {"linear": linear_schedule(50), "cosine": cosine_schedule(20)}
    left, right = figures.schedule_curves(schedules).axes
    for line, log, (name, schedule) in zip(left.lines, right.lines, schedules.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_ydata(), schedule.alphas_cumprod)
        np.testing.assert_allclose(log.get_ydata(), schedule.log_snr[1:])
        assert line.get_xdata()[-1] == 1


def test_histograms_count_the_values():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    axes = figures.histograms({"a": values, "b": 0 * values}, ["red", "blue"]).axes
    counts, _ = np.histogram(values.numpy(), np.linspace(-3, 3, 61), density=True)
    np.testing.assert_allclose([bar.get_height() for bar in axes[0].patches], counts)


def test_clouds_hold_their_points():
    points = torch.tensor([[0.0, 1.0], [-2.0, 0.5]])
    [axis] = figures.clouds({"data": points}, ["red"]).axes
    assert axis.collections[0].get_offsets().tolist() == points.tolist()
    assert axis.get_xlim() == (-2.5, 2.5)


def test_a_heatmap_is_white_at_0():
    matrix = torch.tensor([[1.0, -4.0], [0.0, 2.0]])
    [image] = figures.heatmap(matrix, "title", "x", "y").axes[0].images
    assert image.get_array().tolist() == matrix.tolist()
    assert image.get_clim() == (-4, 4)


def test_bars_have_lengths_and_labels():
    axis = figures.bars({"a": 1.5, "b": 20.0}, "sizes", "M").axes[0]
    assert [bar.get_width() for bar in axis.patches] == [1.5, 20.0]
    assert [text.get_text() for text in axis.texts] == ["1.5 M", "20 M"]


def test_intervals_show_mean_and_spread_and_mark_real_images():
    rows = {
        "real": {"kernel": {"mean": 0.5, "std": None}},
        "ours": {"kernel": {"mean": 2.0, "std": 0.25}},
    }
    [axis] = figures.intervals(rows, ["kernel"]).axes
    assert axis.get_title() == "kernel distance"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["real", "ours"]
    _, ours = axis.containers
    assert ours[0].get_xydata().tolist() == [[2, 1]]
    assert ours[2][0].get_segments()[0].tolist() == [[1.75, 1], [2.25, 1]]
    assert axis.lines[-1].get_xdata() == [0.5, 0.5]


def test_the_course_map_has_every_notebook_with_its_hours():
    figure = figures.course_map({"00 start": 0.2, "01 noise": 1.5, "02 net": 2})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["00\nstart\n0.2 h", "01\nnoise\n1.5 h", "02\nnet\n2 h"]


def test_a_drawing_puts_its_points_where_they_belong():
    curve = ([0, 5, 10], [-1, 0, 9], "red")
    svg = drawing([Axes("a < b", [curve], (0, 10), (-1, 1), mark=(5, 0, "blue"))], "this & that")
    right, bottom = WIDTH - MARGIN, 190 - MARGIN
    assert f'points="{MARGIN}.0,{bottom}.0 {WIDTH / 2},95.0 {right}.0,{MARGIN}.0"' in svg
    assert f'<circle cx="{WIDTH / 2}" cy="95.0"' in svg
    for text in ("a &lt; b", 'aria-label="this &amp; that"', ">0<", ">10<"):
        assert text in svg
    named = Axes("", [curve], (0, 10), (-1, 1), x_names=("early", "late"))
    assert all(f">{name}<" in drawing([named, named], "") for name in ("early", "late"))
