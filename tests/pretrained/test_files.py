import errno
import os

import pytest
import torch
from helpers import contents
from safetensors.torch import save_file

from ddpm_course.pretrained.files import atomic, load_tensors, save_tensors, write_text

TENSORS = {
    "weights": torch.arange(12.0).reshape(3, 4).T,
    "half": torch.tensor([1.5], dtype=torch.float16),
    "table": torch.tensor([0.1, 1e-300], dtype=torch.float64),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "none": torch.zeros(0, 3),
    "step": torch.tensor(7),
}


def test_atomic_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    for text in ("first", "second ᾱ"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    write_text(path, os.fsdecode(b"a name \xff"))
    assert path.read_text(encoding="utf-8") == "a name \\udcff"
    assert list(contents(tmp_path)) == ["new/folder/file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("existed", [True, False])
def test_whatever_goes_wrong_while_writing_leaves_what_was_there(tmp_path, error, existed):
    path = tmp_path / "file.txt"
    if existed:
        path.write_text("old")
    before = contents(tmp_path)
    with pytest.raises(error), atomic(path) as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        assert {name: contents(tmp_path)[name] for name in before} == before
        raise error
    assert contents(tmp_path) == before


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (order.append("fsync"), fsync(*a)))
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("replace"), replace(*a)))
    write_text(tmp_path / "file.txt", "text")
    assert order == ["fsync", "replace"]


def test_an_error_names_the_file_not_the_temporary(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        write_text(tmp_path / "folder", "text")
    assert caught.value.filename == str(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_tensors_and_metadata_come_back(tmp_path):
    path = tmp_path / "t.safetensors"
    metadata = {"step": 3, "schedule": [0.1, 1e-300], "name": "ᾱ", "nothing": None}
    save_tensors(path, TENSORS, metadata)
    tensors, back = load_tensors(path)
    assert back == metadata
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_files_of_other_programs_can_be_read(tmp_path, prefix):
    save_file({f"{prefix}x.module.y": torch.ones(2)}, tmp_path / "theirs")
    tensors, metadata = load_tensors(tmp_path / "theirs")
    assert (tensors["x.module.y"].tolist(), metadata) == ([1, 1], {})


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_number_that_is_not_finite_is_refused_by_name(tmp_path, value, dtype):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"good": torch.ones(2), "bad": torch.tensor([1, value]).to(dtype)})
    with pytest.raises(ValueError, match="bad holds NaN or infinity"):
        load_tensors(path)


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, full_disk):
    path = tmp_path / "t.safetensors"
    save_tensors(path, TENSORS)
    before = contents(tmp_path)
    with full_disk(10_000), pytest.raises(OSError, match="File too large") as caught:
        save_tensors(path, {"large": torch.zeros(10_000)})
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert contents(tmp_path) == before
    assert set(load_tensors(path)[0]) == set(TENSORS)
