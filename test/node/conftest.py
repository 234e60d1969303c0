"""Fixtures for tests with a real ROS graph."""

from consumers import outputs_of  # noqa: F401
from drive import make_drive  # noqa: F401
from nodes import context, make_robot  # noqa: F401
