"""The executable ``depth_anything_node``."""

from collections.abc import Sequence
import sys

from depth_anything_ros.ros.node import DepthAnythingNode
from depth_anything_ros.ros.spinning import spin_to_the_end
import rclpy


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and return 0."""
    rclpy.init(args=list(args) if args is not None else None)
    spin_to_the_end(DepthAnythingNode())
    return 0


if __name__ == '__main__':
    sys.exit(main())
