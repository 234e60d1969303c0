"""The page about the models is made of the figures and of nothing else."""

import json
from typing import Any

import pytest
from tools.measure.figures import FOLDER
from tools.measure.models import CHART, PAGE, render, row_name


@pytest.fixture
def content() -> dict[str, Any]:
    """Return what was measured."""
    found: dict[str, Any] = json.loads((FOLDER / 'models.json').read_text(encoding='utf-8'))
    return found


def test_the_page_says_what_was_measured(content: dict[str, Any]) -> None:
    assert PAGE.read_text(encoding='utf-8') == render(content)


def test_a_row_of_the_ladder_is_a_row_of_the_page(content: dict[str, Any]) -> None:
    table, = content['reports']['ladder']['tables']
    assert table['columns'][:3] == ['model', 'licence', 'runs in']
    table['rows'] = [[f'cell {number}' for number in range(len(table['columns']))]]
    assert f'| {" | ".join(table["rows"][0])} |' in render(content).splitlines()
    assert {'rank', 'AbsRel', 'δ1', 'flicker', 'Pareto front'} <= set(table['columns'])


def test_the_chart_is_there_and_small(content: dict[str, Any]) -> None:
    assert f'(images/{CHART.name})' in render(content)
    assert 10_000 < CHART.stat().st_size < 100_000


def test_the_larger_encoders_have_size_and_speed(content: dict[str, Any]) -> None:
    name = row_name('vitl', 'fp16', 252)
    content['figures'] |= {f'{name}_mib': 631.0, f'{name}_speed': 7.126}
    assert '| vitl | fp16 | 252 | 631 | 7.13 |' in render(content).splitlines()


def test_the_quality_that_int8_promises_was_reached(content: dict[str, Any]) -> None:
    figures = content['figures']
    assert figures['int8_absrel_mean'] <= 0.012
    assert figures['int8_absrel_max'] <= 0.03
    assert figures['int8_pearson_min'] >= 0.995
