"""Progress of long work: steps with their duration, and counts with rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
import io
import re
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from depth_anything_ros.foreign_files import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# Receives one or several lines for the user.
Report = Callable[[str], None]
# Counts one more, from any thread; the argument, such as a loss, is shown beside the number.
Advance = Callable[..., None]
# Opens the display of a count. Arguments: the name of the things counted, their number (None:
# unknown) and the number already done.
Counting = Callable[[str, int | None, int], AbstractContextManager[Advance]]

_DETAIL = '      '
_STEP = re.compile(r'\[\d+/\d+\] ')
_SECONDS = re.compile(r'\s+\d+\.\d s')
_LINE_PERIOD_S = 10.0
# Rich takes a file for a terminal of 80 columns, where wide tables lose text.
_FILE_WIDTH = 240


def open_console(stderr: bool = False) -> 'Console':
    """Return the console for results on the present stdout, or for progress on stderr."""
    from rich.console import Console
    # None if the program was started with a closed stream.
    file = (sys.stderr if stderr else sys.stdout) or io.StringIO()
    return Console(file=file, highlight=False, markup=False, soft_wrap=True,
                   width=None if file.isatty() else _FILE_WIDTH)


class Steps:
    """Numbers the steps of one job and reports how long each took."""

    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._number = 0

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Report the start of a step and, unless it fails, its duration."""
        self._number += 1
        self._report(f'[{self._number}/{self._total}] {text}')
        start = time.monotonic()
        yield
        self._report(f'{_DETAIL}{time.monotonic() - start:.1f} s')

    def details(self, lines: tuple[str, ...]) -> None:
        """Report the results of a step, a line each."""
        self._report('\n'.join(f'{_DETAIL}{line}' for line in lines))


class StepReport:
    """
    Prints the lines of ``Steps``.

    On a terminal the present step is a line with a running clock; elsewhere lines are printed
    unchanged. A context manager, because the clock is a thread that must end.
    """

    def __init__(self, console: 'Console') -> None:
        self._console = console
        self._step = ''
        self._clock: Progress | None = None

    def __enter__(self) -> 'StepReport':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop()

    def __call__(self, line: str) -> None:
        """Print one line."""
        line = printable(line)
        if not self._console.is_terminal:
            print(line, flush=True)
        elif _STEP.match(line):
            self._stop()
            self._start(line)
        elif self._clock and _SECONDS.fullmatch(line):
            self._clock.stop()
            self._clock = None
            self._console.print(f'{self._step}  {line.strip()}')
        else:
            self._console.print(line)

    def _start(self, step: str) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        self._step = step
        self._clock = Progress(SpinnerColumn(), TextColumn('{task.description}', markup=False),
                               TimeElapsedColumn(), console=self._console, transient=True)
        self._clock.add_task(step, total=None)
        self._clock.start()

    def _stop(self) -> None:
        """Keep the line of a step that did not end."""
        if self._clock:
            self._clock.stop()
            self._clock = None
            self._console.print(self._step)


def counting(console: 'Console', report: Report | None = None) -> Counting:
    """Return a display for the console: a bar on a terminal, else lines to ``report``."""
    def count(what: str, total: int | None, done: int = 0) -> AbstractContextManager[Advance]:
        if console.is_terminal:
            return count_on_bar(console, what, total, done)
        if report is None:
            return count_in_lines(console.print, what, total, done, indent='')
        return count_in_lines(report, what, total, done)

    return count


@contextmanager
def count_in_lines(report: Report, what: str, total: int | None, done: int = 0, *,
                   indent: str = _DETAIL, period_s: float | None = None) -> Iterator[Advance]:
    """Yield a function that counts one more; a line every ``period_s`` seconds, 10 by default."""
    period_s = _LINE_PERIOD_S if period_s is None else period_s
    count = _Count(total, done)
    of_total = '' if total is None else f' of {total}'
    printed, lock = time.monotonic(), threading.Lock()

    def advance(note: str = '') -> None:
        nonlocal printed
        with lock:
            count.done += 1
            if time.monotonic() - printed >= period_s:
                printed = time.monotonic()
                report(f'{indent}{count.done}{of_total} {what}, {count.rate(note)}')

    yield advance


@contextmanager
def count_on_bar(console: 'Console', what: str, total: int | None,
                 done: int = 0) -> Iterator[Advance]:
    """Yield a function that counts one more on a bar, which disappears at the end."""
    from rich.progress import (
        BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn)
    count = _Count(total, done)
    lock = threading.Lock()
    bar = Progress(TextColumn(_DETAIL), BarColumn(20), MofNCompleteColumn(),
                   TextColumn('{task.description}', markup=False), TimeElapsedColumn(),
                   console=console, transient=True)
    with bar:
        task = bar.add_task(what, total=total, completed=done)

        def advance(note: str = '') -> None:
            with lock:
                count.done += 1
                bar.update(task, completed=count.done, description=f'{what}, {count.rate(note)}')

        yield advance


@contextmanager
def no_counting(what: str, total: int | None, done: int = 0) -> Iterator[Advance]:
    """Yield a function that shows nothing, for callers that have no display."""
    yield lambda note='': None


def duration_text(seconds: float) -> str:
    """Return a duration as text in one or two units: 50 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02} min'


class _Count:
    """How many are done, and how fast; those that were done before do not count for the rate."""

    def __init__(self, total: int | None, done: int) -> None:
        self.done = done
        self._total, self._before = total, done
        self._start = time.monotonic()

    def rate(self, note: str) -> str:
        """Return the rate, the time left where the total is known, and the note."""
        rate = (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)
        left = '' if self._total is None else (
            f', {duration_text(max(self._total - self.done, 0) / max(rate, 1e-9))} left')
        return f'{rate:.2f}/s{left}{note and ", "}{note}'
