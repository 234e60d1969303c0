"""What the subcommands show: steps with the time they take, and tables."""

import re
import sys
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_STEP = re.compile(r'\[\d+/\d+\] ')
_SECONDS = re.compile(r'\s+\d+\.\d s')
# Lines for files and other programs are not to be wrapped.
_WIDTH_OF_A_FILE = 200


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
