"""Ctrl-C (SIGINT) and SIGTERM end a program in good order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, TypeAlias

INTERRUPTED, TERMINATED = 130, 143
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None
_AGAIN_S = 0.1


class StopRequest:
    """Whether SIGINT or SIGTERM has arrived, and the exit status for it, 0 before that."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_status = 0

    def is_set(self) -> bool:
        """Return whether a signal has arrived."""
        return self.event.is_set()


@contextmanager
def deferred_signals(*, deliver: bool = False) -> Iterator[StopRequest]:
    """
    Yield the request that the first SIGINT or SIGTERM sets instead of ending the program.

    A second signal has its usual effect at once, and with ``deliver`` the first has it after the
    block. Signals that the process ignores stay ignored. For the main thread only.
    """
    stop = StopRequest()
    previous: dict[int, Handler] = {
        number: handler for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def defer(number: int, frame: FrameType | None) -> None:
        restore()
        stop.exit_status = 128 + number
        stop.event.set()

    for number in previous:
        signal.signal(number, defer)
    try:
        yield stop
    finally:
        restore()
    if deliver and stop.is_set():
        number = stop.exit_status - 128
        _deliver(number, previous[number])


@contextmanager
def redelivered_signals() -> Iterator[None]:
    """
    Send a signal again whose exception Python dropped, so that the program does not go on.

    Python drops exceptions of destructors and of callbacks of weak references, of which imports
    and the exporter of PyTorch have many.
    """
    previous, timers = sys.unraisablehook, list[threading.Timer]()

    def send_again(dropped: 'sys.UnraisableHookArgs') -> None:
        if isinstance(dropped.exc_value, KeyboardInterrupt):
            number = signal.SIGINT
        elif isinstance(dropped.exc_value, SystemExit) and dropped.exc_value.code == TERMINATED:
            number = signal.SIGTERM
        else:
            previous(dropped)
            return
        timers.append(threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)))
        timers[-1].start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = previous
        for timer in timers:
            timer.cancel()


def terminate(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that temporary files are removed."""
    raise SystemExit(TERMINATED)


def _deliver(number: int, handler: Handler) -> None:
    """Call the handler: raising the signal once more fails where a library spoiled the stack."""
    if callable(handler):
        handler(number, None)
    else:
        signal.raise_signal(number)
