"""Each room imports only what the architecture allows it, and imports point down."""

import ast
from collections.abc import Iterator
from pathlib import Path
import subprocess
import sys

import depth_anything_ros
import pytest

PACKAGE = Path(depth_anything_ros.__file__).parent
NAME = PACKAGE.name
GROUND = 'ground floor'
LONGEST_FILE = 250

MAY_USE_ROOMS = {
    GROUND: {GROUND},
    'vision': {GROUND, 'vision'},
    'inference': {GROUND, 'vision', 'inference'},
    'ros': {GROUND, 'vision', 'media', 'inference', 'ros'},
    'media': {GROUND, 'vision', 'media'},
    'convert': {GROUND, 'vision', 'media', 'convert'},
    'tools': {GROUND, 'vision', 'media', 'inference', 'ros', 'convert', 'tools'},
}
# What must not be in memory after every module of the room was imported.
NEVER = {
    'vision': {'openvino', 'rclpy', 'torch'},
    'inference': {'rclpy', 'torch'},
    'ros': {'torch', 'onnx', f'{NAME}.convert'},
    'media': {'openvino', 'rclpy', 'torch', 'rosbags'},
    'convert': {'rclpy', 'nncf', f'{NAME}.ros'},
}
ONLY = {GROUND: set(), 'vision': {'numpy', 'cv2'}}
NEEDS = {'vision': ['cv2'], 'media': ['cv2'], 'inference': ['cv2'], 'ros': ['rclpy'],
         'convert': ['torch', 'typer']}

LIST_LOADED = """
import importlib, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print('\\n'.join(set(sys.modules) - before))
"""


def room_files(room: str) -> list[Path]:
    """Return the modules of a room."""
    return sorted(PACKAGE.glob('*.py') if room == GROUND else (PACKAGE / room).rglob('*.py'))


def module_name(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def room_of(module: str) -> str:
    """Return the room that a dotted name of the package stands for."""
    parts = module.split('.')
    return parts[1] if len(parts) > 1 and parts[1] in MAY_USE_ROOMS else GROUND


def loaded_by(room: str) -> set[str]:
    """Return the modules that importing the whole room brings into a fresh interpreter."""
    for package in NEEDS.get(room, []):
        pytest.importorskip(package)
    names = [module_name(path) for path in room_files(room)]
    run = subprocess.run([sys.executable, '-c', LIST_LOADED, *names], cwd=PACKAGE.parent,
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def own_imports(path: Path) -> Iterator[str]:
    """Return every dotted name of the package that a file imports, at the top or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path.name}:{node.lineno} is a relative import'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split('.')[0] == NAME)


def test_every_folder_of_the_package_is_a_known_room() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob('*.py')
               if path.parent != PACKAGE}
    assert folders == set(MAY_USE_ROOMS) - {GROUND}


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


@pytest.mark.parametrize('room', MAY_USE_ROOMS)
def test_imports_between_rooms_point_down(room: str) -> None:
    upward = [f'{path.relative_to(PACKAGE)} imports {name}' for path in room_files(room)
              for name in own_imports(path) if room_of(name) not in MAY_USE_ROOMS[room]]
    assert not upward


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines())
               for path in PACKAGE.rglob('*.py')}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}
