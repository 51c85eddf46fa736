import os
import shutil
import sys

import pytest
import torch
from PIL import Image

from ddpm_course.data.datasets import held_out, load_data
from ddpm_course.data.flowers102 import download_flowers102, flowers102
from ddpm_course.data.folder import whole_folder
from ddpm_course.data.images import to_uint8, to_unit
from ddpm_course.data.synthetic import SPECIES, synthetic_flowers
from ddpm_course.lab.example_data import example_flower, example_images

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


# ---- numbers


def test_every_byte_survives_the_way_to_floats_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(levels)
    assert unit.dtype == torch.float32
    assert (unit.min(), unit.max()) == (-1, 1)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_uint8(unit.to(dtype)), levels)


def test_values_out_of_range_are_clipped():
    x = torch.tensor([-9.0, -1.001, 0.0, 1.001, 9.0])
    assert to_uint8(x).tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(x).dtype == torch.uint8


# ---- procedural flowers


@pytest.mark.parametrize("size", [8, 11, 32])
def test_synthetic_flowers_are_bytes_with_labels(size):
    images, labels = synthetic_flowers(6, size)
    assert (images.dtype, images.shape) == (torch.uint8, (6, 3, size, size))
    assert (labels.dtype, labels.shape) == (torch.int64, (6,))
    assert 0 <= labels.min() <= labels.max() < len(SPECIES)


def test_a_synthetic_flower_depends_on_its_seed_and_number_alone():
    few, many, other = (synthetic_flowers(n, 16, seed) for n, seed in ((2, 3), (5, 3), (5, 4)))
    for a, b in zip(few, many, strict=True):
        assert torch.equal(a, b[:2])
    assert not (many[0] == other[0]).flatten(1).all(1).any()


def test_synthetic_flowers_vary_in_species_shape_and_colour():
    images, labels = synthetic_flowers(100, 16)
    assert labels.unique().tolist() == list(range(len(SPECIES)))
    assert (images.float().std(0).mean((1, 2)) > 25).all()
    assert images.float().mean((2, 3)).std(0).min() > 10


@pytest.mark.parametrize(("n", "size"), [(0, 16), (-1, 16), (1, 7), (1, 0)])
def test_no_flowers_and_tiny_ones_are_refused(n, size):
    with pytest.raises(ValueError, match="at least 1 of 8"):
        synthetic_flowers(n, size)


# ---- a folder of images


def paint(path, colour, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), colour).save(path, **options)


def colours(loaded):
    """The middle pixel of every image."""
    n = loaded.images.shape[-1] // 2
    return [tuple(image[:, n, n].tolist()) for image in loaded.images]


@pytest.mark.parametrize("size", [(90, 30), (30, 90)])
def test_the_middle_square_is_kept(tmp_path, size):
    image, (left, top) = Image.new("RGB", size, RED), ((length - 30) // 2 for length in size)
    image.paste(GREEN, (left, top, left + 30, top + 30))
    image.save(tmp_path / "a.png")
    [image] = whole_folder(tmp_path, 30).images
    assert (image == torch.tensor(GREEN)[:, None, None]).all()


def test_images_are_found_in_all_subfolders_and_sorted_by_name(tmp_path):
    for name, colour in (("c.PNG", BLUE), ("b/deep/x.webp", GREEN), ("a.bmp", RED)):
        paint(tmp_path / name, colour, **({"lossless": True} if "webp" in name else {}))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    loaded = whole_folder(tmp_path, 8)
    assert colours(loaded) == [RED, GREEN, BLUE]
    assert (loaded.labels, loaded.num_classes) == (None, None)


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder of images: name one"):
        whole_folder(tmp_path / "nowhere", 8)
    with pytest.raises(FileNotFoundError, match=r"holds no images \(\.jpg, "):
        whole_folder(tmp_path, 8)


# ---- the cache


def refuse_to_decode(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("an image was decoded again")

    monkeypatch.setattr("ddpm_course.data.image_files.Image.open", fail)


def test_a_folder_is_decoded_once(tmp_path, monkeypatch):
    paint(tmp_path / "a.png", RED)
    first = whole_folder(tmp_path, 8)
    refuse_to_decode(monkeypatch)
    assert torch.equal(whole_folder(tmp_path, 8).images, first.images)
    with pytest.raises(ValueError, match="decoded again"):
        whole_folder(tmp_path, 16)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are text")
def test_names_need_not_be_utf_8(tmp_path, monkeypatch):
    """A camera's ZIP may have names in Latin-1, which Python reads as lone surrogates."""
    for k, name in enumerate((b"fl\xe9ur.png", b"\xff/a.png", b"\xe4\xf6\xfc/\x80.png")):
        paint(tmp_path / os.fsdecode(name), (k, 0, 0))
    loaded = whole_folder(tmp_path, 8)
    assert sorted(colours(loaded)) == [(k, 0, 0) for k in range(3)]
    refuse_to_decode(monkeypatch)
    assert torch.equal(whole_folder(tmp_path, 8).images, loaded.images)


def test_a_changed_folder_is_decoded_again(tmp_path):
    def change(name, colour):
        paint(tmp_path / name, colour)
        os.utime(tmp_path / name, ns=(0, 10**9 * sum(colour) + colour[2]))

    change("a.png", RED)
    assert colours(whole_folder(tmp_path, 8)) == [RED]
    change("a.png", BLUE)
    assert colours(whole_folder(tmp_path, 8)) == [BLUE]
    change("b.png", GREEN)
    assert colours(whole_folder(tmp_path, 8)) == [BLUE, GREEN]
    (tmp_path / "a.png").unlink()
    assert colours(whole_folder(tmp_path, 8)) == [GREEN]


@pytest.mark.parametrize("damage", [b"", b"damaged", None])
def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, damage):
    paint(tmp_path / "a.png", RED)
    whole_folder(tmp_path, 8)
    cache = tmp_path / ".ddpm_course" / "8px.safetensors"
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-9] if damage is None else damage)
    assert colours(whole_folder(tmp_path, 8)) == [RED]
    assert cache.read_bytes() == whole


# ---- Oxford 102 Flowers


@pytest.fixture(scope="session")
def linked_flowers(real_flowers, tmp_path_factory):
    """The data set with a cache of its own, so that nothing is written beside the real one."""
    root = tmp_path_factory.mktemp("linked")
    (root / "flowers-102").mkdir()
    for name in ("jpg", "imagelabels.mat", "setid.mat"):
        (root / "flowers-102" / name).symlink_to(real_flowers / "flowers-102" / name)
    return root


@pytest.mark.parametrize(("split", "number"), [("train", 1020), ("val", 1020)])
def test_a_split_of_the_flowers_is_decoded_once(linked_flowers, split, number, monkeypatch):
    loaded = flowers102(linked_flowers, 16, split)
    with monkeypatch.context() as patch:
        refuse_to_decode(patch)
        again = flowers102(linked_flowers, 16, split)
    assert all(torch.equal(a, b) for a, b in zip(loaded, again, strict=True))
    assert (loaded.images.dtype, loaded.images.shape) == (torch.uint8, (number, 3, 16, 16))
    assert loaded.labels.unique().tolist() == list(range(102))
    assert loaded.num_classes == 102


def test_training_holds_val_out(linked_flowers, monkeypatch):
    """7,169 images; the decoder is replaced by the number in the file's name."""
    monkeypatch.setattr(
        "ddpm_course.data.flowers102.square", lambda path, *a: torch.tensor(int(path.stem[-5:]))
    )
    monkeypatch.setattr("ddpm_course.data.cache.save_tensors", lambda *a: None)
    both, val, test = (flowers102(linked_flowers, 17, s) for s in ("train+test", "val", "test"))
    assert (len(both.images), len(val.images), len(test.images)) == (7169, 1020, 6149)
    assert torch.equal(flowers102(linked_flowers, 17).images, both.images)
    assert sorted([*both.images.tolist(), *val.images.tolist()]) == list(range(1, 8190))
    assert both.labels.unique().tolist() == list(range(102))


@pytest.fixture
def incomplete(linked_flowers, tmp_path):
    """A copy of the tables, with a folder for images that is still empty."""
    (tmp_path / "flowers-102" / "jpg").mkdir(parents=True)
    for name in ("imagelabels.mat", "setid.mat"):
        shutil.copy(linked_flowers / "flowers-102" / name, tmp_path / "flowers-102" / name)
    return tmp_path


@pytest.mark.parametrize("content", [None, 1000])
def test_a_missing_or_damaged_image_is_named_with_a_remedy(incomplete, linked_flowers, content):
    first = "flowers-102/jpg/image_06765.jpg"  # of the split "train"
    if content:
        (incomplete / first).write_bytes((linked_flowers / first).read_bytes()[:content])
    with pytest.raises(
        ValueError, match=r"image_06765\.jpg cannot be read .*: remove .*flowers-102"
    ):
        flowers102(incomplete, 16, "train")


@pytest.mark.parametrize("table", ["imagelabels.mat", "setid.mat"])
@pytest.mark.parametrize("content", [None, b"damaged"])
def test_an_incomplete_data_set_is_named_with_a_remedy(incomplete, table, content):
    path = incomplete / "flowers-102" / table
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(FileNotFoundError, match=r"not complete under .*run `ddpm-course download"):
        flowers102(incomplete, 16)


def test_what_is_there_is_not_downloaded_again(linked_flowers, no_network):
    download_flowers102(linked_flowers)


# ---- by name


def test_data_sets_have_names(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "ddpm_course.data.datasets.synthetic_flowers",
        lambda n, *a, **k: synthetic_flowers(3, *a, **k),
    )
    loaded = load_data("synthetic", "nowhere", 8)
    assert torch.equal(loaded.images, synthetic_flowers(3, 8)[0])
    paint(tmp_path / "a.png", RED)
    for name in ("folder", "folder-all"):
        assert colours(load_data(name, str(tmp_path), 8)) == [RED]
    with pytest.raises(ValueError, match="Unknown data set 'cats': choose one of flowers102, flow"):
        load_data("cats", tmp_path, 8)


def test_examples_are_photographs_where_there_are_any(linked_flowers, monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_DATA_ROOT", str(linked_flowers))
    images, sentence = example_images(5, 16)
    assert (images.dtype, images.shape) == (torch.uint8, (5, 3, 16, 16))
    assert sentence.startswith("Data: photographs")
    monkeypatch.setenv("DDPM_DATA_ROOT", str(tmp_path))
    images, sentence = example_images(2, 16)
    assert torch.equal(images, example_images(5, 16)[0][:2])
    starter = load_data("starter", "nowhere", 16).images
    assert all((starter == image).flatten(1).all(1).any() for image in images)
    assert sentence.startswith("Data: starter set")


def test_a_tenth_of_a_folder_is_held_out(tmp_path):
    for k in range(20):
        paint(tmp_path / f"{k:02}.png", (10 * k, 0, 0))
    train, kept = (colours(f("folder", tmp_path, 8)) for f in (load_data, held_out))
    assert (len(train), len(kept)) == (18, 2)
    assert sorted(train + kept) == [(10 * k, 0, 0) for k in range(20)]
    assert colours(load_data("folder-all", tmp_path, 8)) == sorted(train + kept)
    for name, sentence in (("folder-all", "102 and folder do"), ("starter", "holds no images")):
        with pytest.raises(ValueError, match=sentence):
            held_out(name, tmp_path, 8)
    for k in range(11):
        (tmp_path / f"{k:02}.png").unlink()
    assert len(load_data("folder", tmp_path, 8).images) == 9
    with pytest.raises(ValueError, match="so 10 are the fewest, not 9: leave --held-out-every out"):
        held_out("folder", tmp_path, 8)


def test_a_read_only_folder_is_decoded_once_per_process(tmp_path, monkeypatch, full_disk):
    for k in range(10):
        paint(tmp_path / f"{k}.png", (20 * k, 0, 0))
    with full_disk(100):
        assert len(load_data("folder", tmp_path, 8).images) == 9
        monkeypatch.setattr("ddpm_course.data.folder.square", None)
        assert len(held_out("folder", tmp_path, 8).images) == 1
    assert not (tmp_path / ".ddpm_course" / "8px.safetensors").exists()


def test_damaged_images_of_a_folder_are_named_at_once(tmp_path):
    for k in range(7):
        (tmp_path / f"{k}.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"0\.jpg cannot be read.*4\.jpg cannot.* So are 2 more\."):
        load_data("folder", tmp_path, 8)
    assert not (tmp_path / ".ddpm_course").exists()


def test_nothing_is_downloaded_into_a_folder_of_other_images(tmp_path, no_network):
    (tmp_path / "mine.JPG").touch()
    with pytest.raises(ValueError, match="holds images of its own, which `--data folder` learns"):
        download_flowers102(tmp_path)


def test_the_leading_flower_is_never_a_photograph(linked_flowers, monkeypatch):
    monkeypatch.setenv("DDPM_DATA_ROOT", str(linked_flowers))
    starter_set = load_data("starter", "nowhere", 32)
    sunflowers = starter_set.images[starter_set.labels == 53]
    flower = to_uint8(example_flower(32))
    assert any(torch.equal(flower, image) for image in sunflowers)
