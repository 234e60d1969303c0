"""Waiting for other threads with a time limit."""

from collections.abc import Callable
import os
import threading
import time
from typing import Any


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> bool:
    """Wait for ``condition`` and return whether it came true."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def on_stderr(text: str) -> bool:
    """
    Return whether ``text`` is in what capfd has captured on stderr, for a condition to wait for.

    ``capfd.readouterr()`` in a loop loses what is written while it empties its file.
    """
    return text in os.pread(2, 1 << 20, 0).decode(errors='replace')


def within(timeout_s: float, call: Callable[..., Any], *args: Any) -> None:
    """Call on another thread, so that a call that never returns fails instead of hanging."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call(*args)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    assert not thread.is_alive(), f'it did not return within {timeout_s} s'
    if raised:
        raise raised[0]


class Outcomes:
    """An ``on_done`` callback that collects its arguments."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._state = threading.Condition()

    def __call__(self, outcome: Any) -> None:
        """Keep ``outcome``."""
        with self._state:
            self.all.append(outcome)
            self._state.notify_all()

    def first(self, count: int, timeout_s: float = 60.0) -> list[Any]:
        """Wait for ``count`` outcomes and return all of them."""
        with self._state:
            assert self._state.wait_for(lambda: len(self.all) >= count, timeout_s), (
                f'{len(self.all)} of {count} outcomes came within {timeout_s} s')
            return list(self.all)
