"""`ddpm-course` in processes of its own, which a server forks once it has imported PyTorch.

Not a test. So a process starts in a few hundredths of a second, and not in seconds.
"""

import itertools
import multiprocessing
import os
import signal
import sys
import time

if sys.platform != "win32":
    SERVER = multiprocessing.get_context("forkserver")
    SERVER.set_forkserver_preload(
        ["ddpm_course.training.setup", "ddpm_course.cli.main", "torch.utils.tensorboard",
         "torch._dynamo", "torch.distributed.tensor"]
    )  # fmt: skip


def start(output, *arguments, **options):
    """A running `ddpm-course` that writes both of its streams to the file `output`."""
    process = SERVER.Process(target=run, args=(output, *map(str, arguments)), kwargs=options)
    process.start()
    return process


def finish(process, output):
    """Wait for the end of a process that must succeed."""
    process.join(120)
    assert process.exitcode == 0, output.read_text()[-3000:]


def run(output, *arguments, environment=(), die_at=None, clock=1.0):
    """Inside such a process.

    It dies of SIGKILL at touch number `die_at` of a file that it saves, and its clock goes by the
    factor `clock`.
    """
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    if die_at is not None:
        touches = itertools.count(1)
        os.fsync, os.replace = (dying(f, touches, die_at) for f in (os.fsync, os.replace))
    right = time.perf_counter
    time.perf_counter = lambda: clock * right()
    sys.argv = ["ddpm-course", *arguments]

    from ddpm_course.cli.main import main
    from ddpm_course.presets import PRESETS, Preset

    PRESETS["tiny"] = Preset(
        dict(channels=(8, 16), attention_levels=(), head_dim=8, image_size=32), 4
    )
    main()


def dying(function, touches, die_at):
    def touch(*args, **options):
        if next(touches) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    return touch
