"""Fixtures for tests with a real ROS graph."""

from nodes import context, make_robot  # noqa: F401
