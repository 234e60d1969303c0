"""Ctrl-C and SIGTERM, held back until what is under way is whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None


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
