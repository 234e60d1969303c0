"""What the pictures of all modes begin with."""

from collections.abc import Iterable, Mapping
import importlib.util
import json
import math
from typing import Any

from depth_anything_ros.benchmark.results import Report, Table
from depth_anything_ros.cli.reports import markdown_table
from depth_anything_ros.errors import MissingDependencyError
from rich.console import Console
from rich.markup import escape
import rich.table

DPI = 120


def new_figure(width_inch: float, height_inch: float) -> Any:
    """Return an empty figure that needs no screen; MissingDependencyError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing() from error
    figure = Figure(figsize=(width_inch, height_inch), dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def require_matplotlib() -> None:
    """Raise MissingDependencyError without matplotlib, which is not loaded for that."""
    if importlib.util.find_spec('matplotlib') is None:
        raise _missing()


def _missing() -> MissingDependencyError:
    return MissingDependencyError('matplotlib', 'the picture',
                                  "pip install 'depth_anything_ros[tools]'")


def as_dict(report: Report) -> dict[str, Any]:
    """Return mode, settings, figures (null where not finite) and tables as plain values."""
    return {'mode': report.mode, 'settings': dict(report.settings),
            'figures': {name: value if math.isfinite(value) else None
                        for name, value in report.figures.items()},
            'tables': [{'title': table.title, 'columns': list(table.columns),
                        'rows': [list(row) for row in table.rows], 'note': table.note}
                       for table in report.tables]}


def to_json(report: Report) -> str:
    """Return one JSON object, as ``as_dict`` describes it."""
    return json.dumps(as_dict(report), indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def to_markdown(content: Mapping[str, Any]) -> str:
    """Return a section with settings and tables of what ``as_dict`` returned."""
    lines = [f'## {content["mode"]}', '',
             *(f'- {name}: {value}' for name, value in content['settings'].items())]
    for table in content['tables']:
        lines += ['', f'### {table["title"]}', '',
                  *markdown_table(table['columns'], table['rows'])]
        if table['note']:
            lines += ['', table['note']]
    return '\n'.join(lines) + '\n'


def print_report(report: Report, console: Console) -> None:
    """Print settings and tables."""
    for name, value in report.settings.items():
        console.print(escape(f'{name}: {value}'), highlight=False, soft_wrap=True)
    for table in report.tables:
        console.print(_rich_table(table))
        if table.note:
            console.print(escape(table.note), highlight=False, soft_wrap=True)


def _rich_table(table: Table) -> rich.table.Table:
    shown = rich.table.Table(*_escaped(table.columns), title=escape(table.title))
    for row in table.rows:
        shown.add_row(*_escaped(row))
    return shown


def _escaped(cells: Iterable[str]) -> list[str]:
    return [escape(cell) for cell in cells]
