"""Several processes that share each training step, as `torchrun` starts them.

Each process holds the whole network and works on its share of every batch. PyTorch's
DistributedDataParallel averages the gradients. Every random draw is made for the whole batch and
then sliced, so the number of processes changes only the speed (and dropout). Only the first
process writes files.
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

PATIENCE = timedelta(hours=1)  # the others wait while the first downloads and decodes a data set


def join_processes(device: str) -> torch.device | None:
    """Connect to the other processes that `torchrun` started, and return this one's device.

    Returns None if there are no others. With `device` "cpu" all work on the CPU. Otherwise each
    takes a CUDA GPU of its own, where there are any.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    own, backend = torch.device("cpu"), "gloo"
    if device != "cpu" and torch.cuda.is_available():
        own, backend = torch.device("cuda", int(os.environ["LOCAL_RANK"])), "nccl"
        torch.cuda.set_device(own)
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=PATIENCE)
    return own


def processes() -> int:
    """The number of processes that share each batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process runs the block alone; the others follow once it is done.

    So a data set is downloaded and decoded only once.
    """
    if rank() > 0:
        dist.barrier()
    yield
    if processes() > 1 and rank() == 0:
        dist.barrier()


def replicate(denoiser: Denoiser) -> Denoiser:
    """A denoiser with the same parameters, whose gradients are averaged over all processes."""
    if processes() == 1:
        return denoiser
    net = DistributedDataParallel(denoiser.net, gradient_as_bucket_view=True)
    return Denoiser(net, denoiser.schedule, denoiser.prediction, denoiser.clip)


def gradients_averaged(denoiser: Denoiser, now: bool) -> AbstractContextManager:
    """Whether a backward pass in this block averages the gradients over the processes, or waits."""
    waits = isinstance(denoiser.net, DistributedDataParallel) and not now
    return denoiser.net.no_sync() if waits else nullcontext()


def first_process_decides(answer: bool) -> bool:
    """The answer of the first process, on which all processes then act together."""
    answers = [answer]
    if processes() > 1:
        dist.broadcast_object_list(answers)
    return answers[0]


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor of which every process has its own. Overwrites `value`."""
    if processes() > 1:
        dist.all_reduce(value)
    return value / processes()
