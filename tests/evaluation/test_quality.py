"""The judge, and the classifiers that it sees through."""

import builtins

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from ddpm_course import Denoiser, UNet, cosine_schedule, dataset_oracle, load_data, sample, to_uint8
from ddpm_course.data.flowers102 import flowers102, species
from ddpm_course.data.images import ImageData, to_unit
from ddpm_course.data.subsets import draw_per_class, halves, take
from ddpm_course.evaluation.classifier import (
    CLASSIFIERS,
    FlowerClassifier,
    accuracy,
    load_classifier,
)
from ddpm_course.evaluation.distances import frechet_distance, kernel_distance
from ddpm_course.evaluation.features import EXTRACTORS, features, inception
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
def test_classifiers_name_species_they_have_never_seen(name, real_flowers):
    said = load_tensors(CLASSIFIERS / f"{name}.safetensors")[1]["record"]["accuracy_on_val"]
    val = flowers102(real_flowers, 64, "val")
    right = accuracy(load_classifier(name), val)
    assert right == pytest.approx(said["64"], abs=0.01)
    assert right > (0.75 if name == "all" else 0.6)


def test_each_half_knows_its_own_pictures_better_than_the_other(real_flowers):
    """So it is told right which half a classifier has not seen."""
    parts = halves(flowers102(real_flowers, 64))
    for name, unseen in UNSEEN.items():
        model = load_classifier(name)
        few = [take(part, torch.arange(0, len(part.images), 7)) for part in parts]
        assert accuracy(model, few[1 - unseen]) > accuracy(model, few[unseen]) + 0.1


def test_a_classifier_sees_the_same_flower_at_any_size():
    model, images = load_classifier("all"), load_data("starter", "", 64).images
    at_64, at_32 = (model(to_unit(x[:40])).softmax(1) for x in (images, images[:, :, ::2, ::2]))
    assert (at_64.argmax(1) == at_32.argmax(1)).float().mean() > 0.6
    assert model(to_unit(images[:1])).shape == (1, 102)


def test_a_picture_is_seen_alike_alone_and_among_others():
    x = to_unit(load_data("starter", "", 32).images[:9])
    model = load_classifier("half-a")
    torch.testing.assert_close(model.features(x)[4:5], model.features(x[4:5]), atol=1e-4, rtol=1e-4)


def test_a_classifier_learns():
    torch.manual_seed(0)
    model = FlowerClassifier((8, 8, 16), num_classes=3)
    x, y = torch.randn(30, 3, 16, 16), torch.arange(30) % 3
    x[:, 0] += (y - 1.0)[:, None, None]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_species_have_their_names():
    names = species()
    assert len(names) == 102
    assert names[53] == "sunflower"


def test_features_come_row_by_row():
    images = load_data("starter", "", 32).images[:300]
    got = features(EXTRACTORS["pixels"](), images)
    torch.testing.assert_close(got, to_unit(images).flatten(1))
    assert not features(EXTRACTORS["half-a"](), images).requires_grad


def test_inception_without_its_packages_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("torchmetrics"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"install `ddpm-course\[inception\]`"):
        inception()


def test_inception_without_network_says_what_works(monkeypatch):
    import torchmetrics.image.fid as fid

    def offline(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(fid, "NoTrainInceptionV3", offline)
    with pytest.raises(ConnectionError, match="need no network connection"):
        inception()


def test_inception_gets_bytes(monkeypatch):
    import torchmetrics.image.fid as fid

    seen = []
    monkeypatch.setattr(fid, "NoTrainInceptionV3", lambda *_: seen.append)
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    inception()(to_unit(images))
    assert torch.equal(seen[0], images)


def test_the_judge_is_the_mean_over_what_two_networks_see(starter_judge):
    images = starter_judge.held_out.images.flip(-1)
    each = []
    for extract in starter_judge.extractors.values():
        pair = features(extract, images), features(extract, starter_judge.held_out.images)
        each.append([kernel_distance(*pair), frechet_distance(*pair)])
    assert starter_judge.distances(images) == pytest.approx(torch.tensor(each).mean(0).tolist())


def test_the_floor_shows_each_network_the_other_half_alone(flower_judge):
    judge, train = flower_judge
    parts = halves(train)
    extract = judge.extractors["half-a"]
    wanted = draw_per_class(parts[1], 10, seed=3).images
    pair = features(extract, wanted), features(extract, judge.held_out.images)
    alone = Judge(judge.held_out, train, ("half-a",)).floor(3)
    assert alone.kernel == pytest.approx(kernel_distance(*pair), rel=1e-6)


def test_real_flowers_are_near_to_real_flowers(flower_judge):
    judge, _ = flower_judge
    floors = [judge.floor(seed).kernel for seed in range(3)]
    assert all(abs(value) < 0.003 for value in floors)


def test_distances_climb_as_pictures_get_worse(flower_judge):
    judge, train = flower_judge
    images = draw_per_class(train, 10, seed=9).images
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def noisy(std):
        return (images + std * noise).round().clamp(0, 255).to(torch.uint8)

    for spoil in (lambda s: gaussian_blur(images, 9, s), lambda s: noisy(16 * s)):
        told = [judge.distances(spoil(strength)) for strength in (0.5, 1.0, 2.0)]
        for column in ("kernel", "frechet"):
            values = [getattr(t, column) for t in told]
            assert values == sorted(values)
            assert values[2] > 3 * abs(values[0])


def test_a_set_that_lacks_half_of_the_species_is_far(flower_judge):
    judge, train = flower_judge
    double = draw_per_class(train, 20, seed=0)
    found = judge.distances(double.images[double.labels < 51])
    assert found.kernel > 0.005
    assert found.frechet > 1.3 * judge.floor(0).frechet


@pytest.mark.parametrize("space", [("pixels",), tuple(UNSEEN)])
def test_what_a_perfect_copier_draws_is_flagged(space):
    """Drawn with the exact denoiser of 100 flowers: it can do nothing but copy."""
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
    with pytest.raises(ValueError, match="draw at least two"):
        starter_judge.copying(one)


def test_each_extractor_can_be_given_its_own_pictures(starter_judge):
    images = starter_judge.held_out.images
    flipped = images.flip(-1)
    both = [starter_judge.distances(x).kernel for x in (images, flipped)]
    mixed = starter_judge.distances({"half-a": images, "half-b": flipped}).kernel
    assert min(both) < mixed < max(both)


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


def test_pictures_of_every_class_are_drawn_in_order(small_conditional):
    seen = []
    small_conditional.net.register_forward_hook(
        lambda net, args, kwargs, out: seen.append(kwargs["y"]), with_kwargs=True
    )
    plain = draw_classes(small_conditional, 2, steps=3, seed=1)
    assert plain.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert plain.images.dtype == torch.uint8
    assert seen[0].tolist() == [0, 0, 1, 1, 2, 2]
    seen.clear()
    strong = draw_classes(small_conditional, 2, guidance=3.0, steps=3, seed=1)
    assert seen[0].tolist() == [0, 0, 1, 1, 2, 2] + [3] * 6
    assert not torch.equal(strong.images, plain.images)


@pytest.fixture
def small_conditional():
    torch.manual_seed(0)
    net = UNet(channels=(8, 8), attention_levels=(), head_dim=8, image_size=8, num_classes=3)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Denoiser(net, cosine_schedule(20), "v").eval()


def test_a_network_without_classes_is_refused():
    net = UNet(channels=(8, 8), attention_levels=(), head_dim=8, image_size=8)
    with pytest.raises(ValueError, match="need a class-conditional network"):
        draw_classes(Denoiser(net, cosine_schedule(20), "v"), 2)
