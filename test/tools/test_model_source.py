"""Where the demo takes its model and its photographs from."""

from pathlib import Path

from depth_anything_ros.tools import model_source
import pytest


def test_the_shipped_model_is_that_of_the_checkout() -> None:
    """Which is the one that the launch file starts with."""
    launch_file = model_source.ROOT / 'launch' / 'depth_anything.launch.py'
    model = model_source.shipped_model().relative_to(model_source.ROOT)
    assert f"MODEL = '{model.as_posix()}'" in launch_file.read_text()


def test_an_installed_package_has_them_in_its_share_folder(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip and colcon lay them out."""
    monkeypatch.setattr(model_source, 'ROOT', tmp_path / 'lib' / 'python3.12' / 'site-packages')
    share = tmp_path / 'share' / 'depth_anything_ros'
    assert model_source.shipped_model() == share / 'models' / 'depth_anything_nano.xml'
    assert model_source.photographs() == share / 'resource' / 'photos'
