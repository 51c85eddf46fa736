"""Every switch that makes training faster gives what the plain path gives."""

import shutil
from dataclasses import replace

import pytest
import torch
from helpers import randomise
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_course import Denoiser, UNet, cosine_schedule
from ddpm_course.data.images import ImageData
from ddpm_course.data.synthetic import synthetic_flowers
from ddpm_course.pretrained.files import load_tensors
from ddpm_course.training.batches import image_batches
from ddpm_course.training.config import TrainConfig
from ddpm_course.training.ema import EMA
from ddpm_course.training.loop import train
from ddpm_course.training.run_folder import STATE
from ddpm_course.training.speed import autocast, prepare_network

CPU = torch.device("cpu")
PLAIN = TrainConfig(
    steps=10, batch_size=8, learning_rate=1e-3, warmup_steps=0, precision="fp32", log_every=1,
    channels_last=False, compile=False,
)  # fmt: skip
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def make(channels=(8, 16)):
    """Randomised weights, attention on the lower level, labels."""
    levels = (1,) if len(channels) > 1 else ()
    net = UNet(
        channels=channels, attention_levels=levels, blocks=len(channels), head_dim=8,
        num_classes=8, image_size=8,
    )  # fmt: skip
    return Denoiser(randomise(net), cosine_schedule(50), "v")


@pytest.fixture(scope="module")
def flowers():
    images, labels = synthetic_flowers(40, 8, seed=0)
    return ImageData(images, labels % 8)


def losses(flowers, config, device=CPU, denoiser=None, **options):
    batch = image_batches(flowers, config, conditional=True, device=device)
    denoiser = denoiser or make().to(device)
    return [state.loss for state in train(denoiser, batch, config, **options)]


def outputs_and_gradients(denoiser, device=CPU):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(4, 3, 8, 8, generator=draw).to(device)
    t, y = torch.tensor([0, 9, 30, 49], device=device), torch.tensor([0, 3, 8, 7], device=device)
    out = denoiser.net(x, t, y=y)
    out.square().mean().backward()
    return out, {name: p.grad for name, p in denoiser.net.named_parameters()}


@pytest.fixture
def fused(monkeypatch):
    """The optimiser as it is on a GPU."""
    monkeypatch.setattr(
        "ddpm_course.training.loop.make_optimizer",
        lambda net, device: torch.optim.AdamW(net.parameters(), weight_decay=0, fused=True),
    )


def assert_equal_to_the_plain_network(fast, plain):
    (expected, gradients), (got, got_gradients) = map(outputs_and_gradients, (plain, fast))
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(got_gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_channels_last_equals_the_plain_path(flowers):
    plain, fast = make(), make()
    config = replace(PLAIN, channels_last=True)
    prepare_network(fast.net, config, CPU)
    assert fast.net.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert_equal_to_the_plain_network(fast, plain)
    assert losses(flowers, config) == pytest.approx(losses(flowers, PLAIN), rel=1e-4)


@needs_compiler
def test_a_compiled_network_equals_the_plain_path(flowers):
    """With few layers, since compiling takes longer than everything else here."""
    config = replace(PLAIN, batch_size=4, compile=True)
    plain, fast = make((8,)), make((8,))
    names = list(plain.state_dict())
    prepare_network(fast.net, config, CPU)
    assert fast.net._compiled_call_impl is not None
    assert EMA(fast).model.net._compiled_call_impl is None
    assert_equal_to_the_plain_network(fast, plain)
    assert list(fast.state_dict()) == names
    tracks = losses(flowers, config, denoiser=fast)
    expected = losses(flowers, replace(config, compile=False), denoiser=plain)
    assert tracks == pytest.approx(expected, rel=1e-4)


def test_bf16_run_tracks_fp32(flowers):
    rounded = losses(flowers, replace(PLAIN, precision="bf16"))
    exact = losses(flowers, PLAIN)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.03)


def test_only_the_network_is_rounded_to_bf16():
    """x_t and the loss are computed in float32, from the exact schedule."""
    denoiser, inputs, outputs = make(), [], []
    denoiser.net.conv_in.register_forward_pre_hook(lambda net, args: inputs.append(args[0]))
    denoiser.net.register_forward_hook(lambda net, args, out: outputs.append(out.dtype))
    before = denoiser.schedule.alphas_cumprod.clone()
    draw = torch.Generator().manual_seed(2)
    x0, noise = torch.randn(2, 4, 3, 8, 8, generator=draw)
    t = torch.tensor([1, 2, 25, 50])
    for precision in ("fp32", "bf16"):
        with autocast(precision, CPU):
            loss = denoiser.loss(x0, t, noise)
        assert loss.dtype == torch.float32
    assert outputs == [torch.float32, torch.bfloat16]
    assert torch.equal(inputs[0], inputs[1])
    denoiser.bfloat16()
    assert denoiser.schedule.alphas_cumprod.dtype == torch.float64
    assert torch.equal(denoiser.schedule.alphas_cumprod, before)


@pytest.mark.parametrize("parts", [2, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(flowers, parts):
    whole = losses(flowers, PLAIN)
    assert losses(flowers, replace(PLAIN, accumulate=parts)) == pytest.approx(whole, abs=1e-5)


def test_a_fused_optimiser_resumes_in_the_memory_layout_of_the_weights(flowers, tmp_path, fused):
    """Fused AdamW refuses moments in another memory layout than the weights."""
    config = replace(PLAIN, channels_last=True, steps=6)
    straight = losses(flowers, config, folder=tmp_path / "straight")
    losses(flowers, replace(config, steps=3), folder=tmp_path / "stopped")
    rest = losses(flowers, config, folder=tmp_path / "stopped", resume=True)
    assert rest == straight[3:]
    expected, got = (load_tensors(tmp_path / run / STATE)[0] for run in ("straight", "stopped"))
    assert all(torch.equal(got[name], expected[name]) for name in expected)


class ValuesRead(TorchDispatchMode):
    """Counts the floats that Python reads from tensors. On a GPU each of them would wait."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        reads = func is torch.ops.aten._local_scalar_dense.default
        self.count += reads and args[0].is_floating_point()
        return func(*args, **(kwargs or {}))


def test_no_value_is_read_between_states(flowers, fused):
    config = replace(PLAIN, steps=9, log_every=8, checkpoint_every=100)
    batch = image_batches(flowers, config, conditional=True)
    counts = []
    with ValuesRead() as values:

        def counted(step):
            counts.append(values.count)
            return batch(step)

        list(train(make(), counted, config))
    assert counts[:8] == [counts[0]] * 8, "a step read a value from the device"
    assert counts[8] > counts[0], "reporting a state reads the loss"


@needs_cuda
def test_no_step_waits_for_the_gpu(flowers):
    device = torch.device("cuda")
    config = replace(PLAIN, steps=8, log_every=100, channels_last=None, precision="auto")
    batch = image_batches(flowers, config, conditional=True, device=device)

    def strict(step):
        torch.cuda.set_sync_debug_mode("error" if 2 < step < 7 else "default")
        return batch(step)

    list(train(make().to(device), strict, config))


@needs_cuda
def test_gpu_with_every_switch_tracks_its_plain_fp32(flowers):
    device = torch.device("cuda")
    fast = replace(PLAIN, channels_last=None, compile=None, precision="auto")
    exact = losses(flowers, PLAIN, device)
    assert losses(flowers, fast, device) == pytest.approx(exact, rel=0.03)
