"""What the measurement of images on their way to the node reports."""

import pytest

pytest.importorskip('rclpy')

from tools.measure import images  # noqa: E402


def test_a_header_that_claims_much_costs_little() -> None:
    assert images.decode(1) < 100


@pytest.mark.parametrize('profile', ['', str(images.ROOT / 'config' / 'fastdds.xml')],
                         ids=['default', 'profile'])
def test_images_arrive_from_another_process(
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], profile: str) -> None:
    """Fast DDS accepts the profile; it prints errors of profiles that it does not."""
    monkeypatch.setattr(images, 'SIZE_HW', (48, 64))
    assert 0 < images.arrived(20, profile) <= 1
    assert 'rror' not in capfd.readouterr().err
