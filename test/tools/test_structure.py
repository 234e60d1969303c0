"""The figures about the structure of the code, on a small tree that is made for the test."""

import json
from pathlib import Path

import pytest
from tools import structure
from tools.measure.figures import FOLDER
from tools.structure import figures_of, main, Trail, trail_files, TRAILS

MEASURED = FOLDER / 'structure.json'
TARGETS = {'circles': 0, 'trail_distill': 14, 'trail_metric': 12, 'trail_peers': 9,
           'trail_identity': 6, 'trail_points': 9, 'trail_target_rate': 6}
FILES = {
    '__init__.py': '',
    'apple/__init__.py': '"""Apples."""\n',
    'apple/main.py': 'def run():\n    from depth_anything_ros.apple.work import f\n    f()\n',
    'apple/work.py': 'from depth_anything_ros.floor import g\n' + '# a comment\n' * 99,
    'apple/unused.py': 'x = 1\n',
    'floor.py': 'from depth_anything_ros import below\n',
    'below.py': '"""Named in a docstring only: crisp."""\n',
    'settings.py': "NAMES = ['crisp']\n",
    'user.py': 'def use(settings):\n    return settings.crisp\n',
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a checkout with a package, two tools and no circle."""
    for name, text in FILES.items():
        write(tmp_path, f'depth_anything_ros/{name}', text)
    write(tmp_path, 'tools/__init__.py', '')
    write(tmp_path, 'tools/measure.py', 'print(crisp)\n')
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    """Write a file below ``root``."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def trail(root: Path, **changes: str) -> list[str]:
    """Return the files of a feature with apple/ as its room."""
    modules, graph = structure._read(root)
    return trail_files(Trail(**{'entries': 'apple.main', 'rooms': 'apple', **changes}),
                       modules, graph)


def test_sizes_are_those_of_the_installed_files(tree: Path) -> None:
    figures = figures_of(tree)
    assert figures['files_installed'] == len(FILES)
    assert figures['lines_installed'] == sum(text.count('\n') for text in FILES.values())
    assert (figures['files_under_60'], figures['median_lines']) == (6, 1)
    assert all(isinstance(value, float) for value in figures.values())


def test_a_trail_follows_imports_inside_its_rooms_only(tree: Path) -> None:
    assert trail(tree) == ['apple.main', 'apple.work']
    assert trail(tree, rooms='apple floor') == ['apple.main', 'apple.work', 'floor']


def test_a_trail_holds_the_files_of_the_package_whose_code_names_a_symbol(tree: Path) -> None:
    assert trail(tree, symbols='crisp') == ['apple.main', 'apple.work', 'settings', 'user']
    assert 'tools.measure' in trail(tree, rooms='apple tools', symbols='crisp')


def test_names_of_older_checkouts_are_skipped(tree: Path) -> None:
    assert trail(tree, entries='apple.main | fruit.main', rooms='apple | fruit') == [
        'apple.main', 'apple.work']


def test_a_circle_is_counted_once_through_imports_inside_functions_too(tree: Path) -> None:
    assert figures_of(tree)['circles'] == 0
    write(tree, 'depth_anything_ros/below.py',
          'def late():\n    from depth_anything_ros.apple import work\n    return work\n')
    assert figures_of(tree)['circles'] == 1


def test_a_circle_through_a_name_made_at_run_time_is_counted(tree: Path) -> None:
    write(tree, 'depth_anything_ros/below.py',
          "import importlib\nNAME = 'depth_anything_ros.apple'\n"
          "importlib.import_module(f'{NAME}.{input()}')\n")
    assert figures_of(tree)['circles'] == 1


def test_another_checkout_is_printed_and_nothing_is_written(
        tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('tools.measure.figures.FOLDER', tmp_path / 'figures')
    assert main(['--root', str(tree), '--trails']) == 0
    out = capsys.readouterr().out
    assert f'files_installed      {len(FILES)}\n' in out and 'target_rate: \n' in out
    assert not (tmp_path / 'figures').exists()
    assert main(['--root', str(tmp_path / 'none')]) == 1


def test_the_figures_of_this_checkout_are_written(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('openvino')
    monkeypatch.setattr('tools.measure.figures.FOLDER', tmp_path)
    assert main([]) == 0
    content = json.loads((tmp_path / 'structure.json').read_text())
    assert content['command'] == 'python -m tools.structure'
    assert set(content['figures']) == {
        'circles', 'files_installed', 'lines_installed', 'files_under_60', 'median_lines',
        *(f'trail_{name}' for name in TRAILS)}


@pytest.mark.parametrize('name', TRAILS)
def test_every_entry_of_a_feature_exists_here(name: str) -> None:
    modules, _ = structure._read(structure.ROOT)
    short = {module.removeprefix('depth_anything_ros.') for module in modules}
    for names in (TRAILS[name].entries, TRAILS[name].rooms):
        assert set(names.partition('|')[0].split()) <= short


@pytest.mark.skipif(not MEASURED.is_file(), reason='nothing was measured yet')
def test_few_files_are_opened_for_a_feature() -> None:
    figures = json.loads(MEASURED.read_text(encoding='utf-8'))['figures']
    assert {name: figures[name] for name in TARGETS if figures[name] > TARGETS[name]} == {}
    assert all(value <= TARGETS[name] for name, value in figures_of(structure.ROOT).items()
               if name in TARGETS)
