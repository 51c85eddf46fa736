"""Reading pictures: what Pillow would get silently wrong is put right or refused."""

import warnings

import pytest
import torch
from PIL import Image

from ddpm_course.data.image_files import bytes_of, left_out, open_picture, size_of


def test_transparent_pixels_are_seen_on_white(tmp_path):
    picture = Image.new("RGBA", (3, 1), (200, 0, 100, 255))
    picture.putpixel((1, 0), (200, 0, 100, 51))  # a fifth
    picture.putpixel((2, 0), (200, 0, 100, 0))
    picture.save(tmp_path / "a.png")
    seen = bytes_of(open_picture(tmp_path / "a.png", "mend")).permute(1, 2, 0)
    assert seen.tolist() == [[[200, 0, 100], [244, 204, 224], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "suffix"), [("I;16", "png"), ("I", "tiff"), ("F", "tiff")])
def test_more_than_eight_bits_are_refused_not_cut_off(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(ValueError, match=r"\(its pixels are of kind .*8 bits a channel\): mend\.$"):
        open_picture(path, "mend")


def test_a_picture_is_turned_upright_before_it_is_cut(tmp_path):
    """EXIF orientation 6: to be turned clockwise by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 1), (255, 0, 0))  # goes to the top left
    picture.save(tmp_path / "a.png", exif=exif)
    upright = open_picture(tmp_path / "a.png", "mend", lambda p: p.crop((0, 0, 1, 1)))
    assert upright.getpixel((0, 0)) == (255, 0, 0)
    assert open_picture(tmp_path / "a.png", "mend").size == (2, 4)


def test_the_size_is_known_without_decoding(tmp_path):
    Image.effect_noise((60, 40), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    assert size_of(tmp_path / "a.png", "mend") == (40, 60)
    with pytest.raises(ValueError, match=r"a\.png cannot be read \(.*\): mend\.$"):
        open_picture(tmp_path / "a.png", "mend")


def test_a_large_picture_is_told_of_by_us_alone(tmp_path, monkeypatch):
    Image.new("1", (30, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert size_of(tmp_path / "a.png", "mend") == (10, 30)
    assert torch.equal(
        bytes_of(open_picture(tmp_path / "a.png", "mend")), torch.zeros(3, 10, 30).byte()
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
