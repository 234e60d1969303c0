"""Parameters change while images flow: the old engine runs until the new one is ready."""

from collections.abc import Callable
from pathlib import Path
import threading
import time
from typing import Any

import numpy as np
import pytest
from robot import Robot
from sensor_msgs.msg import Image
from waiting import on_stderr

DEPTH = '/depth_anything/inverse_depth/image'
PICTURE = np.full((120, 160, 3), 90, np.uint8)


class Camera:
    """Shows a picture every 30 ms until it is closed."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """Stop; idempotent."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(0.03):
            self._robot.show(PICTURE)


@pytest.fixture
def flowing(make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> Any:
    """Return a node whose inference takes a while, its arrivals, and a camera that runs."""
    robot = make_robot(model=str(make_ir(slow_layers=6)), input_size=112)
    robot.bring_up()
    arrivals: list[float] = []
    robot.node.create_subscription(
        Image, DEPTH, lambda message: arrivals.append(time.monotonic()), 10)
    camera = Camera(robot)
    assert robot.until(lambda: len(arrivals) > 10)
    yield robot, arrivals, camera
    camera.close()


def test_another_input_size_comes_without_a_pause(flowing: Any) -> None:
    """The old size is used until the new one is compiled and has run once."""
    robot, arrivals, _ = flowing
    assert robot.depth._engine.state.network_hw == (112, 154)
    assert robot.set_parameters(input_size=168)[0].successful
    assert robot.until(lambda: robot.depth._engine.state.network_hw == (168, 224))
    count = len(arrivals)
    assert robot.until(lambda: len(arrivals) > count + 10)
    assert robot.depth._scheduler.stats().failed == 0
    gaps = np.diff(arrivals)
    assert gaps.max() < 1.0, 'a pause of a compilation'


def test_another_precision_comes_while_running(flowing: Any) -> None:
    robot, arrivals, _ = flowing
    before = robot.depth._engine._engine
    assert robot.set_parameters(precision='auto')[0].successful
    assert robot.until(lambda: robot.depth._engine._engine is not before)
    count = len(arrivals)
    assert robot.until(lambda: len(arrivals) > count + 5)
    assert robot.depth._scheduler.stats().failed == 0


@pytest.mark.usefixtures('capfd')
def test_a_device_that_does_not_work_leaves_the_running_one(flowing: Any) -> None:
    robot, arrivals, _ = flowing
    assert robot.set_parameters(device='NPU')[0].successful
    assert robot.until(lambda: on_stderr('the model runs as before: no device can run'))
    count = len(arrivals)
    assert robot.until(lambda: len(arrivals) > count + 5)
    assert robot.depth._engine.state.execution_device == 'CPU'
    assert robot.depth._scheduler.stats().failed == 0


def test_deactivate_and_cleanup_in_the_middle_of_a_change_succeed(flowing: Any) -> None:
    robot, _, camera = flowing
    assert robot.set_parameters(input_size=224)[0].successful
    camera.close()
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_cleanup().name == 'SUCCESS'
    assert robot.depth._engine is None


def test_another_model_comes_through_cleanup_and_configure(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> None:
    """A metric model in the place of a relative one: other topics, same node."""
    robot = make_robot()
    robot.bring_up()
    metric = str(make_ir(kind='metric', max_depth_m=20.0))
    assert 'clean' in robot.set_parameters(model=metric)[0].reason
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_cleanup().name == 'SUCCESS'
    assert robot.set_parameters(model=metric)[0].successful
    robot.bring_up()
    depths = robot.listen(Image, '/depth_anything/depth/image')
    robot.show(PICTURE)
    assert robot.until(lambda: depths)
    assert robot.node.count_publishers(DEPTH) == 0
