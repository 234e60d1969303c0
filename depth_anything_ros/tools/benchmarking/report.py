"""A report of the benchmark as JSON, as Markdown and as tables on the terminal."""

from collections.abc import Iterable, Mapping
import json
import math
from typing import Any

from depth_anything_ros.tools.benchmarking.results import Report, Table
from depth_anything_ros.tools.markdown import markdown_table
from rich.console import Console
from rich.markup import escape
import rich.table


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
