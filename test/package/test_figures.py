"""Every number in README and docs was measured, and every command that they name exists."""

import json
from pathlib import Path
import re

from depth_anything_ros.benchmark.machine import describe_machine
import pytest
from tools.measure import figures
from tools.measure.figures import pages, requote

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'docs' / 'figures').glob('*.json'))
# Pages and files in which people find commands.
QUOTING = [*pages(), ROOT / 'CONTRIBUTING.md', ROOT / 'CHANGELOG.rst', ROOT / 'Makefile',
           ROOT / 'config' / 'depth_anything.yaml', *FILES]
# The model of the package has a name like a program.
NO_PROGRAMS = {'depth_anything_tiny'}
FOLDERS = (ROOT, ROOT / 'depth_anything_ros', ROOT / 'depth_anything_ros' / 'convert')


def is_module(name: str) -> bool:
    """Return whether ``python -m`` runs this module of the repository."""
    path = ROOT.joinpath(*name.split('.'))
    return path.with_suffix('.py').is_file() or (path / '__main__.py').is_file()


@pytest.mark.parametrize('page', pages(), ids=lambda page: page.name)
def test_a_page_quotes_the_figures_as_they_were_measured(page: Path) -> None:
    text = page.read_text(encoding='utf-8')
    assert requote(text) == text


def test_the_page_about_models_quotes_figures() -> None:
    page = ROOT / 'docs' / 'choosing.md'
    assert page.read_text(encoding='utf-8').count('figures/node.json "') >= 5


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_a_file_of_figures_names_its_command_and_machine(file: Path) -> None:
    content = json.loads(file.read_text(encoding='utf-8'))
    assert set(content) - {'reports', 'elsewhere'} == {'command', 'machine', 'figures'}
    assert content['command'].startswith('python -m ') and is_module(content['command'].split()[2])
    assert 'cores' in content['machine']
    assert all(isinstance(value, float) for value in content['figures'].values())


def test_a_figure_that_is_kept_stays_that_of_its_machine(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a part that is measured again would move all others to this machine."""
    monkeypatch.setattr(figures, 'FOLDER', tmp_path)

    def measured(machine: str, kept: bool = True, **values: float) -> dict[str, object]:
        monkeypatch.setattr(figures, 'describe_machine', lambda: machine)
        path = figures.write_figures('x', 'python -m x', values,
                                     kept=figures.read_figures('x') if kept else ())
        content = json.loads(path.read_text())
        assert content.pop('command') == 'python -m x' and content.pop('machine') == machine
        return content

    assert measured('first', a=1.0, b=2.0) == {'figures': {'a': 1.0, 'b': 2.0}}
    assert measured('second', b=3.0, c=4.0) == {
        'figures': {'a': 1.0, 'b': 3.0, 'c': 4.0}, 'elsewhere': {'first': ['a']}}
    assert measured('third', c=5.0) == {
        'figures': {'a': 1.0, 'b': 3.0, 'c': 5.0},
        'elsewhere': {'first': ['a'], 'second': ['b']}}
    assert measured('first', b=6.0) == {
        'figures': {'a': 1.0, 'b': 6.0, 'c': 5.0}, 'elsewhere': {'third': ['c']}}
    assert measured('second', kept=False, c=7.0) == {'figures': {'c': 7.0}}


def test_a_quote_is_replaced_by_the_figure_of_its_name(tmp_path: Path) -> None:
    (tmp_path / 'x.json').write_text('{"figures": {"a": 0.12345, "b": 2}}')
    page = 'one [?](docs/figures/x.json "a"), two [9](../docs/figures/x.json "b"), [other](y.md)'
    assert requote(page, tmp_path) == (
        'one [0.123](docs/figures/x.json "a"), two [2](../docs/figures/x.json "b"), [other](y.md)')


def test_the_machine_is_described_without_its_name() -> None:
    assert 'OpenVINO' in describe_machine()


@pytest.mark.parametrize('file', QUOTING, ids=lambda file: file.name)
def test_every_module_and_program_that_is_named_exists(file: Path) -> None:
    text = file.read_text(encoding='utf-8')
    modules = set(re.findall(r'python3? -m ((?:tools|depth_anything_ros)[\w.]*)', text))
    assert {name for name in modules if not is_module(name)} == set()


@pytest.mark.parametrize(
    'name', ['docs/architecture.md', 'docs/reliability.md', 'CONTRIBUTING.md'])
def test_every_file_and_room_that_is_named_exists(name: str) -> None:
    paths = re.findall(r'`([\w./]*(?:\.py|[a-z]/))`', (ROOT / name).read_text(encoding='utf-8'))
    assert paths
    assert [path for path in paths if path != 'demo_output/'
            and not any((folder / path).exists() for folder in FOLDERS)] == []


def test_every_program_that_is_named_is_installed() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    programs = set(re.findall(r"'(depth_anything_\w+) = ", setup))
    lines = [line for file in QUOTING for line in file.read_text(encoding='utf-8').splitlines()]
    named = {name for line in lines
             for name in re.findall(r'(?:^|`|\$ |bin/|depth_anything_ros )(depth_anything_[a-z]+)'
                                    r'(?= |`|$)', line.strip())}
    assert programs and named >= programs - {'depth_anything_player'}
    assert named - programs - NO_PROGRAMS == set()
