"""Run one node as a process: create it, spin it, and release it after SIGINT or SIGTERM."""

from collections.abc import Callable, Sequence
import re
import signal

import cv2
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.process import keep_freed_memory
from depth_anything_ros.ros.callbacks import failure, one_line, ThrottledLogger
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import ok, remove_ros_args, try_shutdown


class RosArgumentsError(DepthAnythingError):
    """The arguments after --ros-args or a parameter file cannot be read."""

    def __init__(self, problem: object) -> None:
        # rcl adds the lines of its own source code.
        reason = re.sub(r', at \S+:\d+', '', one_line(problem))
        super().__init__(f'ROS cannot start ({reason}); check the arguments after --ros-args and '
                         'the parameter file')


def without_ros_arguments(command_line: Sequence[str]) -> list[str]:
    """Return the arguments of the program itself; RosArgumentsError if the others are wrong."""
    try:
        return list(remove_ros_args(list(command_line)))
    except Exception as error:  # noqa: B902 - rclpy has no public class for it
        raise RosArgumentsError(error) from error


def run(make_node: Callable[[], Node], args: Sequence[str] | None = None,
        keep_spinning: bool = False) -> None:
    """
    Spin the node until SIGINT or SIGTERM, then destroy it and shut rclpy down.

    rclpy's signal handler ends spinning, and also ``make_node`` where that uses the context.
    Python's handlers are off: both launch and the terminal send SIGINT, the second of which would
    interrupt the release, and rclpy calls the one of SIGTERM after spinning. With
    ``keep_spinning`` an exception of a callback becomes an error in the log instead of ending the
    process. ``args`` None means the command line.
    RosArgumentsError if rclpy does not accept them.
    """
    keep_freed_memory()
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        rclpy.init(args=None if args is None else list(args))
    except Exception as error:  # noqa: B902 - rclpy has no public class for it
        raise RosArgumentsError(error) from error
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
        _release(node)


def _release(node: Node | None) -> None:
    try:
        if node is not None:
            node.destroy_node()
    except Exception:  # noqa: B902 - as above
        if ok():
            raise
    finally:
        try_shutdown()


def _spin(node: Node, executor: SingleThreadedExecutor, keep_spinning: bool) -> None:
    log = ThrottledLogger(lambda sentence: node.get_logger().error(sentence))
    while True:
        try:
            return executor.spin()
        except ExternalShutdownException:
            raise
        except Exception as error:  # noqa: B902 - a faulty message must not end the process
            if not keep_spinning or not ok():
                raise
            log(failure('a callback failed', error))
