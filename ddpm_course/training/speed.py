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
    if (cuda and _triton_supports(device)) if config.compile is None else config.compile:
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
    """Turn PyTorch's many errors of running out of memory into one MemoryError with advice."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"Out of memory: {advice}.") from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error class for it. CUDA's libraries, MPS and the CPU only have a message."""
    message = str(error).lower()
    phrases = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, torch.OutOfMemoryError) or any(p in message for p in phrases)


def _triton_supports(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (7, 0)
