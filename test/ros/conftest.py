"""A real rclpy context on a domain of its own, and depth nodes in it."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_anything_ros.ros.node import DepthAnythingNode  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from robot import RELIABLE_INPUTS, Robot  # noqa: E402

DOMAIN_ID = 64 + os.getpid() % 36


@pytest.fixture
def context() -> Iterator[Context]:
    """Return an initialised context of its own on the test domain."""
    context = Context()
    rclpy.init(context=context, domain_id=DOMAIN_ID)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def make_robot(context: Context, tiny_ir: Path) -> Iterator[Callable[..., Robot]]:
    """Return a function that makes a depth node with the given parameters and its robot."""
    robots: list[Robot] = []

    def make(cli_args: list[str] | None = None, **parameters: Any) -> Robot:
        values = {'model': str(tiny_ir), 'cache_dir': '', 'precision': 'f32',
                  'expected_width': 160, 'expected_height': 120, 'diagnostics_period': 0.1,
                  **RELIABLE_INPUTS, **parameters}
        node = DepthAnythingNode(context=context, cli_args=cli_args, parameter_overrides=[
            Parameter(name, value=value) for name, value in values.items()])
        robots.append(Robot(context, node))
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()
