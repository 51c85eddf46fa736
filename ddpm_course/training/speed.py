"""What makes a training step fast: each switch is one line, on where the hardware gains by it.

None of them changes what is learnt: in float32 they leave the loss as it is but for rounding.
Attention is fused wherever PyTorch can (`scaled_dot_product_attention`, see `layers`); the data
set stays on the device as bytes (`batches`), and the mean weights follow in one call (`ema`).
Only the network that learns is compiled; the average, which is sampled from, is not.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ddpm_course.training.config import TrainConfig, check_precision


def prepare_network(net: nn.Module, config: TrainConfig, device: torch.device) -> None:
    """Lay the weights out, and compile the network, in place; its state dict keeps its names."""
    cuda = device.type == "cuda"
    if cuda if config.channels_last is None else config.channels_last:
        # cuDNN's fast bfloat16 convolutions read channels last; the activations follow the weights.
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if (cuda and _triton_knows(device)) if config.compile is None else config.compile:
        # Fuses GroupNorm, SiLU and sums into single passes over memory. Worth its minute of
        # compiling on a GPU; a CPU gains little.
        net.compile()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Inside it convolutions and matrix products run in bfloat16, if `precision` says so: "bf16",
    "fp32", or "auto", which means bf16 where the hardware multiplies it faster.

    Weights, gradients, norms and the loss stay in float32, and so does the schedule. bfloat16 has
    float32's range, so no loss scaling is needed.
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
    """AdamW without weight decay; on CUDA the update of all parameters is one fused kernel."""
    return torch.optim.AdamW(net.parameters(), weight_decay=0.0, fused=device.type == "cuda")


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`. To CUDA they go from pinned memory, so that nothing waits for them."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def first_that_fits(attempt: Callable[[int], object], sizes: Iterable[int]) -> int | None:
    """The first size with which attempt(size) does not run out of memory, or None."""
    for size in sizes:
        try:
            attempt(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
    return None


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class of its own for it; its libraries, MPS and the CPU only say so."""
    said = str(error).lower()
    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, torch.OutOfMemoryError) or any(word in said for word in words)


def _triton_knows(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (7, 0)
