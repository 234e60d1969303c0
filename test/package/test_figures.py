"""Every number in README and docs is the one that was measured."""

import json
from pathlib import Path

from depth_anything_ros.benchmark.machine import describe_machine
import pytest
from tools.measure.figures import pages, requote

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'docs' / 'figures').glob('*.json'))


@pytest.mark.parametrize('page', pages(), ids=lambda page: page.name)
def test_a_page_quotes_the_figures_as_they_were_measured(page: Path) -> None:
    text = page.read_text(encoding='utf-8')
    assert requote(text) == text


def test_the_readme_quotes_figures() -> None:
    assert (ROOT / 'README.md').read_text(encoding='utf-8').count('docs/figures/node.json "') >= 5


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_a_file_of_figures_names_its_command_and_machine(file: Path) -> None:
    content = json.loads(file.read_text(encoding='utf-8'))
    assert set(content) - {'reports'} == {'command', 'machine', 'figures'}
    module = content['command'].removeprefix('python -m ').replace('.', '/')
    assert (ROOT / f'{module}.py').is_file()
    assert 'cores' in content['machine']
    assert all(isinstance(value, float) for value in content['figures'].values())


def test_a_quote_is_replaced_by_the_figure_of_its_name(tmp_path: Path) -> None:
    (tmp_path / 'x.json').write_text('{"figures": {"a": 0.12345, "b": 2}}')
    page = 'one [?](docs/figures/x.json "a"), two [9](../docs/figures/x.json "b"), [other](y.md)'
    assert requote(page, tmp_path) == (
        'one [0.123](docs/figures/x.json "a"), two [2](../docs/figures/x.json "b"), [other](y.md)')


def test_the_machine_is_described_without_its_name() -> None:
    assert 'OpenVINO' in describe_machine()
