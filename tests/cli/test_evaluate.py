"""`ddpm-course evaluate`, on a small model of 102 species that knows nothing."""

import json

import pytest
import torch
from command_line import command
from helpers import randomise

from ddpm_course import Denoiser, UNet, cosine_schedule
from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.subsets import spread
from ddpm_course.evaluation.classifier import accuracy, load_classifier
from ddpm_course.evaluation.likelihood import bits_per_dim
from ddpm_course.evaluation.quality import Judge, draw_classes
from ddpm_course.pretrained.weights import load_pretrained, save_pretrained, trained_on


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), 102)


def make_model(folder, classes):
    torch.manual_seed(0)
    net = UNet(channels=(8, 8), attention_levels=(), head_dim=8, image_size=16, num_classes=classes)
    randomise(net)
    save_pretrained(folder, Denoiser(net, cosine_schedule(100), "v"))
    return folder


def test_the_report_is_what_the_judge_says(model, real_flowers, tmp_path, capsys):
    out = tmp_path / "report.json"
    settings = ("--steps", 2, "--guidance", 2, "--seed", 3, "--precision", "fp32")
    settings += ("--sampler", "dpm_solver_pp_2m")
    place = ("--from", model, "--data-root", real_flowers, "--out", out, "--device", "cpu")
    assert command("evaluate", *place, *settings) in (0, None)
    said, report = capsys.readouterr().out, json.loads(out.read_text())

    train, val = (flowers102(real_flowers, 16, split) for split in ("train+test", "val"))
    denoiser, judge = load_pretrained(model), Judge(val, train)
    way = {"sampler": "dpm_solver_pp_2m", "spacing": "logsnr"}
    drawn = draw_classes(denoiser, 10, guidance=2.0, steps=2, seed=3, **way)
    found, copying = judge.distances(drawn.images), judge.copying(drawn)
    assert report["kernel_distance"] == pytest.approx(found.kernel, rel=1e-3)
    assert report["frechet_distance"] == pytest.approx(found.frechet, rel=1e-3)
    assert report["floor_kernel_distance"][1] == pytest.approx(judge.floor(1).kernel, rel=1e-3)
    assert report["recognised"] == accuracy(load_classifier("all"), drawn)
    assert report["recognised_val"] == accuracy(load_classifier("all"), val) > 0
    for name, told in zip(("nearer", "nearer_error", "copied"), copying, strict=True):
        assert report[name] == pytest.approx(told, rel=1e-3)
    assert copying.error > 0
    assert report["spacing"] == "logsnr"
    bits = bits_per_dim(denoiser, spread(val, 64), seed=3).total
    assert report["bits_per_dim"] == pytest.approx(bits.mean().item(), rel=1e-3)
    assert report["bits_per_dim_error"] == pytest.approx(bits.std().item() / 8, rel=1e-3)
    assert (
        "1020 flowers at 16×16, 10 per species, dpm_solver_pp_2m, 2 steps, guidance 2, seed 3"
        in said
    )
    assert f"kernel distance to val   {report['kernel_distance']:.4f} (real flowers: " in said
    assert "10 per species.\n" not in said
    assert "copies: about 0.75)" in said

    assert "exists: name another file, or add --overwrite" in command("evaluate", *place, *settings)


def test_fewer_flowers_and_other_features(model, real_flowers, capsys):
    place = ("--from", model, "--data-root", real_flowers, "--device", "cpu", "--steps", 1)
    assert command("evaluate", *place, "--per-class", 2, "--features", "pixels") in (0, None)
    said = capsys.readouterr().out
    assert "204 flowers" in said
    assert "those of real flowers are of 10 per species" in said
    assert "copies: 1)" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--per-class", 0], "--per-class must be 1 or more, not 0"),
        (["--features", "smell"], "Unknown --features 'smell': classifier, pixels or inception"),
        (["--data-root", "nowhere"], "Flowers-102 is not complete under nowhere"),
        (["--from", "nothing"], "neither a folder"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(options, said, model):
    assert said in command("evaluate", "--from", model, "--device", "cpu", *options)


def test_a_network_of_other_classes_is_refused(tmp_path):
    model = make_model(tmp_path / "three", 3)
    assert "it needs a network of 102 classes" in command("evaluate", "--from", model)


def test_a_model_that_may_have_learned_from_val_is_told_of(model, tmp_path, real_flowers, capsys):
    whole = tmp_path / "whole"
    save_pretrained(whole, load_pretrained(model), {"data": "flowers102-all"})
    place = ("--data-root", real_flowers, "--device", "cpu", "--steps", 1, "--per-class", 2)
    for source, told in ((whole, True), (model, False)):
        assert command("evaluate", "--from", source, *place) in (0, None)
        assert ("was trained on flowers102-all" in capsys.readouterr().err) == told


@pytest.mark.parametrize("run", [[], {"data": None}, "flowers102"])
def test_a_config_without_the_name_of_its_data_says_nothing_of_it(tmp_path, run):
    (tmp_path / "config.json").write_text(json.dumps({"run": run}))
    assert trained_on(tmp_path) is None
    assert trained_on("flowers32-tiny") == "flowers102"
    assert trained_on("nothing") is None
