"""The training log, a file of JSON lines, and the figure of its curves."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import json
from pathlib import Path
import time
from typing import Any, TypeVar

from depth_anything_ros.distill.trainer import StepResult
from depth_anything_ros.errors import CheckpointError, INSTALL_DISTILL, MissingDependencyError
from depth_anything_ros.files import atomic_path

_STEPS_PER_LINE = 20
# The smoothed loss is the mean over about this share of the training.
_SMOOTHED_SHARE = 0.03
_LOSS_TICKS = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)

Entry = dict[str, Any]
Key = TypeVar('Key')


@dataclass(frozen=True)
class Measure:
    """
    What a validation measures: its name in the log, its title in reports and curves.

    With a ``patience`` a smaller value is better, the training keeps its best weights, and ends
    after that many validations without an improvement.
    """

    name: str
    title: str
    patience: int = 0

    def best(self, found: Mapping[Key, float]) -> Key:
        """Return the key of the best of at least one value; the first of several."""
        choose = min if self.patience else max
        return choose(found, key=lambda key: found[key])


RANK_CORRELATION = Measure('rank_correlation', 'rank correlation with the teacher')


class TrainingLog:
    """
    The figures of a training, appended to a file of JSON lines.

    ``{"step", "loss", "rate", "seconds"}`` has the mean loss since the previous line, the factor
    of the learning rates and the duration of the training so far; ``{"step", NAME}``, with the
    name of the ``measure``, is the result of a validation.
    """

    def __init__(self, path: Path, step: int = 0, measure: Measure = RANK_CORRELATION) -> None:
        """Continue the log after ``step``; entries of later steps are removed."""
        self._measure = measure
        self._path = path
        kept = [entry for entry in read_log(path) if entry['step'] <= step]
        with atomic_path(path) as file:
            file.write_text(''.join(map(_line, kept)))
        before = max((entry['seconds'] for entry in kept if 'seconds' in entry), default=0.0)
        self._start = time.monotonic() - before
        self._losses: list[float] = []

    def add(self, result: StepResult) -> None:
        """Add the result of a step; every 20th writes a line."""
        self._losses.append(result.loss)
        if len(self._losses) == _STEPS_PER_LINE:
            seconds = time.monotonic() - self._start
            self._write({'step': result.step, 'loss': sum(self._losses) / _STEPS_PER_LINE,
                         'rate': result.rate, 'seconds': round(seconds, 1)})
            self._losses = []

    def add_validation(self, step: int, found: float) -> None:
        """Write the result of a validation."""
        self._write({'step': step, self._measure.name: found})

    def validations(self) -> dict[int, float]:
        """Return the results of the validations by step."""
        return {entry['step']: entry[self._measure.name] for entry in read_log(self._path)
                if self._measure.name in entry}

    def _write(self, entry: Entry) -> None:
        with self._path.open('a') as file:
            file.write(_line(entry))


def read_log(path: Path) -> list[Entry]:
    """Return the entries of a log, [] without a file; an incomplete line is left out."""
    return list(_entries(path)) if path.is_file() else []


def draw_curves(log: Path, figure_path: Path, measure: Measure = RANK_CORRELATION) -> None:
    """
    Draw loss and validations of a log over the steps.

    CheckpointError if the log has no line yet, MissingDependencyError without matplotlib.
    """
    entries = read_log(log)
    if not entries:
        raise CheckpointError(log, 'there is nothing to draw in it', 'let the training run')
    figure = _figure()
    upper, lower = figure.subplots(2, sharex=True)
    _draw_loss(upper, [(entry['step'], entry['loss']) for entry in entries if 'loss' in entry])
    _draw_validations(lower, measure.title, [
        (entry['step'], entry[measure.name]) for entry in entries if measure.name in entry])
    lower.set_xlabel('step')
    with atomic_path(figure_path) as file:
        figure.savefig(file)


def _entries(path: Path) -> Iterator[Entry]:
    for line in path.read_text(errors='replace').splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get('step'), int):
            yield entry


def _line(entry: Entry) -> str:
    return f'{json.dumps(entry)}\n'


def _figure() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError('matplotlib', 'the figure of a training',
                                     INSTALL_DISTILL) from error
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
    axes.yaxis.set_major_locator(LogLocator(subs=_LOSS_TICKS))
    axes.yaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.plot(steps, losses, color='C0', alpha=0.3, linewidth=0.8)
    axes.plot(steps, _smoothed(losses), color='C0')


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Return the running mean; its window grows until it has its full length."""
    window = max(1, round(_SMOOTHED_SHARE * len(values)))
    mean, smooth = values[0], []
    for count, value in enumerate(values, start=1):
        mean += (value - mean) / min(count, window)
        smooth.append(mean)
    return smooth


def _draw_validations(axes: Any, title: str, points: list[tuple[int, float]]) -> None:
    axes.set_ylabel(title)
    axes.grid(alpha=0.3)
    if not points:
        return
    steps, found = zip(*points)
    axes.plot(steps, found, color='C1', marker='o', markersize=3)
    axes.margins(y=0.15)
    axes.annotate(f'{found[-1]:.3f}', (steps[-1], found[-1]), (0, 6),
                  textcoords='offset points', ha='right')
