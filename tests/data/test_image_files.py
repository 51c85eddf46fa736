"""Image files: which ones of a folder are read, and what Pillow would get wrong or fail on."""

import struct
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ddpm_course.data.image_files import (
    bytes_of,
    image_of,
    images_below,
    is_image,
    left_out,
    open_image,
    size_of,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def red_and_blue():
    """Red at the left, blue at the right."""
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 16))
    return image


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# ---- one file


def test_bytes_come_back():
    image = torch.randint(256, (3, 4, 5), dtype=torch.uint8)
    assert torch.equal(bytes_of(image_of(image)), image)
    assert image_of(image).size == (5, 4)


def test_transparent_pixels_come_on_white(tmp_path):
    image = Image.new("RGBA", (3, 1), (200, 0, 100, 255))
    image.putpixel((1, 0), (200, 0, 100, 51))  # a fifth
    image.putpixel((2, 0), (200, 0, 100, 0))
    image.save(tmp_path / "a.png")
    pixels = bytes_of(open_image(tmp_path / "a.png", "retry")).permute(1, 2, 0)
    assert pixels.tolist() == [[[200, 0, 100], [244, 204, 224], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (9, 9), "white").convert(mode).save(path)
    assert bytes_of(open_image(path, "retry")).min() >= 253


@pytest.mark.parametrize(("mode", "suffix"), [("I;16", "png"), ("I", "tiff"), ("F", "tiff")])
def test_more_than_eight_bits_are_refused_not_cut_off(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(ValueError, match=r"\(its pixels are .*8 bits per channel\): retry\.$"):
        open_image(path, "retry")


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_images_are_turned_upright_before_they_are_cropped(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    red_and_blue().save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as stored:
        expected = ImageOps.exif_transpose(stored).convert("RGB")
    shown = []
    found = open_image(
        tmp_path / f"a.{suffix}", "retry", lambda image: shown.append(image) or image
    )
    assert shown[0].size == found.size == expected.size
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("tag", "kind", "count", "turned"),
    [
        (282, 2, 3, True),  # XResolution as the text "72"
        (296, 2, 3, True),
        (0x8769, 2, 3, True),  # text where a table of more tags should be
        (0x8825, 4, 1, True),  # one that lies outside the file
        (0x927C, 7, 2**31, True),  # a note of 2 GB
        (700, 13, 5, True),
        (274, 2, 3, False),  # the orientation itself as text
        (274, 0, 1, False),
    ],
)
def test_damaged_metadata_do_not_matter(tmp_path, tag, kind, count, turned):
    entries = {274: (3, 1, struct.pack("<HH", 6, 0)), tag: (kind, count, b"72\0\0")}
    table = [struct.pack("<HHI", t, *entries[t][:2]) + entries[t][2] for t in sorted(entries)]
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(table)) + b"".join(table) + bytes(4)
    red_and_blue().save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = open_image(tmp_path / "a.jpg", "retry")
    assert image.size == ((16, 32) if turned else (32, 16))
    red, _, blue = image.getpixel((0, 0))
    assert red > 240 > 20 > blue


@pytest.mark.parametrize("exif", [b"II", b"no TIFF at all", b"II*\0\xff\xff\xff\xff"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_metadata_that_cannot_be_read_turn_nothing(tmp_path, name, exif):
    red_and_blue().save(tmp_path / name, exif=b"Exif\0\0" + exif)
    assert open_image(tmp_path / name, "retry").size == (32, 16)


def test_the_size_is_known_without_decoding(tmp_path):
    Image.effect_noise((60, 40), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    assert size_of(tmp_path / "a.png", "retry") == (40, 60)
    with pytest.raises(ValueError, match=r"a\.png cannot be read \(.*\): retry\.$"):
        open_image(tmp_path / "a.png", "retry")


@pytest.mark.parametrize("written", ["dds", "gif", "jpeg", "png", "tiff", "webp", "icns"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_damaged_image_of_any_kind_is_named_in_a_sentence(tmp_path, written, suffix):
    red_and_blue().save(tmp_path / "whole", written)
    whole, path = (tmp_path / "whole").read_bytes(), tmp_path / f"a{suffix}"
    for content in (b"", b"<html>", whole[:30], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"^The image .*/a\..* cannot be read \(.+\): retry\.$"
        ):
            open_image(path, "retry")


def test_any_exception_of_a_decoder_is_a_sentence(tmp_path, monkeypatch):
    red_and_blue().save(tmp_path / "a.png")

    def fail(image):
        raise AssertionError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=r"a\.png cannot be read \(AssertionError\): retry\.$"):
        open_image(tmp_path / "a.png", "retry")


def test_a_large_image_gives_no_warning_of_pillows(tmp_path, monkeypatch):
    Image.new("1", (30, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert size_of(tmp_path / "a.png", "retry") == (10, 30)
        assert not bytes_of(open_image(tmp_path / "a.png", "retry")).any()


# ---- a folder


@pytest.mark.parametrize(
    "name",
    [
        "._a.jpg", ".a.jpg", ".ipynb_checkpoints/a.png", ".thumbnails/a.png", ".Trash-1000/a.jpg",
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._a.jpg", "__MACOSX/b/a.jpg",
        "#recycle/a.jpg", "$RECYCLE.BIN/a.jpg", "System Volume Information/a.jpg",
        "lost+found/a.jpg", "sub/.git/a.jpg", "Thumbs.db", "sub/desktop.ini", ".DS_Store",
    ],
)  # fmt: skip
def test_hidden_and_system_files_are_neither_images_nor_left_out(tmp_path, name):
    touch(tmp_path, "a.jpg", name)
    assert images_below(tmp_path) == [tmp_path / "a.jpg"]
    assert left_out(tmp_path) == ""


def test_only_what_lies_below_the_folder_can_hide_a_file(tmp_path):
    touch(tmp_path, ".photos/a.jpg", ".photos/notes.txt")
    assert images_below(tmp_path / ".photos") == [tmp_path / ".photos" / "a.jpg"]
    assert left_out(tmp_path / ".photos") == "1 .txt"
    assert is_image(tmp_path / ".photos" / "a.jpg")
    own = ("#1.jpg", "$5.jpg", "@me/a.jpg", "_a.jpg", "__init__.jpg", "a..jpg")
    touch(tmp_path / "own", *own)
    assert images_below(tmp_path / "own") == sorted(tmp_path / "own" / name for name in own)


def test_linked_folders_are_read_once_and_loops_end(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root, "a.jpg", "sub/b.jpg")
    touch(elsewhere, "c.jpg", "notes.txt")
    for link, target in {"up": root, "x": elsewhere, "y": elsewhere, "sub/x": elsewhere}.items():
        (root / link).symlink_to(target)
    (elsewhere / "back").symlink_to(root)
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    (root / "itself.jpg").symlink_to("itself.jpg")
    found = [str(path.relative_to(root)) for path in images_below(root)]
    assert found == ["a.jpg", "sub/b.jpg", "sub/x/c.jpg"]
    assert left_out(root) == "1 .txt"


def test_files_of_other_kinds_are_counted(tmp_path):
    touch(tmp_path, "a.HEIC", "sub/b.heic", "notes", "c.jpg", "D.PNG")
    assert left_out(tmp_path) == "2 .heic, 1 without a suffix"
    touch(tmp_path, *(f"many.{kind}" for kind in "abcdef"))
    assert left_out(tmp_path) == "2 .heic, 1 .a, 1 .b, 1 .c, 1 .d, 3 of other kinds"
