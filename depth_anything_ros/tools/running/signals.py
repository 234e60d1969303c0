"""Ctrl-C and SIGTERM end a run in good order."""

from collections.abc import Iterator
from contextlib import contextmanager
import signal
import threading
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143


class Stop:
    """Whether and by which signal the run was asked to end."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_status = 0


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Yield what the first SIGINT or SIGTERM sets; a second one does what it did before."""
    stop = Stop()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        restore()
        stop.exit_status = 128 + number
        stop.event.set()

    for number in previous:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()


def terminate(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that temporary files are removed."""
    raise SystemExit(TERMINATED)
