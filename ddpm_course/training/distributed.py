"""One step shared by several processes, as `torchrun` starts them.

Each process holds the whole network and works on its share of every batch; PyTorch's
DistributedDataParallel averages the gradients. Every random draw is made for the whole batch and
then sliced, so the number of processes changes nothing but the speed (dropout apart). Only the
first process writes files.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ddpm_course.diffusion import Denoiser

PATIENCE = timedelta(hours=1)  # the others wait while one downloads and decodes a data set


def join_processes(device: str) -> torch.device | None:
    """Meet the other processes that `torchrun` started; returns this one's device.

    Returns None if there are no others. `device` is "cpu", or else each takes a GPU of its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import PartialState  # here, because it takes seconds to import

    return PartialState(cpu=device == "cpu", timeout=PATIENCE).device


def processes() -> int:
    """How many processes share each batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process does what stands inside alone; the others follow when it is done.

    So a data set is downloaded and decoded once.
    """
    if rank() > 0:
        dist.barrier()
    yield
    if processes() > 1 and rank() == 0:
        dist.barrier()


def replicate(denoiser: Denoiser) -> Denoiser:
    """The denoiser whose gradients are averaged over all processes; it shares its parameters."""
    if processes() == 1:
        return denoiser
    net = DistributedDataParallel(denoiser.net, gradient_as_bucket_view=True)
    return Denoiser(net, denoiser.schedule, denoiser.prediction, denoiser.clip)


def averaging(denoiser: Denoiser, now: bool) -> AbstractContextManager:
    """Within it a backward pass averages its gradients over the processes, or not yet."""
    waits = isinstance(denoiser.net, DistributedDataParallel) and not now
    return denoiser.net.no_sync() if waits else nullcontext()


def first_process_says(answer: bool) -> bool:
    """The first process's answer, which all then act on together."""
    said = [answer]
    if processes() > 1:
        dist.broadcast_object_list(said)
    return said[0]


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor that every process has its own of."""
    if processes() > 1:
        dist.all_reduce(value)
    return value / processes()
