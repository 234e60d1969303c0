"""The long run of two cameras, made short and with a tiny model."""

import os
from pathlib import Path

import cv2
from depth_anything_ros.cli.processes import ros_parameters
from depth_anything_ros.ros.observer import ObserverError
import numpy as np
import pytest
from tools.measure.navigation_soak import growth, soak


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stay on a domain of this test, with a picture of its own."""
    cv2.imwrite(str(tmp_path / 'rgb_0.png'), np.full((60, 80, 3), (10, 20, 128), np.uint8))
    monkeypatch.setattr('tools.shared_data.SEQUENCE', tmp_path)
    monkeypatch.setattr('tools.measure.navigation_soak._WARM_UP_CYCLES', 1)
    monkeypatch.setenv('ROS_DOMAIN_ID', str(64 + (os.getpid() + 18) % 36))


def test_both_cameras_deliver_after_every_round_of_the_lifecycle(
        tiny_ir: Path) -> None:
    """Four seconds with a pause each second, every third of which loads the model again."""
    logged: list[str] = []
    figures = soak(tiny_ir, 0.07, logged.append)
    assert figures['soak_missed_transitions'] == 0, logged
    assert figures['soak_minutes'] == 0.07
    assert figures['soak_frames'] > 20
    assert figures['soak_smallest_share'] > 0.6
    assert abs(figures['soak_rss_growth_mib']) < 100
    assert 'frames' in logged[0]


def test_a_topic_that_stays_silent_is_counted_and_named(
        tiny_ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can come in no time."""
    monkeypatch.setattr('tools.measure.navigation_soak._DELIVERY_S', 0.0)
    logged: list[str] = []
    figures = soak(tiny_ir, 0.03, logged.append)
    assert figures['soak_missed_transitions'] == len(logged) - 1 >= 1
    assert any('/depth_anything/rear/points' in sentence for sentence in logged)


def test_a_node_that_cannot_be_configured_ends_the_run_with_its_last_words(
        tmp_path: Path) -> None:
    """Which name the file."""
    with pytest.raises(ObserverError, match='could not configure.*missing.xml'):
        soak(tmp_path / 'missing.xml', 0.1, print)


def test_growth_leaves_out_the_first_tenth_and_single_peaks() -> None:
    """Warming up is no growth, neither is the load of a model."""
    resident = [100.0 + 3 * number for number in range(10)] + [200.0] * 40 + [207.0] * 50
    resident[15] = resident[95] = 900.0
    assert growth(resident) == 7.0
    assert growth([5.0]) == 0.0


def test_lists_of_parameters_reach_the_command_line_as_yaml() -> None:
    """As the names of the cameras do."""
    assert ros_parameters({'cameras': ('front', 'rear'), 'self_check': False, 'device': ''}) == [
        '--ros-args', '-p', 'cameras:=[front, rear]', '-p', 'self_check:=false', '-p',
        "device:=''"]
