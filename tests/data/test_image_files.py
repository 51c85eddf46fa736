"""Image files: what Pillow would silently get wrong is corrected or refused."""

import warnings

import pytest
import torch
from PIL import Image

from ddpm_course.data.image_files import bytes_of, left_out, open_picture, size_of


def test_transparent_pixels_come_on_white(tmp_path):
    image = Image.new("RGBA", (3, 1), (200, 0, 100, 255))
    image.putpixel((1, 0), (200, 0, 100, 51))  # a fifth
    image.putpixel((2, 0), (200, 0, 100, 0))
    image.save(tmp_path / "a.png")
    pixels = bytes_of(open_picture(tmp_path / "a.png", "retry")).permute(1, 2, 0)
    assert pixels.tolist() == [[[200, 0, 100], [244, 204, 224], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "suffix"), [("I;16", "png"), ("I", "tiff"), ("F", "tiff")])
def test_more_than_eight_bits_are_refused_not_cut_off(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(ValueError, match=r"\(its pixels are .*8 bits per channel\): retry\.$"):
        open_picture(path, "retry")


def test_an_image_is_turned_upright_before_it_is_cropped(tmp_path):
    """EXIF orientation 6: to be turned clockwise by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 1), (255, 0, 0))  # goes to the top left
    image.save(tmp_path / "a.png", exif=exif)
    upright = open_picture(tmp_path / "a.png", "retry", lambda p: p.crop((0, 0, 1, 1)))
    assert upright.getpixel((0, 0)) == (255, 0, 0)
    assert open_picture(tmp_path / "a.png", "retry").size == (2, 4)


def test_the_size_is_known_without_decoding(tmp_path):
    Image.effect_noise((60, 40), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    assert size_of(tmp_path / "a.png", "retry") == (40, 60)
    with pytest.raises(ValueError, match=r"a\.png cannot be read \(.*\): retry\.$"):
        open_picture(tmp_path / "a.png", "retry")


def test_a_large_image_gives_no_warning_of_pillows(tmp_path, monkeypatch):
    Image.new("1", (30, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert size_of(tmp_path / "a.png", "retry") == (10, 30)
    assert torch.equal(
        bytes_of(open_picture(tmp_path / "a.png", "retry")), torch.zeros(3, 10, 30).byte()
    )


def test_files_of_other_kinds_are_counted_hidden_ones_are_not(tmp_path):
    names = ("a.HEIC", "sub/b.heic", "notes", "c.jpg", "D.PNG", ".DS_Store", ".git/config.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert left_out(tmp_path) == "2 .heic, 1 without a suffix"
    for kind in "abcdef":
        (tmp_path / f"many.{kind}").touch()
    assert left_out(tmp_path) == "2 .heic, 1 .a, 1 .b, 1 .c, 1 .d, 3 of other kinds"
    assert left_out(tmp_path / ".git") == "1 .txt"
