"""One node as a process: up, spinning, and down again when somebody asks."""

from collections.abc import Callable, Sequence
import signal

import cv2
from depth_anything_ros.process import keep_freed_memory
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import ok, try_shutdown


def run(make_node: Callable[[], Node], args: Sequence[str] | None = None) -> None:
    """
    Spin the node until SIGINT or SIGTERM, then destroy it and shut rclpy down.

    rclpy's own handler ends the spinning for both signals, and what ``make_node`` does meanwhile.
    Python's KeyboardInterrupt is switched off below it: launch and the terminal both send SIGINT,
    and the second would interrupt the release. ``args`` None takes the command line.
    """
    keep_freed_memory()
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init(args=None if args is None else list(args))
    node = None
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except Exception:  # noqa: B902 - whatever uses a context that ends may raise anything
        if ok():
            raise
    finally:
        if node is not None:
            node.destroy_node()
        try_shutdown()
