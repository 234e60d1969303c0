"""The executable ``depth_anything_node``."""

from collections.abc import Sequence
import os
import signal
import sys

from depth_anything_ros.errors import DepthAnythingError, INSTALL_ROS, MissingDependencyError


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and return 0, or 1 if it cannot start."""
    # Until ``run`` changes that: KeyboardInterrupt would be a traceback of any of the imports.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))
    try:
        from depth_anything_ros.node.node import DepthAnythingNode
        from depth_anything_ros.ros.spin import run
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition('.')[0]
        return _fail(MissingDependencyError(package, 'depth_anything_node', INSTALL_ROS))
    try:
        run(DepthAnythingNode, args, keep_spinning=True)
    except DepthAnythingError as error:
        return _fail(error)
    return 0


def _fail(error: DepthAnythingError) -> int:
    print(f'error: {error}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
