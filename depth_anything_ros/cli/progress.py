"""Lines that say which of how many steps runs and how long it took."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
import re
import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn,
    TimeRemainingColumn)

Report = Callable[[str], None]
_STEP = re.compile(r'\[\d+/\d+\] ')
_SECONDS = re.compile(r'\s+\d+\.\d s')
# Lines for files and other programs are not to be wrapped.
_WIDTH_OF_A_FILE = 200
# What is counted, how many there are and how many were done before, to a function to call after
# each one; its argument is shown beside the number.
Counting = Callable[[str, int, int], AbstractContextManager[Callable[[str], None]]]

_PERIOD_S = 20.0
_LINE_PERIOD_S = 10.0


class Steps:
    """Counts the steps of one conversion."""

    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._number = 0

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say that a step starts and, unless it fails, how long it took."""
        self._number += 1
        self._report(f'[{self._number}/{self._total}] {text}')
        start = time.monotonic()
        yield
        self._report(f'      {time.monotonic() - start:.1f} s')

    def tell(self, lines: tuple[str, ...]) -> None:
        """Report what a step found."""
        self._report('\n'.join(f'      {line}' for line in lines))


def open_console() -> Console:
    """Return the console for results, on what is standard output now."""
    return Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True,
                   width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)


class StepReport:
    """
    Shows the lines that a conversion reports.

    On a terminal the step under way is a line with a running clock; elsewhere lines are printed as
    they come. A context manager, so that the clock stops whatever happens.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ''
        self._clock: Progress | None = None

    def __enter__(self) -> 'StepReport':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop()

    def __call__(self, line: str) -> None:
        """Show one line."""
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
        self._step = step
        self._clock = Progress(SpinnerColumn(), TextColumn('{task.description}', markup=False),
                               TimeElapsedColumn(), console=self._console, transient=True)
        self._clock.add_task(step, total=None)
        self._clock.start()

    def _stop(self) -> None:
        """Leave the line of a step that did not end."""
        if self._clock:
            self._clock.stop()
            self._clock = None
            self._console.print(self._step)


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
