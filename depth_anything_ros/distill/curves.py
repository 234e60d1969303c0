"""The course of a training: numbers in a file of JSON lines, and a picture of them."""

from collections.abc import Iterator
import json
from pathlib import Path
import time
from typing import Any

from depth_anything_ros.distill.trainer import Progress
from depth_anything_ros.errors import CheckpointError, MissingDependencyError
from depth_anything_ros.files import atomic_file

_EVERY = 20
# The smoothed loss follows the mean over about this share of a training.
_SMOOTH = 0.03
_TICKS = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)

Entry = dict[str, Any]


class Journal:
    """
    Numbers of a training, one JSON line each.

    ``{"step", "loss", "rate", "seconds"}`` has the mean loss since the line before, the factor
    of the learning rates and the time that the training has taken; ``{"step",
    "rank_correlation"}`` what a look at other images found.
    """

    def __init__(self, path: Path, taken_up: int = 0) -> None:
        """Go on after step ``taken_up``: what the file says of later steps did not last."""
        self._path = path
        kept = [entry for entry in read_journal(path) if entry['step'] <= taken_up]
        with atomic_file(path) as staged:
            staged.write_text(''.join(map(_line, kept)))
        before = max((entry['seconds'] for entry in kept if 'seconds' in entry), default=0.0)
        self._start = time.monotonic() - before
        self._losses: list[float] = []

    def add(self, progress: Progress) -> None:
        """Take in one step; with every 20 a line is written."""
        self._losses.append(progress.loss)
        if len(self._losses) == _EVERY:
            seconds = time.monotonic() - self._start
            self._write({'step': progress.step, 'loss': sum(self._losses) / _EVERY,
                         'rate': progress.rate, 'seconds': round(seconds, 1)})
            self._losses = []

    def look(self, step: int, rank_correlation: float) -> None:
        """Write what a look at images that are not learned from has found."""
        self._write({'step': step, 'rank_correlation': rank_correlation})

    def _write(self, entry: Entry) -> None:
        with self._path.open('a') as file:
            file.write(_line(entry))


def read_journal(path: Path) -> list[Entry]:
    """Return the entries of a journal, none where there is no file; half a line is left out."""
    return list(_entries(path)) if path.is_file() else []


def _entries(path: Path) -> Iterator[Entry]:
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get('step'), int):
            yield entry


def _line(entry: Entry) -> str:
    return f'{json.dumps(entry)}\n'


def draw_curves(journal: Path, picture: Path) -> None:
    """
    Write a picture of a journal, loss and rank correlation over the steps.

    CheckpointError where the journal has no line yet, MissingDependencyError without matplotlib.
    """
    entries = read_journal(journal)
    if not entries:
        raise CheckpointError(journal, 'there is nothing in it to draw', 'let the training run')
    figure = _figure()
    upper, lower = figure.subplots(2, sharex=True)
    _draw_loss(upper, [(entry['step'], entry['loss']) for entry in entries if 'loss' in entry])
    _draw_looks(lower, [(entry['step'], entry['rank_correlation']) for entry in entries
                        if 'rank_correlation' in entry])
    lower.set_xlabel('step')
    with atomic_file(picture) as staged:
        figure.savefig(staged)


def _figure() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError('matplotlib', 'the picture of a training',
                                     "pip install 'depth_anything_ros[distill]'") from error
    figure = Figure(figsize=(8, 7), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def _draw_loss(axes: Any, points: list[tuple[int, float]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_ylabel('training loss')
    axes.grid(alpha=0.3, which='both')
    if not points:
        return
    steps, losses = zip(*points)
    axes.set_yscale('log')
    axes.yaxis.set_major_locator(LogLocator(subs=_TICKS))
    axes.yaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.plot(steps, losses, color='C0', alpha=0.3, linewidth=0.8)
    axes.plot(steps, _smoothed(losses), color='C0')


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Return the running mean, over more and more values until there are enough of them."""
    enough = max(1, round(_SMOOTH * len(values)))
    mean, smooth = values[0], []
    for count, value in enumerate(values, start=1):
        mean += (value - mean) / min(count, enough)
        smooth.append(mean)
    return smooth


def _draw_looks(axes: Any, points: list[tuple[int, float]]) -> None:
    axes.set_ylabel('rank correlation with the teacher')
    axes.grid(alpha=0.3)
    if not points:
        return
    steps, found = zip(*points)
    axes.plot(steps, found, color='C1', marker='o', markersize=3)
    axes.margins(y=0.15)
    axes.annotate(f'{found[-1]:.3f}', (steps[-1], found[-1]), (0, 6),
                  textcoords='offset points', ha='right')
