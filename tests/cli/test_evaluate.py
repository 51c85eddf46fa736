"""`ddpm-course evaluate`, on a small untrained model of 102 species."""

import json

import pytest
import torch
from command_line import command
from helpers import randomise

import ddpm_course as dc
from ddpm_course.data.images import ImageData
from ddpm_course.evaluation.classifier import accuracy, load_classifier


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), 102)


def make_model(folder, classes):
    torch.manual_seed(0)
    net = dc.UNet(
        channels=(8, 8), attention_levels=(), head_dim=8, image_size=16, num_classes=classes
    )
    dc.save_pretrained(folder, dc.Denoiser(randomise(net), dc.cosine_schedule(100), "v"))
    return folder


@pytest.fixture
def few_flowers(monkeypatch):
    """In place of Flowers-102: the starter set, and of each species the first two as `val`."""
    monkeypatch.setattr("ddpm_course.cli.evaluate.LIKELIHOOD", 4)
    monkeypatch.setattr("ddpm_course.cli.evaluate.FLOORS", 2)
    train = dc.load_data("starter", "nowhere", 16)
    val = ImageData(train.images[:204], train.labels[:204])
    splits = {"train+test": train, "val": val}
    monkeypatch.setattr(
        dc, "flowers102", lambda root, size, split="train+test": splits[split], raising=False
    )
    return train, val


def test_the_report_has_the_numbers_of_the_package(model, few_flowers, tmp_path, capsys):
    out = tmp_path / "report.json"
    call = ("evaluate", "--from", model, "--out", out, "--per-class", 1)
    call += ("--steps", 2, "--guidance", 2, "--seed", 3, "--sampler", "dpm_solver_pp_2m")
    call += ("--device", "cpu", "--precision", "fp32")
    assert command(*call) == 0
    printed, report = capsys.readouterr().out, json.loads(out.read_text())

    train, val = few_flowers
    denoiser, judge = dc.load_pretrained(model), dc.Judge(val, train)
    way = {"sampler": "dpm_solver_pp_2m", "spacing": "logsnr"}
    generated = dc.draw_classes(denoiser, 1, guidance=2.0, steps=2, seed=3, **way)
    distances, copying = judge.distances(generated.images), judge.copying(generated)
    classifier = load_classifier("all")
    bits = dc.bits_per_dim(denoiser, dc.spread(val, 4), seed=3).total
    expected = {
        "kernel_distance": distances.kernel,
        "frechet_distance": distances.frechet,
        "recognised": accuracy(classifier, generated),
        "recognised_val": accuracy(classifier, val),
        "nearer": copying.nearer,
        "nearer_error": copying.error,
        "copied": copying.copied,
        "bits_per_dim": bits.mean().item(),
        "bits_per_dim_error": bits.std().item() / 2,
    }
    assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    assert report["floor_kernel_distance"][1] == pytest.approx(judge.floor(1).kernel, rel=1e-3)
    assert report["recognised_val"] > 0
    assert report["spacing"] == "logsnr"
    settings = "1 per species, dpm_solver_pp_2m, 2 steps, guidance 2, seed 3"
    assert f"102 flowers at 16×16, {settings}" in printed
    assert f"kernel distance to val   {report['kernel_distance']:.4f} (real flowers: " in printed
    assert "those of real flowers are of 2 per species.\n" in printed
    assert "copies: about 0.75)" in printed

    assert "exists: name another file, or add --overwrite" in command(*call)


def test_other_features_and_weights_that_have_seen_val(model, few_flowers, tmp_path, capsys):
    dc.save_pretrained(tmp_path, dc.load_pretrained(model), {"data": "flowers102-all"})
    call = ("evaluate", "--from", tmp_path, "--device", "cpu", "--steps", 1, "--per-class", 2)
    assert command(*call, "--features", "pixels") == 0
    printed = capsys.readouterr()
    assert "204 flowers" in printed.out
    assert "per species.\n" not in printed.out
    assert "copies: 1)" in printed.out
    assert "was trained on flowers102-all" in printed.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--per-class", 0], "--per-class must be between 1 and 1000, not 0"),
        (["--guidance", "nan"], "--guidance must be a finite number, not nan"),
        (["--out", "report.txt"], "--out names a JSON file"),
        (["--data-root", "nowhere"], "Flowers-102 is not complete under nowhere"),
        (["--from", "nothing"], "neither a folder"),
    ],
)
def test_bad_input_ends_in_one_sentence(options, sentence, model):
    assert sentence in command("evaluate", "--from", model, "--device", "cpu", *options)


def test_a_network_of_other_classes_is_refused(tmp_path):
    model = make_model(tmp_path / "three", 3)
    assert "it needs a network of 102 classes" in command("evaluate", "--from", model)
