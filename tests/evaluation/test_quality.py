"""The judge, and the classifiers whose features it compares."""

import sys
from unittest.mock import Mock

import pytest
import torch
from helpers import randomise
from torchvision.transforms.functional import gaussian_blur

from ddpm_course import Denoiser, UNet, cosine_schedule, dataset_oracle, load_data, sample, to_uint8
from ddpm_course.data.flowers102 import flowers102, species
from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.data.subsets import draw_per_class, halves, take
from ddpm_course.evaluation.classifier import (
    CLASSIFIERS,
    accuracy,
    load_classifier,
)
from ddpm_course.evaluation.distances import frechet_distance, kernel_distance
from ddpm_course.evaluation.features import features, inception
from ddpm_course.evaluation.quality import UNSEEN, Judge, draw_classes
from ddpm_course.pretrained.files import load_tensors

NAMES = ("all", "half-a", "half-b")


@pytest.fixture(scope="module")
def starter_judge():
    data = load_data("starter", "", 32)
    rows = torch.arange(512)
    return Judge(take(data, rows[:102]), take(data, rows[102:]))


@pytest.fixture(scope="module")
def flower_judge(real_flowers):
    train, val = flowers102(real_flowers, 32), flowers102(real_flowers, 32, "val")
    return Judge(val, train), train


@pytest.mark.parametrize("name", NAMES)
def test_classifiers_are_small_and_in_half_precision(name):
    path = CLASSIFIERS / f"{name}.safetensors"
    assert path.stat().st_size < 4e6
    tensors, _ = load_tensors(path)
    floating = {v.dtype for v in tensors.values() if v.is_floating_point()}
    assert floating == {torch.float16}
    model = load_classifier(name)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NAMES)
def test_classifiers_recognise_held_out_flowers(name, real_flowers):
    recorded = load_tensors(CLASSIFIERS / f"{name}.safetensors")[1]["record"]["accuracy_on_val"]
    val = flowers102(real_flowers, 64, "val")
    right = accuracy(load_classifier(name), val)
    assert right == pytest.approx(recorded["64"], abs=0.01)
    assert right > (0.75 if name == "all" else 0.6)


def test_each_half_classifier_is_better_on_the_half_that_it_learned_from(real_flowers):
    parts = halves(flowers102(real_flowers, 64))
    for name, unseen in UNSEEN.items():
        model = load_classifier(name)
        few = [take(part, torch.arange(0, len(part.images), 7)) for part in parts]
        assert accuracy(model, few[1 - unseen]) > accuracy(model, few[unseen]) + 0.1


def test_a_classifier_agrees_with_itself_at_another_size():
    model, images = load_classifier("all"), load_data("starter", "", 64).images
    at_64, at_32 = (model(to_unit(x[:40])).softmax(1) for x in (images, images[:, :, ::2, ::2]))
    assert (at_64.argmax(1) == at_32.argmax(1)).float().mean() > 0.6
    assert model(to_unit(images[:1])).shape == (1, 102)


def test_species_have_their_names():
    names = species()
    assert len(names) == 102
    assert names[53] == "sunflower"


def test_inception_gets_bytes_and_names_what_it_lacks(monkeypatch):
    seen, images = [], torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    network = "torchmetrics.image.fid.NoTrainInceptionV3"
    monkeypatch.setattr(network, lambda *_: seen.append)
    inception()(to_unit(images))
    assert torch.equal(seen[0], images)
    monkeypatch.setattr(network, Mock(side_effect=OSError("no route to host")))
    with pytest.raises(ConnectionError, match="need no network connection"):
        inception()
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)  # cannot be imported
    with pytest.raises(ModuleNotFoundError, match=r"install `ddpm-course\[inception\]`"):
        inception()


def test_distances_are_the_mean_over_both_classifiers(starter_judge):
    images = starter_judge.held_out.images.flip(-1)
    each = []
    for extract in starter_judge.extractors.values():
        pair = features(extract, images), features(extract, starter_judge.held_out.images)
        each.append([kernel_distance(*pair), frechet_distance(*pair)])
    assert starter_judge.distances(images) == pytest.approx(torch.tensor(each).mean(0).tolist())


def test_the_floor_uses_the_half_that_a_classifier_has_not_seen(flower_judge):
    judge, train = flower_judge
    parts = halves(train)
    extract = judge.extractors["half-a"]
    wanted = draw_per_class(parts[1], 10, seed=3).images
    pair = features(extract, wanted), features(extract, judge.held_out.images)
    alone = Judge(judge.held_out, train, ("half-a",)).floor(3)
    assert alone.kernel == pytest.approx(kernel_distance(*pair), rel=1e-6)


def test_the_kernel_distance_of_real_flowers_is_near_0(flower_judge):
    judge, _ = flower_judge
    floors = [judge.floor(seed).kernel for seed in range(3)]
    assert all(abs(value) < 0.003 for value in floors)


def test_distances_rise_as_images_get_worse(flower_judge):
    judge, train = flower_judge
    images = draw_per_class(train, 10, seed=9).images
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def noisy(std):
        return (images + std * noise).round().clamp(0, 255).to(torch.uint8)

    for degrade in (lambda s: gaussian_blur(images, 9, s), lambda s: noisy(16 * s)):
        found = [judge.distances(degrade(strength)) for strength in (0.5, 1.0, 2.0)]
        for column in ("kernel", "frechet"):
            values = [getattr(t, column) for t in found]
            assert values == sorted(values)
            assert values[2] > 3 * abs(values[0])


def test_a_set_that_lacks_half_of_the_species_is_far(flower_judge):
    judge, train = flower_judge
    double = draw_per_class(train, 20, seed=0)
    found = judge.distances(double.images[double.labels < 51])
    assert found.kernel > 0.005
    assert found.frechet > 1.3 * judge.floor(0).frechet


@pytest.mark.parametrize("space", [("pixels",), tuple(UNSEEN)])
def test_the_samples_of_a_perfect_copier_are_flagged(space):
    """The exact denoiser of a few flowers can only copy."""
    data = load_data("starter", "", 32)
    first = take(data, (data.labels < 25).nonzero()[:, 0])
    held_out, train = halves(first)
    schedule = cosine_schedule(200)
    x = sample(dataset_oracle(to_unit(train.images), schedule), (30, 3, 32, 32), schedule, steps=50)
    origin = torch.cdist(x.flatten(1), to_unit(train.images).flatten(1)).argmin(1)
    labels = train.labels[origin]
    if space != ("pixels",):  # each half holds every one
        train = take(train, torch.arange(len(train.images)).repeat_interleave(2))
    copying = Judge(held_out, train, space).copying(ImageData(to_uint8(x), labels))
    assert copying.nearer > 0.95
    assert copying.copied > 0.9


def test_two_half_classifiers_find_the_copies_of_one_half_each(flower_judge):
    judge, train = flower_judge
    themselves = draw_per_class(train, 10, seed=5)
    copying = judge.copying(themselves)
    assert copying.copied == pytest.approx(0.5, abs=0.03)
    assert copying.nearer == pytest.approx(0.75, abs=0.04)
    in_pixels = Judge(judge.held_out, train, ("pixels",)).copying(themselves)
    assert in_pixels.copied > 0.99
    assert in_pixels.nearer > 0.99


def test_copying_needs_two_classes(starter_judge):
    one = take(starter_judge.held_out, torch.tensor([3]))
    with pytest.raises(ValueError, match="sample at least two"):
        starter_judge.copying(one)


def test_new_photographs_are_not_flagged(flower_judge):
    judge, train = flower_judge
    aside, reference = halves(train)
    pixels = Judge(judge.held_out, reference, ("pixels",))
    copying = pixels.copying(draw_per_class(aside, 10, seed=0))
    assert copying.nearer == pytest.approx(0.5, abs=0.06)
    assert copying.copied < 0.02
    assert 0.005 < copying.error < 0.05


def test_copying_compares_within_a_class():
    """Twins of another class are no copies: the labels say what is compared."""
    images = (torch.arange(8) * 30).to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    train = ImageData(images, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    held_out = ImageData(images[:2] + 100, torch.tensor([0, 1]))
    judge = Judge(held_out, train, ("pixels",))
    drawn = ImageData(images[[4, 0]], torch.tensor([0, 1]))
    assert judge.copying(drawn).copied == 0
    assert judge.copying(drawn._replace(labels=torch.tensor([1, 0]))).copied == 1


def test_every_class_is_sampled_in_order():
    denoiser, seen = small_denoiser(num_classes=3), []
    denoiser.net.register_forward_hook(
        lambda net, args, kwargs, out: seen.append(kwargs["y"]), with_kwargs=True
    )
    plain = draw_classes(denoiser, 2, steps=3, seed=1)
    assert plain.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert plain.images.dtype == torch.uint8
    assert seen[0].tolist() == [0, 0, 1, 1, 2, 2]
    parts = draw_classes(denoiser, 2, steps=3, seed=1, batch_size=4)
    assert [len(y) for y in seen[-6:]] == 3 * [4] + 3 * [2]
    assert (parts.images.int() - plain.images.int()).abs().max() <= 1
    seen.clear()
    strong = draw_classes(denoiser, 2, guidance=3.0, steps=3, seed=1)
    assert seen[0].tolist() == [0, 0, 1, 1, 2, 2] + [3] * 6
    assert not torch.equal(strong.images, plain.images)
    with pytest.raises(ValueError, match="need a class-conditional network"):
        draw_classes(small_denoiser(num_classes=None), 2)


def small_denoiser(num_classes):
    net = UNet((8, 8), (), head_dim=8, image_size=8, num_classes=num_classes)
    return Denoiser(randomise(net), cosine_schedule(20), "v").eval()
