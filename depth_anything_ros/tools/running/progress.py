"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import threading
import time

from rich.console import Console
from rich.progress import (
    BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn)

_LINE_PERIOD_S = 10.0


@contextmanager
def progress(console: Console, total: int | None) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of ``total`` images, from any thread."""
    if not console.is_terminal:
        yield _Lines(console, total, _LINE_PERIOD_S).advance
        return
    bar = Progress(BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[rate]}'),
                   TimeElapsedColumn(), TimeRemainingColumn(), console=console)
    with bar:
        task = bar.add_task('', total=total, rate='')
        start, done, lock = time.monotonic(), 0, threading.Lock()

        def advance() -> None:
            nonlocal done
            with lock:
                done += 1
                bar.update(task, completed=done, rate=_rate(done, start))

        yield advance


class _Lines:
    """Count images and print a line every ``period_s``."""

    def __init__(self, console: Console, total: int | None, period_s: float) -> None:
        self._console = console
        self._total = '' if total is None else f' of {total}'
        self._period_s = period_s
        self._start = self._printed = time.monotonic()
        self._done = 0
        self._lock = threading.Lock()

    def advance(self) -> None:
        """Count one image."""
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now - self._printed >= self._period_s:
                self._printed = now
                self._console.print(f'{self._done}{self._total} images, '
                                    f'{_rate(self._done, self._start)}', highlight=False)


def _rate(done: int, start: float) -> str:
    return f'{done / max(time.monotonic() - start, 1e-9):.2f}/s'
