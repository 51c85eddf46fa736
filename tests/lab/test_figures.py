"""Figures show the numbers they were given."""

import io
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from ddpm_course.data.images import to_uint8
from ddpm_course.lab import figures
from ddpm_course.lab.style import COLOURS, INK
from ddpm_course.schedules import cosine_schedule, linear_schedule


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", shown.append)
    return shown


def pixels(figure, dpi=100):
    return np.asarray(figures.rendered(figure, dpi)).astype(int)


def png(displayed_image):
    return Image.open(io.BytesIO(displayed_image.data))


def images(n, size=8):
    return torch.linspace(-1, 1, n * 3 * size * size).view(n, 3, size, size)


def luminance(colour):
    linear = np.array([(c + 0.055) ** 2.4 / 1.055**2.4 for c in to_rgb(colour)])  # all above 0.04
    return linear @ [0.2126, 0.7152, 0.0722]


def test_colours_are_readable_on_white_and_on_a_dark_page():
    """As WCAG asks of graphics; text comes as close to its 4.5 as any colour can on both."""
    for colour, least in [*((colour, 3) for colour in COLOURS.values()), (INK, 4.3)]:
        light, dark = luminance(colour) + 0.05, luminance("#111111") + 0.05
        assert 1.05 / light >= least, colour
        assert light / dark >= least, colour


# What eyes see that lack one kind of cone, in linear RGB (Machado, Oliveira & Fernandes 2009).
VISION = {
    "usual": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TOGETHER = ["x0 x_t noise prediction floor", "linear cosine sigmoid", "ddpm ddim dpm_solver_pp_2m"]


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("names", TOGETHER)
def test_colours_that_meet_in_a_figure_differ_for_every_eye(names, vision):
    linear = {name: np.array(to_rgb(COLOURS[name])) ** 2.2 for name in names.split()}
    seen = {name: (VISION[vision] @ rgb).clip(0, 1) ** (1 / 2.2) for name, rgb in linear.items()}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 0.1, (one, other)


@pytest.mark.parametrize("titles", [None, ["a", "b"]])
def test_image_rows_show_every_pixel_as_a_square(titles):
    rows = {"": images(2), " ": -images(2)}
    drawn = pixels(figures.image_rows(rows, titles, scale=4))[..., :3]
    top, gap, left = (26 if titles else 2), 6, drawn.shape[1] - 2 * 38
    for r, row in enumerate(rows.values()):
        for c, image in enumerate(to_uint8(row).permute(0, 2, 3, 1).numpy()):
            y, x = top + r * (32 + gap), left + c * (32 + gap)
            centres = drawn[y + 2 : y + 32 : 4, x + 2 : x + 32 : 4]
            assert np.abs(centres - image).max() <= 1


def test_images_are_at_least_128_pixels_wide_by_default():
    for size, tile in ((32, 128), (24, 144)):
        drawn = pixels(figures.image_rows({"": images(1, size)}))
        assert drawn.shape[:2] == (2 + tile + 6, 12 + tile + 6)


def test_numbers_stand_on_their_images():
    numbers = {"b": ["12 dB", "9 dB"]}
    axes = figures.image_rows({"a": images(2), "b": images(2)}, numbers=numbers).axes
    written = [[text.get_text() for text in axis.texts] for axis in axes]
    assert written == [[], [], ["12 dB"], ["9 dB"]]


def test_show_keeps_text_size_ground_and_pixels_in_256_colours(displayed):
    figure = figures.image_rows({"": images(3)}, headline="From dark to light")
    figures.show(figure, alt="Three images, from dark to light.")
    [shown] = displayed
    assert shown.alt == "Three images, from dark to light."
    assert shown.width == png(shown).width // 2 == 12 + 3 * 134
    assert png(shown).mode == "P"
    stored = np.asarray(png(shown).convert("RGBA")).astype(int)
    assert stored[-1, -1, 3] == 0
    assert np.abs(stored - pixels(figure, 200))[stored[..., 3] > 0].mean() < 3


def test_an_animation_has_all_frames_and_pauses_at_the_last(displayed):
    frames = [figures.image_rows({"": images(1) * k / 5}) for k in range(6)]
    figures.show_animation(frames, alt="An image that gains contrast.", milliseconds=70)
    film, durations = png(displayed[0]), []
    assert film.n_frames == 6
    assert film.info["loop"] == 0
    for k, frame in enumerate(frames):
        film.seek(k)
        durations.append(film.info["duration"])
        assert np.abs(np.asarray(film.convert("RGBA")) - pixels(frame)).mean() < 3
    assert durations == [70] * 5 + [2500]


def test_an_animation_can_be_made_of_images_of_several_widths(displayed):
    frames = [Image.new("RGB", (width, 9), colour) for width, colour in ((9, "red"), (6, "blue"))]
    figures.show_animation(frames, alt="Red, then blue.")
    film = png(displayed[0])
    assert film.convert("RGBA").getpixel((0, 4)) == (255, 0, 0, 255)
    film.seek(1)
    assert film.convert("RGBA").getpixel((8, 4)) == (0, 0, 255, 255)
    assert film.convert("RGBA").getpixel((0, 4))[3] == 0


def names_of(axis):
    return [text.get_text() for text in axis.texts]


def test_lines_show_their_values_and_hide_labels_with_an_underscore():
    left = {"a": ([0, 1, 2], [3, 1, 2]), "_b": ([0, 2], [1, 1])}
    panels = {"left": left, "right": {"_a": ([1, 4], [2, 2])}}
    figure = figures.lines(panels, xlabel="t", colours={"a": "#123456"}, ylim=(0, 5))
    left, right = figure.axes
    assert [axis.get_title("left") for axis in figure.axes] == ["left", "right"]
    assert left.get_xlabel() == "t"
    assert left.get_ylim() == (0, 5)
    assert left.lines[0].get_xydata().tolist() == [[0, 3], [1, 1], [2, 2]]
    assert left.lines[0].get_color() == right.lines[0].get_color() == "#123456"
    assert (names_of(left), names_of(right)) == (["a"], [])


def test_a_label_decides_colour_and_spelling():
    [axis] = figures.lines({"": {"dpm_solver_pp_2m": ([0, 1], [0, 1])}}).axes
    assert axis.lines[0].get_color() == axis.texts[0].get_color() == COLOURS["dpm_solver_pp_2m"]
    assert names_of(axis) == ["DPM-Solver++"]


def test_labels_at_one_end_move_apart_and_stay_inside():
    curves = {name: ([0, 1], [1, end]) for name, end in (("a", 0), ("b", 0), ("c", -9))}
    [axis] = figures.lines({"": curves}, ylim=(0, 1)).axes
    ends = [text.xy for text in axis.texts]
    assert ends == [(1, 0)] * 3
    heights = sorted(text.xyann[1] for text in axis.texts)
    assert heights[0] >= 5
    assert np.diff(heights).min() > 13


def test_labels_can_stand_above_the_peaks():
    curve = ([0, 1, 2], [0, 3, 1])
    [axis] = figures.lines({"": {"a": curve}}, labels="peak").axes
    assert axis.texts[0].xy == (1, 3)
    assert axis.texts[0].get_verticalalignment() == "bottom"


def test_a_point_is_ringed_and_its_conclusion_beside_it():
    _, axis = figures.figure(3, 3)
    figures.point_out(axis, "half is left", (2, 0.5), offset=(-20, 10))
    assert axis.lines[-1].get_xydata().tolist() == [[2, 0.5]]
    assert (names_of(axis), axis.texts[0].get_ha()) == (["half is left"], "right")


def test_a_logarithmic_axis_has_whole_numbers():
    [axis] = figures.lines({"": {"_a": ([1, 10, 100], [1, 2, 3])}}, xscale="log").axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "10", "100"]


def test_schedule_curves_are_those_of_the_schedules():
    schedules = {"linear": linear_schedule(50), "cosine": cosine_schedule(20)}
    left, right = figures.schedule_curves(schedules).axes
    for line, log, (name, schedule) in zip(left.lines, right.lines, schedules.items(), strict=True):
        assert line.get_color() == log.get_color() == COLOURS[name]
        np.testing.assert_allclose(line.get_ydata(), schedule.alphas_cumprod)
        np.testing.assert_allclose(log.get_ydata(), schedule.log_snr[1:])
        assert line.get_xdata()[-1] == 1
    assert names_of(right) == ["linear", "cosine"]


def test_histograms_count_the_values():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    axes = figures.histograms({"a": values, "b": 0 * values}, ["red", "blue"]).axes
    counts, _ = np.histogram(values.numpy(), np.linspace(-3, 3, 61), density=True)
    np.testing.assert_allclose([bar.get_height() for bar in axes[0].patches], counts)


def test_clouds_hold_their_points_and_a_ghost_behind_them():
    points, ghost = torch.tensor([[0.0, 1.0], [-2.0, 0.5]]), torch.ones(3, 2)
    [axis] = figures.clouds({"data": points}, ["red"], ghost=ghost).axes
    held = [collection.get_offsets().tolist() for collection in axis.collections]
    assert held == [ghost.tolist(), points.tolist()]
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
    assert axis.get_title("left") == "kernel distance"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["real", "ours"]
    _, ours = axis.containers
    assert ours[0].get_xydata().tolist() == [[2, 1]]
    assert ours[2][0].get_segments()[0].tolist() == [[1.75, 1], [2.25, 1]]
    assert axis.lines[-1].get_xdata() == [0.5, 0.5]
