"""A rate instead of an input size: chosen in configure, kept while images flow."""

from collections.abc import Callable
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from robot import Robot
from sensor_msgs.msg import Image

DEPTH = '/depth_anything/inverse_depth/image'
PICTURE = np.full((120, 160, 3), 90, np.uint8)


def diagnosis(robot: Robot) -> dict[str, str]:
    """Return the values of the next message on /diagnostics."""
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    messages.clear()
    assert robot.until(lambda: messages)
    return {entry.key: entry.value for entry in messages[-1].status[0].values}


def test_a_rate_that_anything_holds_takes_the_largest_size_and_says_so(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot(target_rate=0.1)
    robot.bring_up()
    assert robot.depth._engine.state.network_hw == (112, 154)
    log = capfd.readouterr().err
    assert '[INFO]' in log and 'it is the largest size allowed' in log
    facts = diagnosis(robot)
    assert (facts['target rate [Hz]'], facts['input size']) == ('0.1', '112')


def test_a_rate_that_nothing_holds_takes_the_smallest_size_and_warns(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path],
        capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot(model=str(make_ir(slow_layers=12)), target_rate=1000)
    robot.bring_up()
    assert robot.depth._engine.state.network_hw == (42, 56)
    [warning] = [line for line in capfd.readouterr().err.splitlines() if '[WARN]' in line]
    assert 'needs 1000' in warning and 'too slow' in warning and 'INT8' in warning
    depths = robot.listen(Image, DEPTH)
    robot.show(PICTURE)
    assert robot.until(lambda: depths)
    assert (depths[0].height, depths[0].width) == (120, 160)


def test_every_camera_is_to_get_the_rate(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(target_rate=0.5, cameras=['front', 'rear'])
    robot.bring_up()
    assert robot.depth._engine.options.rate_hz == 1.0


def test_without_a_rate_the_size_stays_as_it_is_set(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(input_size=70)
    robot.bring_up()
    facts = diagnosis(robot)
    assert (facts['target rate [Hz]'], facts['input size']) == ('0', '70')
    assert 'target_rate' in robot.set_parameters(target_rate=5.0)[0].reason


def test_another_input_size_is_the_new_limit(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(target_rate=0.1)
    robot.bring_up()
    assert robot.set_parameters(input_size=56)[0].successful
    assert robot.until(lambda: robot.depth._engine.state.network_hw == (56, 70))


def slow_down(engine: Any, delay_s: float) -> None:
    """Make an engine answer late, as another process on its cores would."""
    submit = engine.submit

    def late(image: Any, on_done: Callable[[Any], None]) -> None:
        submit(image, lambda outcome: (time.sleep(delay_s), on_done(outcome)))

    engine.submit = late


def test_an_engine_that_becomes_slow_goes_on_with_a_smaller_size(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot(target_rate=10.0)
    robot.bring_up()
    arrivals: list[float] = []
    robot.node.create_subscription(
        Image, DEPTH, lambda message: arrivals.append(time.monotonic()), 10)

    def flowing() -> int:
        robot.show(PICTURE)
        time.sleep(0.03)
        return len(arrivals)

    paced = robot.depth._engine._engine
    assert robot.until(lambda: flowing() > 5 and paced._preparing is None)
    assert paced.state.input_size == 112
    slow_down(paced._engine, 0.15)
    assert robot.until(lambda: flowing() and paced.state.input_size == 98)
    count = len(arrivals)
    assert robot.until(lambda: flowing() > count + 5)
    assert np.diff(arrivals).max() < 1.0, 'a pause of a compilation'
    assert robot.depth._scheduler.stats().failed == 0
    [line] = [line for line in capfd.readouterr().err.splitlines() if '112 -> 98' in line]
    assert '10 wanted' in line
    assert diagnosis(robot)['input size'] == '98'
