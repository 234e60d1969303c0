"""Monocular depth for ROS 2: Depth Anything on OpenVINO."""

from depth_anything_ros.version import __version__

__all__ = ['__version__']
