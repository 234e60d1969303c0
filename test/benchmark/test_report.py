"""What the modes of the benchmark find: spreads, ratios and the three forms of a report."""

import io
import json
import math

from depth_anything_ros.benchmark.report import (
    as_dict, interleaved, print_report, ratio, Report, Spread, Table, to_markdown)
from depth_anything_ros.cli.reports import to_json
import pytest

rich_console = pytest.importorskip('rich.console')

TABLE = Table('Speed [1/s]', ('peer', 'rate'), (('a|b', '2'), ('[bold]', '3')), 'higher is better')
REPORT = Report('peers', {'machine': 'quiet, [2] cores'}, (TABLE,),
                {'rate': 2.0, 'lost': math.nan, 'far': math.inf})


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert str(Spread.of([3.0, 1.0, 10.0])) == '3 (1 to 10)'


def test_ratios_are_formed_round_by_round() -> None:
    assert ratio([2.0, 9.0], [1.0, 3.0]) == Spread(2.5, 2.0, 3.0)
    with pytest.raises(ValueError):
        ratio([1.0], [1.0, 2.0])


def test_runs_take_turns_and_each_round_is_logged() -> None:
    calls: list[str] = []
    logged: list[str] = []

    def run(name: str, value: float) -> float:
        calls.append(name)
        return value + len(calls)

    found = interleaved({'a': lambda: run('a', 0.0), 'b': lambda: run('b', 10.0)}, 2,
                        logged.append)
    assert calls == ['a', 'b', 'a', 'b']
    assert found == {'a': [1.0, 3.0], 'b': [12.0, 14.0]}
    assert logged == ['round 1 of 2: a 1, b 12', 'round 2 of 2: a 3, b 14']


def test_json_holds_everything_and_null_for_what_is_not_finite() -> None:
    found = json.loads(to_json(as_dict(REPORT)))
    assert found == as_dict(REPORT)
    assert found['figures'] == {'rate': 2.0, 'lost': None, 'far': None}
    assert found['tables'] == [{
        'title': 'Speed [1/s]', 'columns': ['peer', 'rate'],
        'rows': [['a|b', '2'], ['[bold]', '3']], 'note': 'higher is better'}]


def test_markdown_is_a_section_whose_cells_stay_cells() -> None:
    assert to_markdown(as_dict(REPORT)).splitlines() == [
        '## peers', '', '- machine: quiet, [2] cores', '', '### Speed [1/s]', '',
        '| peer | rate |', '| --- | --: |', '| a\\|b | 2 |', '| [bold] | 3 |', '',
        'higher is better']


def test_the_terminal_shows_brackets_as_they_are() -> None:
    file = io.StringIO()
    print_report(REPORT, rich_console.Console(file=file, width=80))
    shown = file.getvalue()
    for part in ('machine: quiet, [2] cores', 'Speed [1/s]', '[bold]', 'higher is better'):
        assert part in shown
