"""An ament prefix with this package and what a test installs, and the arguments of setup.py."""

from collections.abc import Callable
from pathlib import Path
import runpy

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]
INDEX = Path('share', 'ament_index', 'resource_index', 'packages')


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that puts a ROS package into a prefix; our own is there, from source."""
    prefix = tmp_path / 'prefix'
    (prefix / INDEX).mkdir(parents=True)
    (prefix / INDEX / 'depth_anything_ros').touch()
    (prefix / 'share' / 'depth_anything_ros').symlink_to(ROOT)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')

    def put(name: str) -> Path:
        (prefix / INDEX / name).touch()
        return prefix

    return put


@pytest.fixture
def setup_arguments(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Return what setup.py hands to setuptools."""
    found: dict = {}
    monkeypatch.setattr(setuptools, 'setup', found.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    return found
