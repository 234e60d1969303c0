"""Each room imports only what the architecture allows, and no files import each other."""

from collections.abc import Mapping
from pathlib import Path
import re
import subprocess
import sys

import pytest
from tools.structure import (
    circles, import_graph, imports_of, module_name, modules_below, NAME, PACKAGE, ROOT)

GROUND = 'ground floor'
# What each room may import. Programs do not import each other, with two exceptions: distilling
# ends with a conversion, and the benchmark evaluates the accuracy of a model beside its speed.
_BELOW = {GROUND, 'vision', 'media', 'inference', 'cli'}
ROOMS = {
    GROUND: {GROUND},
    'vision': {GROUND},
    'alignment': {GROUND, 'vision'},
    'media': {GROUND, 'vision'},
    'inference': {GROUND, 'vision'},
    'networks': {GROUND},
    'cli': {GROUND},
    'fleet': {GROUND},
    'ros': {GROUND, 'vision'},
    'api': {GROUND, 'vision', 'inference'},
    'node': {GROUND, 'vision', 'media', 'alignment', 'inference', 'ros'},
    'run': _BELOW | {'fleet'},
    'evaluate': _BELOW | {'api'},
    'convert': _BELOW | {'networks'},
    'distill': _BELOW | {'api', 'alignment', 'fleet', 'networks', 'convert'},
    'benchmark': _BELOW | {'api', 'ros', 'evaluate'},
    'app': _BELOW | {'api'},
    'demo': _BELOW | {'api', 'ros'},
    'view': {GROUND, 'vision', 'cli', 'ros'},
}
# What a room must not import of a room that it may import.
EXCEPT = {
    'vision': {f'{NAME}.{name}' for name in (
        'parameters', 'motion_parameters', 'parameter_spec')},
    'networks': {f'{NAME}.{name}' for name in (
        'parameters', 'motion_parameters', 'parameter_spec', 'process', 'files', 'resources',
        'arrays', 'version', 'foreign_files', 'stamps')},
}
# What must not be in memory after every module of the room was imported.
NEVER = {
    'vision': {'openvino', 'rclpy', 'torch'},
    'alignment': {'openvino', 'rclpy', 'torch'},
    'media': {'openvino', 'rclpy', 'torch', 'rosbags'},
    'inference': {'rclpy', 'torch'},
    'api': {'rclpy', 'torch'},
    'ros': {'openvino', 'torch'},
    'node': {'torch', 'onnx', 'typer', f'{NAME}.convert'},
    'view': {'openvino', 'torch', 'typer', f'{NAME}.node'},
    'app': {'rclpy', 'torch', f'{NAME}.node', f'{NAME}.ros'},
    'convert': {'rclpy', 'nncf', f'{NAME}.node', f'{NAME}.ros'},
    'distill': {'rclpy', 'nncf', f'{NAME}.node', f'{NAME}.ros'},
    'networks': {'openvino', 'rclpy'},
    'cli': {'openvino', 'rclpy', 'torch', 'cv2'},
    'fleet': {'ray', 'fsspec', 'openvino', 'rclpy', 'torch', 'cv2'},
    'run': {'ray', 'rclpy', 'torch'},
}
ONLY = {GROUND: {'numpy'}, 'vision': {'numpy', 'cv2'}}
NEEDS = {'vision': ['cv2'], 'alignment': ['cv2'], 'media': ['cv2'], 'inference': ['cv2'],
         'ros': ['rclpy'], 'node': ['rclpy'], 'networks': ['torch'], 'cli': ['typer'],
         'view': ['rclpy', 'viser'], 'app': ['gradio', 'typer'], 'convert': ['torch', 'typer'],
         'distill': ['torch', 'typer']}
LONGEST_FILE = 400

LIST_LOADED = """
import importlib, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
# None stands for a module that must not be imported.
print('\\n'.join(name for name, module in sys.modules.items()
                 if module is not None and name not in before))
"""


def room_of(module: str) -> str:
    """Return the room that a dotted name of the package stands for."""
    parts = module.split('.')
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else GROUND


def room_files(room: str) -> list[Path]:
    """Return the modules of a room; the package's own ``__init__`` stands above all of them."""
    return [path for module, path in modules_below(PACKAGE).items()
            if room_of(module) == room and module != NAME]


def loaded_by(room: str) -> set[str]:
    """Return the modules that importing the whole room brings into a fresh interpreter."""
    for package in NEEDS.get(room, []):
        pytest.importorskip(package)
    names = [module_name(path) for path in room_files(room)]
    run = subprocess.run([sys.executable, '-c', LIST_LOADED, *names], cwd=ROOT,
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def written(folder: Path, files: Mapping[str, str]) -> dict[str, Path]:
    """Return modules with the given texts, written below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return modules_below(folder, folder)


def test_every_folder_of_the_package_is_a_known_room() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob('*.py')
               if path.parent != PACKAGE}
    assert folders == set(ROOMS) - {GROUND, 'api'}


@pytest.mark.parametrize('room', NEVER)
def test_importing_a_room_loads_nothing_that_it_must_not_know(room: str) -> None:
    loaded = loaded_by(room)
    assert f'{NAME}.{room}' in loaded
    assert not {module for module in loaded for banned in NEVER[room]
                if module == banned or module.startswith(f'{banned}.')}


@pytest.mark.parametrize('room', ONLY)
def test_low_rooms_load_only_the_packages_they_are_made_of(room: str) -> None:
    top_level = {name.split('.')[0] for name in loaded_by(room)}
    foreign = top_level - set(sys.stdlib_module_names) - {NAME, 'cython_runtime'}
    assert {name for name in foreign if not name.startswith('_cython_')} == ONLY[room]


@pytest.mark.parametrize('room', ROOMS)
def test_imports_between_rooms_point_down(room: str) -> None:
    upward = [f'{path.relative_to(PACKAGE)} imports {name}' for path in room_files(room)
              for name in imports_of(path) if name.split('.')[0] == NAME
              and (room_of(name) not in ROOMS[room] | {room}
                   or any(name.startswith(banned) for banned in EXCEPT.get(room, ())))]
    assert not upward


def test_every_import_of_the_package_names_a_module_or_a_member_of_one() -> None:
    """Members of the package itself are for users: which room they are from cannot be seen."""
    modules = modules_below(PACKAGE)
    unclear = [f'{module} imports {name}' for module, path in modules.items()
               for name in imports_of(path) if name.split('.')[0] == NAME
               and name not in modules and name.rpartition('.')[0] in (NAME, '')]
    assert not unclear


def test_the_page_about_the_architecture_lists_what_each_room_may_import() -> None:
    text = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    rows = [re.findall(r'`(\w+)(?:/|\.py)`', cell) for line in text.splitlines()
            if line.startswith('| `') for cell in line.split('|')[1:3]]
    page = {room: set(may) - {room} for rooms, may in zip(rows[::2], rows[1::2])
            for room in rooms if room in ROOMS}
    page['distill'] |= page['convert']
    assert {room: may & set(ROOMS) for room, may in page.items()} == {
        room: may - {GROUND, room} for room, may in ROOMS.items() if room != GROUND}


def test_nothing_installed_knows_the_tools_or_the_data_beside_the_repository() -> None:
    for path in PACKAGE.rglob('*.py'):
        assert not {name for name in imports_of(path) if name.split('.')[0] == 'tools'}, path
        assert '/shared' not in path.read_text() and "/ 'shared" not in path.read_text(), path


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {**modules_below(PACKAGE), **modules_below(ROOT / 'tools')}
    assert circles(import_graph(modules)) == []


@pytest.mark.parametrize('text', [
    'def late():\n    from p.a import f\n', 'import p.a\n', 'from p import a\n',
    'from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import f\n'])
def test_a_circle_is_seen_wherever_the_import_stands(tmp_path: Path, text: str) -> None:
    modules = written(tmp_path, {'p/__init__.py': '', 'p/a.py': 'from p.b import g\n',
                                 'p/b.py': 'from p.c import h\n', 'p/c.py': text,
                                 'p/d.py': 'from p.a import f\n'})
    assert circles(import_graph(modules)) == [['p.a', 'p.b', 'p.c']]


@pytest.mark.parametrize('text', [
    'from importlib import import_module\nimport_module("p." + "a")\n', '__import__("p")\n',
    'from . import a\n'])
def test_an_import_that_cannot_be_followed_is_refused(tmp_path: Path, text: str) -> None:
    modules = written(tmp_path, {'p/__init__.py': text})
    with pytest.raises(ValueError, match='import'):
        import_graph(modules)


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines())
               for path in PACKAGE.rglob('*.py')}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}
