"""How often a topic with a limit is published."""

from collections.abc import Iterable
from random import Random

from depth_anything_ros.node.rate_limit import RateLimit
import pytest


def passed(stamps_s: Iterable[float], rate_hz: float) -> list[float]:
    """Return the stamps that a new limit lets pass."""
    limit = RateLimit()
    return [stamp_s for stamp_s in stamps_s if limit.passes(stamp_s, rate_hz)]


@pytest.mark.parametrize(('camera_hz', 'rate_hz', 'expected'), [
    (30, 10, 100), (30, 20, 200), (30, 7, 70), (30, 30, 300), (30, 0, 300), (10, 30, 100),
    (15, 10, 100)])
def test_the_rate_is_the_smaller_one_whatever_the_camera_has(
        camera_hz: float, rate_hz: float, expected: int) -> None:
    random = Random(0)
    stamps_s = [1e9 + index / camera_hz + random.uniform(-0.002, 0.002)
                for index in range(10 * camera_hz)]
    assert len(passed(stamps_s, rate_hz)) == pytest.approx(expected, rel=0.02)


def test_they_are_spread_evenly() -> None:
    found = passed([index / 30 for index in range(300)], 10)
    assert {round(30 * (after - before)) for before, after in zip(found, found[1:])} == {3}


def test_stamps_that_go_back_or_have_a_gap_start_anew() -> None:
    """A bag that begins again, and a camera that was unplugged."""
    assert passed([5.0, 5.05, 1.0, 1.05, 1.1, 9.0, 9.05, 9.1], 10) == [5.0, 1.0, 1.1, 9.0, 9.1]
    assert passed([5.0, 5.05, 4.5, 4.55, 4.6], 10) == [5.0, 4.5, 4.6]


def test_images_without_stamps_are_all_published() -> None:
    assert passed([0.0] * 5, 10) == [0.0] * 5
