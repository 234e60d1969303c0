"""The report of a measurement: figures by name, tables, a chart; as text, JSON and Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import importlib.util
from pathlib import Path
import statistics
from typing import Any, TYPE_CHECKING

from depth_anything_ros.cli.reports import finite, markdown_table, print_lines, print_table
from depth_anything_ros.errors import INSTALL_TOOLS, MissingDependencyError

if TYPE_CHECKING:
    from rich.console import Console

Log = Callable[[str], None]
DPI = 120


@dataclass(frozen=True)
class Spread:
    """A figure measured in several rounds: the median, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Spread':
        """Return the spread of one value per round; at least one round."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f'{_text(self.median)} ({_text(self.low)} to {_text(self.high)})'


@dataclass(frozen=True)
class Table:
    """Rows of text below ``columns``; ``note`` explains how to read them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ''


@dataclass(frozen=True)
class Report:
    """
    The result of one mode of the benchmark.

    ``settings`` state warm-up, threads, sizes and everything else that the figures depend on.
    ``draw`` writes the chart of the mode as PNG; None where the mode has no chart. ``failed`` has
    a sentence per part that could not be measured.
    """

    mode: str
    settings: Mapping[str, str]
    tables: tuple[Table, ...]
    figures: Mapping[str, float]
    draw: Callable[[Path], None] | None = field(default=None, compare=False)
    failed: tuple[str, ...] = ()


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int,
                log: Log) -> dict[str, list[float]]:
    """Return the figures of each run by round; runs alternate, so that all see the same load."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, run in runs.items():
            found[name].append(run())
        latest = ', '.join(f'{name} {values[-1]:.3g}' for name, values in found.items())
        log(f'round {number} of {rounds}: {latest}')
    return found


def ratio(values: Sequence[float], others: Sequence[float]) -> Spread:
    """Return the spread of ``values`` over ``others``, divided round by round."""
    return Spread.of([value / other for value, other in zip(values, others, strict=True)])


def as_dict(report: Report) -> dict[str, Any]:
    """Return mode, settings, figures (null where not finite) and tables as plain values."""
    return {'mode': report.mode, 'settings': dict(report.settings),
            'figures': finite(report.figures),
            'tables': [{'title': table.title, 'columns': list(table.columns),
                        'rows': [list(row) for row in table.rows], 'note': table.note}
                       for table in report.tables]}


def to_markdown(content: Mapping[str, Any]) -> str:
    """Return a section with the settings and tables of ``content``, made by ``as_dict``."""
    lines = [f'## {content["mode"]}', '',
             *(f'- {name}: {value}' for name, value in content['settings'].items())]
    for table in content['tables']:
        lines += ['', f'### {table["title"]}', '',
                  *markdown_table(table['columns'], table['rows'])]
        if table['note']:
            lines += ['', table['note']]
    return '\n'.join(lines) + '\n'


def print_report(report: Report, console: 'Console') -> None:
    """Print settings and tables."""
    print_lines(console, (f'{name}: {value}' for name, value in report.settings.items()))
    for table in report.tables:
        print_table(console, table.columns, table.rows, table.title)
        print_lines(console, filter(None, [table.note]))


def new_figure(width_inch: float, height_inch: float) -> Any:
    """Return an empty figure that needs no screen; MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing_matplotlib() from error
    figure = Figure(figsize=(width_inch, height_inch), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def require_matplotlib() -> None:
    """Raise MissingDependencyError if matplotlib is not installed; does not import it."""
    if importlib.util.find_spec('matplotlib') is None:
        raise _missing_matplotlib()


def _missing_matplotlib() -> MissingDependencyError:
    return MissingDependencyError('matplotlib', 'the picture', INSTALL_TOOLS)


def _text(value: float) -> str:
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'
