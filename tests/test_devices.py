"""A device without float64, as Apple's MPS is: PyTorch's "meta" device stands in for it."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import ddpm_course as dc
from ddpm_course.data.images import ImageData
from ddpm_course.evaluation.classifier import accuracy, load_classifier
from ddpm_course.evaluation.distances import frechet_distance, kernel_distance, nearest, psnr
from ddpm_course.samplers import SAMPLERS


class WithoutFloat64(TorchDispatchMode):
    """Refuses float64 on "meta". Copies from there to the CPU hold ones, since it has no values."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        there = [x for x in tree_leaves(args) if isinstance(x, torch.Tensor) and x.is_meta]
        if function is torch.ops.aten._local_scalar_dense.default and there:
            return torch.ones((), dtype=there[0].dtype).item()
        to_cpu = str(kwargs.get("device")).startswith("cpu")
        if function is torch.ops.aten._to_copy.default and there and to_cpu:
            return torch.ones(there[0].shape, dtype=kwargs.get("dtype", there[0].dtype))
        if "generator" in kwargs and str(kwargs["device"]) == "meta":
            kwargs["generator"] = None  # that device has none
        made = function(*args, **kwargs)
        for tensor in (*there, *tree_leaves(made)):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                assert tensor.dtype != torch.float64, f"{function} has float64 on the device"
        return made


def denoiser(**options):
    net = dc.UNet(channels=(8, 16), attention_levels=(1,), head_dim=8, image_size=8, **options)
    return dc.Denoiser(net, dc.cosine_schedule(200), "v").to("meta")


DATA = ImageData(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.arange(6) % 2)
TIMES = torch.tensor([1, 2, 3, 4, 5, 200], device="meta")
FEATURES = torch.zeros(6, 4, device="meta")


def train():
    config = dc.TrainConfig(steps=2, batch_size=2, precision="fp32")
    model = denoiser(num_classes=2)
    list(dc.train(model, dc.image_batches(DATA, config, conditional=True, device="meta"), config))


USES: dict[str, Callable] = {
    "posterior": lambda: dc.q_posterior(FEATURES, FEATURES, TIMES, 0, dc.cosine_schedule(200)),
    "train": train,
    "error": lambda: dc.x0_error(denoiser(num_classes=2), DATA, log_snrs=[0]),
    "likelihood": lambda: dc.bits_per_dim(denoiser(num_classes=2), DATA, draws=2),
    "frechet": lambda: frechet_distance(FEATURES, FEATURES),
    "kernel": lambda: kernel_distance(FEATURES, FEATURES),
    "nearest": lambda: nearest(FEATURES, FEATURES, 2),
    "psnr": lambda: psnr(DATA.images.to("meta"), DATA.images.to("meta")),
    "accuracy": lambda: accuracy(
        load_classifier("all").to("meta"), ImageData(DATA.images.to("meta"), DATA.labels.to("meta"))
    ),
    "upscale": lambda: dc.upscale(
        denoiser(in_channels=6, has_level=True), DATA.images, level=3, steps=2
    ),
} | {
    name: lambda name=name: dc.draw_classes(
        denoiser(num_classes=2), 1, guidance=2.0, sampler=name, steps=2
    )
    for name in SAMPLERS
}


@pytest.mark.parametrize("use", USES)
def test_no_float64_on_the_device(use, monkeypatch):
    cpu = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda *_: cpu())  # "meta" has none
    monkeypatch.setattr(torch, "autocast", lambda *_: nullcontext())  # "meta" has none
    with WithoutFloat64():
        USES[use]()
