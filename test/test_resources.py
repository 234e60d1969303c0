"""The model and the photographs of the package are found however it is installed."""

from pathlib import Path

from depth_anything_ros import resources
import pytest


def test_the_shipped_model_is_that_of_the_checkout() -> None:
    """The launch file runs the same model."""
    launch_file = resources.ROOT / 'launch' / 'depth_anything.launch.py'
    model = resources.shipped_model().relative_to(resources.ROOT)
    assert f"MODEL = '{model.as_posix()}'" in launch_file.read_text()


def test_an_installed_package_has_them_in_its_share_folder(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is where pip and colcon install them."""
    monkeypatch.setattr(resources, 'ROOT', tmp_path / 'lib' / 'python3.12' / 'site-packages')
    share = tmp_path / 'share' / 'depth_anything_ros'
    assert resources.shipped_model() == share / 'models' / 'depth_anything_tiny.xml'
    assert resources.photographs() == share / 'resource' / 'photos'
