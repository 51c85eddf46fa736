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
    return np.asarray(figures._rendered(figure))


def png(image):
    return Image.open(io.BytesIO(image.data))


def pictures(n, size=8):
    return torch.linspace(-1, 1, n * 3 * size * size).view(n, 3, size, size)


@pytest.mark.parametrize("titles", [None, ["a", "b"]])
def test_image_rows_show_every_pixel_as_a_square(titles):
    rows = {"one": pictures(2), "two": -pictures(2)}
    drawn = pixels(figures.image_rows(rows, titles, scale=4))
    top, gap, left = (24 if titles else 2), 6, 12 + 10 * 3
    for r, images in enumerate(rows.values()):
        for c, image in enumerate(to_uint8(images).permute(0, 2, 3, 1).numpy()):
            y, x = top + r * (32 + gap), left + c * (32 + gap)
            seen = drawn[y + 2 : y + 32 : 4, x + 2 : x + 32 : 4]
            assert np.abs(seen.astype(int) - image).max() <= 1


def test_images_are_128_pixels_wide_unless_told_otherwise():
    small = pixels(figures.image_rows({"": pictures(1, 32)}))
    assert small.shape[:2] == (2 + 128 + 6, 12 + 128 + 6)


def test_show_keeps_the_picture_and_its_text_in_256_colours(displayed):
    figure = figures.image_rows({"": pictures(3)})
    figures.show(figure, alt="Three pictures, from dark to light.")
    [image] = displayed
    assert image.alt == "Three pictures, from dark to light."
    assert png(image).mode == "P"
    assert np.abs(np.asarray(png(image).convert("RGB")).astype(int) - pixels(figure)).mean() < 3


def test_an_animation_has_all_frames_and_rests_at_the_last(displayed):
    frames = [figures.image_rows({"": pictures(1) * k / 5}) for k in range(6)]
    figures.show_animation(frames, alt="A picture that gains contrast.", milliseconds=70)
    figures.show_animation([Image.new("RGB", (9, 9), c) for c in ("red", "blue")], alt="Colours.")
    film = png(displayed[0])
    assert film.n_frames == 6
    assert film.info["loop"] == 0
    times = []
    for k, frame in enumerate(frames):
        film.seek(k)
        times.append(film.info["duration"])
        assert np.abs(np.asarray(film.convert("RGB")).astype(int) - pixels(frame)).mean() < 16
    assert times == [70] * 5 + [2500]
    colours = png(displayed[1])
    assert colours.convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def test_lines_show_their_values_and_name_only_what_is_to_be_named():
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
    scaled = figures.lines({"": {"_a": ([1, 10, 100], [1, 2, 3])}}, xscale="log").axes[0]
    assert [label.get_text() for label in scaled.get_xticklabels()] == ["1", "10", "100"]


def test_schedule_curves_are_those_of_the_schedules():
    schedules = {"linear": linear_schedule(50), "cosine": cosine_schedule(20)}
    left, right = figures.schedule_curves(schedules).axes
    for line, log, (name, schedule) in zip(left.lines, right.lines, schedules.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_ydata(), schedule.alphas_cumprod)
        np.testing.assert_allclose(log.get_ydata(), schedule.log_snr[1:])
        assert line.get_xdata()[-1] == 1


def test_histograms_clouds_heatmap_and_bars_hold_the_data():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    axes = figures.histograms({"a": values, "b": 0 * values}, ["red", "blue"]).axes
    heights = np.array([bar.get_height() for bar in axes[0].patches])
    counts, _ = np.histogram(values.numpy(), np.linspace(-3, 3, 61), density=True)
    np.testing.assert_allclose(heights, counts)

    points = torch.tensor([[0.0, 1.0], [-2.0, 0.5]])
    [cloud] = figures.clouds({"data": points}, ["red"]).axes
    assert cloud.collections[0].get_offsets().tolist() == points.tolist()
    assert cloud.get_xlim() == (-2.5, 2.5)

    matrix = torch.tensor([[1.0, -4.0], [0.0, 2.0]])
    shown = figures.heatmap(matrix, "title", "x", "y").axes[0]
    assert shown.images[0].get_array().tolist() == matrix.tolist()
    assert shown.images[0].get_clim() == (-4, 4)  # 0 is white

    bars = figures.bars({"a": 1.5, "b": 20.0}, "sizes", "M").axes[0]
    assert [bar.get_width() for bar in bars.patches] == [1.5, 20.0]
    assert [text.get_text() for text in bars.texts] == ["1.5 M", "20 M"]


def test_the_course_map_has_every_notebook_with_its_hours():
    figure = figures.course_map({"00 start": 0.2, "01 noise": 1.5, "02 net": 2})
    told = [text.get_text() for text in figure.axes[0].texts]
    assert told == ["00\nstart\n0.2 h", "01\nnoise\n1.5 h", "02\nnet\n2 h"]


def test_a_drawing_puts_its_points_where_they_belong():
    curve = ([0, 5, 10], [-1, 0, 9], "red")
    svg = drawing([Axes("a < b", [curve], (0, 10), (-1, 1), mark=(5, 0, "blue"))], "said & done")
    right, bottom = WIDTH - MARGIN, 190 - MARGIN
    assert f'points="{MARGIN}.0,{bottom}.0 {WIDTH / 2},95.0 {right}.0,{MARGIN}.0"' in svg
    assert f'<circle cx="{WIDTH / 2}" cy="95.0"' in svg
    assert "a &lt; b" in svg
    assert 'aria-label="said &amp; done"' in svg
    assert ">0<" in svg
    assert ">10<" in svg
    named = Axes("", [curve], (0, 10), (-1, 1), x_names=("early", "late"))
    assert all(f">{name}<" in drawing([named, named], "") for name in ("early", "late"))
