"""What makes a training step fast. Each switch is on by default where the hardware gains by it.

None of them changes what is learned: in float32 the loss stays the same up to rounding. Attention
is fused wherever PyTorch can (see `layers`), the data set stays on the device as bytes (see
`batches`), and one call updates the averaged weights (see `ema`). Only the network that learns is
compiled, not the average that is sampled from.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ddpm_course.training.config import TrainConfig, check_precision


def prepare_network(net: nn.Module, config: TrainConfig, device: torch.device) -> None:
    """Set the memory layout of the weights and compile the network, in place. Its state dict keeps
    its names.
    """
    cuda = device.type == "cuda"
    if cuda if config.channels_last is None else config.channels_last:
        # cuDNN's fast bfloat16 convolutions read channels last; the activations follow the weights.
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    triton = cuda and torch.cuda.get_device_capability(device) >= (7, 0)
    if triton if config.compile is None else config.compile:
        # Fuses GroupNorm, SiLU and sums into single passes over memory. It is worth its minute of
        # compiling on a GPU; a CPU gains little.
        net.compile()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Inside this block convolutions and matrix products run in bfloat16 if `precision` is "bf16",
    or if it is "auto" and the hardware multiplies bfloat16 faster; with "fp32" they never do.

    Weights, gradients, norms, the loss and the schedule stay in float32 or better. bfloat16 has
    float32's range, so no loss scaling is needed. Raises ValueError for an unknown precision.
    """
    return torch.autocast(device.type, torch.bfloat16, _use_bf16(precision, device))


def _use_bf16(precision: str, device: torch.device) -> bool:
    check_precision(precision)
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def make_optimizer(net: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """AdamW without weight decay. On CUDA one fused kernel updates all parameters."""
    return torch.optim.AdamW(net.parameters(), weight_decay=0.0, fused=device.type == "cuda")


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Turn PyTorch's many errors of running out of memory into one MemoryError with advice.

    Only their messages tell them apart: CUDA, its libraries, MPS and the CPU each have their own.
    """
    phrases = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    try:
        yield
    except RuntimeError as error:
        if any(phrase in str(error).lower() for phrase in phrases):
            raise MemoryError(f"Out of memory: {advice}.") from error
        raise
