"""The executable ``depth_anything_node``."""

from collections.abc import Sequence
import sys

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.node.node import DepthAnythingNode
from depth_anything_ros.ros.spin import run


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM and return 0, or 1 if it cannot start."""
    try:
        run(DepthAnythingNode, args, keep_spinning=True)
    except DepthAnythingError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
