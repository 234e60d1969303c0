"""Run one node as a process: create it, spin it, and release it after SIGINT or SIGTERM."""

from collections.abc import Callable, Sequence
import signal

import cv2
from depth_anything_ros.process import keep_freed_memory
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import ok, try_shutdown


def run(make_node: Callable[[], Node], args: Sequence[str] | None = None,
        keep_spinning: bool = False) -> None:
    """
    Spin the node until SIGINT or SIGTERM, then destroy it and shut rclpy down.

    rclpy's signal handler ends spinning, and also ``make_node`` where that uses the context.
    Python's KeyboardInterrupt is off: both launch and the terminal send SIGINT, and the second one
    would interrupt the release. With ``keep_spinning`` an exception of a callback becomes an error
    in the log instead of ending the process. ``args`` None means the command line.
    """
    keep_freed_memory()
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init(args=None if args is None else list(args))
    node = None
    try:
        # First, because an executor that a signal interrupts while it is made prints a traceback.
        executor = SingleThreadedExecutor()
        node = make_node()
        executor.add_node(node)
        _spin(node, executor, keep_spinning)
    except ExternalShutdownException:
        pass
    except Exception:  # noqa: B902 - while the context shuts down any call may raise anything
        if ok():
            raise
    finally:
        if node is not None:
            node.destroy_node()
        try_shutdown()


def _spin(node: Node, executor: SingleThreadedExecutor, keep_spinning: bool) -> None:
    while True:
        try:
            return executor.spin()
        except ExternalShutdownException:
            raise
        except Exception as error:  # noqa: B902 - a faulty message must not end the process
            if not keep_spinning or not ok():
                raise
            node.get_logger().error(f'a callback failed, please report this: {error!r}')
