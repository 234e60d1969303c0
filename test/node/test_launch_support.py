"""Packages that a launch file needs are looked up in the ament index."""

from pathlib import Path

from depth_anything_ros.errors import MissingDependencyError
from depth_anything_ros.node.launch_support import require_packages
import pytest


@pytest.fixture(autouse=True)
def one_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put one package into an index of its own."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'here').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')


def test_installed_packages_are_accepted() -> None:
    require_packages('a scan', ['here'])
    require_packages('nothing', [])


def test_one_sentence_names_the_purpose_the_package_and_the_line_that_installs_all() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        require_packages('a scan', ['here', 'not_here', 'nor_this'])
    assert str(caught.value) == (
        'a scan needs not_here, which is not installed: sudo apt install ros-jazzy-not-here '
        'ros-jazzy-nor-this')
    assert caught.value.package == 'not_here'


def test_without_a_sourced_distribution_the_line_names_the_variable(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('ROS_DISTRO')
    with pytest.raises(MissingDependencyError, match=r'ros-\$ROS_DISTRO-not-here$'):
        require_packages('a scan', ['not_here'])
