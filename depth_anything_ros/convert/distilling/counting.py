"""How far something long is: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
import time

from depth_anything_ros.convert.steps import Report
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# What is counted, how many there are and how many were done before, to a function to call after
# each one; its argument is shown beside the number.
Counting = Callable[[str, int, int], AbstractContextManager[Callable[[str], None]]]

_PERIOD_S = 20.0


@contextmanager
def count_in_lines(report: Report, what: str, total: int, done: int = 0, *,
                   period_s: float = _PERIOD_S) -> Iterator[Callable[[str], None]]:
    """Report a line every ``period_s`` seconds."""
    pace = _Pace(total, done)
    told = time.monotonic()

    def advance(note: str) -> None:
        nonlocal told
        pace.done += 1
        if time.monotonic() - told >= period_s:
            told = time.monotonic()
            report(f'      {pace.done} of {total} {what}, {pace.text(note)}')

    yield advance


@contextmanager
def count_on_bar(console: Console, what: str, total: int,
                 done: int = 0) -> Iterator[Callable[[str], None]]:
    """Show a bar that is gone at the end."""
    pace = _Pace(total, done)
    bar = Progress(TextColumn('      '), BarColumn(20), MofNCompleteColumn(),
                   TextColumn('{task.description}', markup=False), TimeElapsedColumn(),
                   console=console, transient=True)
    with bar:
        task = bar.add_task(what, total=total, completed=done)

        def advance(note: str) -> None:
            pace.done += 1
            bar.update(task, completed=pace.done, description=f'{what}, {pace.text(note)}')

        yield advance


def in_words(seconds: float) -> str:
    """Return a duration with the two units that matter: 50 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02} min'


class _Pace:
    """How fast it goes; what was done before does not count."""

    def __init__(self, total: int, done: int) -> None:
        self.done = done
        self._total, self._before = total, done
        self._start = time.monotonic()

    def text(self, note: str) -> str:
        rate = (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)
        left = in_words(max(self._total - self.done, 0) / max(rate, 1e-9))
        return f'{rate:.2f}/s, {left} left{note and ", "}{note}'
