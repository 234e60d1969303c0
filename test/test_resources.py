"""The model and the photographs of the package are found however it is installed."""

from pathlib import Path

from depth_anything_ros import resources
import pytest


def test_a_checkout_has_them_beside_the_code() -> None:
    model = resources.shipped_model()
    assert model == resources.ROOT / 'models' / 'depth_anything_tiny.xml'
    assert model.is_file() and model.with_suffix('.bin').is_file()
    assert resources.photographs() == resources.ROOT / 'resource' / 'photos'


def test_an_installed_package_has_them_in_its_share_folder(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is where pip and colcon install them."""
    monkeypatch.setattr(resources, 'ROOT', tmp_path / 'lib' / 'python3.12' / 'site-packages')
    share = tmp_path / 'share' / 'depth_anything_ros'
    assert resources.shipped_model() == share / 'models' / 'depth_anything_tiny.xml'
    assert resources.photographs() == share / 'resource' / 'photos'
