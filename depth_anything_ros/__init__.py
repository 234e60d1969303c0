"""Monocular depth for ROS 2: Depth Anything on OpenVINO."""

__version__ = '0.1.0'
