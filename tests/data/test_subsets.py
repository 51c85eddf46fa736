import pytest
import torch

from ddpm_course.data.images import ImageData
from ddpm_course.data.subsets import draw_per_class, halves, least_per_class, spread, take
from ddpm_course.lab.example_data import example_split


def numbered(labels):
    """Images that contain their own row number."""
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return ImageData(images, torch.tensor(labels))


def rows(data):
    return data.images[:, 0, 0, 0].tolist()


def test_halves_share_each_class_and_no_image():
    data = numbered([5, 1, 5, 1, 5, 1, 5, 5, 2])
    first, second = halves(data)
    assert sorted(rows(first) + rows(second)) == list(range(9))
    assert first.labels.bincount().tolist() == [0, 2, 1, 0, 0, 3]
    assert second.labels.bincount().tolist() == [0, 1, 0, 0, 0, 2]
    assert all(data.labels[k] == label for k, label in zip(rows(first), first.labels, strict=True))


def test_each_class_is_sampled_equally_often_and_no_image_twice():
    data = numbered([0, 1, 2] * 20 + [1] * 30)
    drawn = draw_per_class(data, 7, seed=0)
    assert drawn.labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert len(set(rows(drawn))) == 21
    assert all(data.labels[k] == label for k, label in zip(rows(drawn), drawn.labels, strict=True))
    assert rows(draw_per_class(data, 7, seed=0)) == rows(drawn)
    assert rows(draw_per_class(data, 7, seed=1)) != rows(drawn)


def test_every_image_is_equally_likely():
    data = numbered([0] * 5 + [1] * 20)
    counts = torch.zeros(25)
    for seed in range(400):
        counts[rows(draw_per_class(data, 2, seed))] += 1
    assert (counts[:5] - 160).abs().max() < 50
    assert (counts[5:] - 40).abs().max() < 26


def test_too_few_of_a_class_and_no_labels_are_refused():
    data = numbered([0, 0, 0, 3])
    assert least_per_class(data) == 1
    with pytest.raises(ValueError, match="has only 1 images, not 2"):
        draw_per_class(data, 2, seed=0)
    for f in (halves, least_per_class, lambda d: draw_per_class(d, 1, 0)):
        with pytest.raises(ValueError, match="have no labels"):
            f(ImageData(data.images, None))


def test_take_and_spread_keep_labels_beside_their_images():
    data = numbered([9, 8, 7, 6, 5])
    assert take(data, torch.tensor([3, 0])).labels.tolist() == [6, 9]
    assert rows(spread(data, 3)) == [0, 2, 4]
    assert take(ImageData(data.images, None), torch.tensor([1])).labels is None


def test_without_photographs_one_flower_of_each_class_is_held_out(monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_DATA_ROOT", str(tmp_path))
    train, held_out, source = example_split(8)
    assert source.startswith("Data: starter set")
    assert held_out.labels.tolist() == list(range(102))
    assert (len(train.images), least_per_class(train)) == (410, 4)


def test_with_photographs_val_is_held_out(monkeypatch, real_flowers):
    monkeypatch.setenv("DDPM_DATA_ROOT", str(real_flowers))
    train, held_out, source = example_split(32)
    assert source.startswith("Data: photographs")
    assert (len(train.images), len(held_out.images)) == (7169, 204)
    assert least_per_class(held_out) == 2
