"""Ctrl-C and SIGTERM end a run in good order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
import threading
from types import FrameType
from typing import Any, TypeAlias

INTERRUPTED, TERMINATED = 130, 143
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None


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


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """
    Yield a function that tells whether SIGINT or SIGTERM has come; at the end it takes effect.

    A second signal does at once what it did before. Ignored ones stay ignored. Main thread only.
    """
    came: list[int] = []
    previous: dict[int, Handler] = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def hold(number: int, frame: FrameType | None) -> None:
        restore()
        came.append(number)

    for number in previous:
        signal.signal(number, hold)
    try:
        yield lambda: bool(came)
    finally:
        restore()
    if came:
        _take_effect(came[0], previous[came[0]])


def _take_effect(number: int, handler: Handler) -> None:
    """Do what the signal would have done; libraries spoil the stack that a new one would need."""
    if callable(handler):
        handler(number, None)
    else:
        signal.raise_signal(number)
