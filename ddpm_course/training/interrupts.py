"""Ctrl-C, or a polite order to end (SIGTERM), at the right moment."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_like_an_interrupt() -> None:
    """From now on SIGTERM, which `torchrun` and schedulers of clusters send, acts like Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C or SIGTERM inside the block waits for its end: half a step must never be saved.

    Outside the main thread, where no signal arrives, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = [signal.signal(name, lambda number, _: pressed.append(number)) for name in SIGNALS]
    try:
        yield
    finally:
        for name, handler in zip(SIGNALS, before, strict=True):
            signal.signal(name, handler)
    for number in pressed[:1]:
        signal.raise_signal(number)
