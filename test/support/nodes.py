"""Fixtures: an isolated rclpy context, and depth nodes in it."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
from typing import Any

from depth_anything_ros.node.node import DepthAnythingNode
import pytest
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from robot import RELIABLE_INPUTS, Robot

DOMAIN_ID = 64 + os.getpid() % 36
# Long enough for an inference while other programs use the CPU.
LOADED_S = 60.0


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """
    Return an initialized context whose nodes discover only each other.

    Another run of these tests has nodes of the same names: if they were discovered, services
    would not be found and counts would be wrong.
    """
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF')
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
                  'request_timeout': LOADED_S,
                  **RELIABLE_INPUTS, **parameters}
        node = DepthAnythingNode(context=context, cli_args=cli_args, parameter_overrides=[
            Parameter(name, value=value) for name, value in values.items()])
        robots.append(Robot(context, node))
        return robots[-1]

    yield make
    for robot in robots:
        robot.close()
