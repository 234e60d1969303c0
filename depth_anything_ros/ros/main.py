"""The executable ``depth_anything_node``."""

from collections.abc import Sequence

from depth_anything_ros.ros.node import DepthAnythingNode
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.utilities import try_shutdown


def main(args: Sequence[str] | None = None) -> int:
    """Spin the node until SIGINT or SIGTERM, release everything, return 0."""
    rclpy.init(args=list(args) if args is not None else None)
    node = DepthAnythingNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        node.get_logger().info('shutting down')
    finally:
        node.destroy_node()
        try_shutdown()
    return 0
