"""Spinning a process's node until somebody asks it to end."""

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import try_shutdown


def spin_to_the_end(node: Node) -> None:
    """
    Spin until SIGINT or SIGTERM, then destroy ``node`` and shut rclpy down.

    The signal handler invalidates the context under the executor, which may then raise anything
    from wherever it is; only what is raised while the context is valid passes through.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:  # noqa: B902
        if node.context.ok():
            raise
    finally:
        node.destroy_node()
        try_shutdown()
