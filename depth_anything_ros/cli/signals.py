"""Ctrl-C (SIGINT), SIGTERM and SIGHUP of a closed terminal end a program in good order."""

import _thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, TypeAlias
import weakref

INTERRUPTED = 130
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None
_AGAIN_S = 0.1


class StopRequest:
    """Whether one of the signals has arrived, and the exit status for it, 0 before that."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_status = 0

    def is_set(self) -> bool:
        """Return whether a signal has arrived."""
        return self.event.is_set()


@contextmanager
def deferred_signals(*, deliver: bool = False) -> Iterator[StopRequest]:
    """
    Yield the request that the first of the signals sets instead of ending the program.

    A second signal has its usual effect at once, and with ``deliver`` the first has it after the
    block. Signals that the process ignores stay ignored, as SIGHUP after nohup. For the main
    thread only.
    """
    stop = StopRequest()
    previous = _handlers()

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
def insistent_signals() -> Iterator[None]:
    """
    Turn SIGINT into KeyboardInterrupt, the others into SystemExit until one ends the block.

    Python drops exceptions of destructors and of callbacks of weak references, and libraries drop
    those of imports that they only try; the exporter of PyTorch has all of these. A signal whose
    exception is gone comes again while the block runs, and an error after it counts as its
    effect. Signals that the process ignores stay ignored. For the main thread only.
    """
    insistence, previous, previous_hook = _Insistence(), _handlers(), sys.unraisablehook

    def hook(dropped: 'sys.UnraisableHookArgs') -> None:
        if not isinstance(dropped.exc_value, _Interrupted | _Terminated):
            previous_hook(dropped)

    sys.unraisablehook = hook
    for number in previous:
        signal.signal(number, insistence.end)
    try:
        yield
    except Exception as error:
        if insistence.received:
            raise _exception(insistence.received) from error
        raise
    finally:
        insistence.running = False
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = previous_hook


class _Insistence:
    """Raises the exceptions of signals, and sends a signal again whose exception is gone."""

    def __init__(self) -> None:
        self.running = True
        self.received = 0

    def end(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        # A name for it here would keep the exception alive.
        raise self._watched_exception(number)

    def _watched_exception(self, number: int) -> BaseException:
        self.received = number
        error = _exception(number)
        # It may die where any lock of threading is held.
        weakref.finalize(error, _thread.start_new_thread, self._send_again,
                         (number,)).atexit = False
        return error

    def _send_again(self, number: int) -> None:
        time.sleep(_AGAIN_S)
        if self.running:
            os.kill(os.getpid(), number)


class _Interrupted(KeyboardInterrupt):
    """The exception of SIGINT; that of Python itself cannot be watched."""


class _Terminated(SystemExit):
    """The exception of the others, so that temporary files are removed."""


def _exception(number: int) -> BaseException:
    return (_Interrupted if number == signal.SIGINT else _Terminated)(128 + number)


def _handlers() -> dict[int, Handler]:
    """Return the handlers of the signals that the process does not ignore."""
    return {number: handler for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if (handler := signal.getsignal(number)) != signal.SIG_IGN}


def _deliver(number: int, handler: Handler) -> None:
    """Call the handler: raising the signal once more fails where a library spoiled the stack."""
    if callable(handler):
        handler(number, None)
    else:
        signal.raise_signal(number)
