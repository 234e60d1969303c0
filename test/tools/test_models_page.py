"""The page about the models is made of the figures and of nothing else."""

import json

import pytest
from tools.measure.figures import FOLDER
from tools.measure.models import PAGE, render, row_name


@pytest.fixture
def figures() -> dict[str, float]:
    """Return the figures as they were measured."""
    return json.loads((FOLDER / 'models.json').read_text(encoding='utf-8'))['figures']


def test_the_page_says_what_was_measured(figures: dict[str, float]) -> None:
    assert PAGE.read_text(encoding='utf-8') == render(figures)


def test_a_row_shows_the_figures_of_its_model(figures: dict[str, float]) -> None:
    name = row_name('vits', 'int8', 252)
    changed = figures | {f'{name}_mib': 31.0, f'{name}_agreement': 0.01234, f'{name}_absrel': 0.5,
                         f'{name}_delta1': 0.25, f'{name}_speed': 7.126}
    assert '| vits | int8 | INT8 and bf16 | 252 | 31 | 0.0123 | 0.500 | 0.250 | 7.13 |' in (
        render(changed).splitlines())


def test_random_weights_have_no_accuracy(figures: dict[str, float]) -> None:
    rows = [line for line in render(figures).splitlines() if line.startswith('| vitl | fp16 ')]
    assert len(rows) == 3 and all('|  |  |  |' in row for row in rows)


def test_the_quality_that_int8_promises_was_reached(figures: dict[str, float]) -> None:
    assert figures['int8_absrel_mean'] <= 0.012
    assert figures['int8_absrel_max'] <= 0.03
    assert figures['int8_pearson_min'] >= 0.995
