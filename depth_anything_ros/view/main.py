"""
The executable ``depth_anything_view``: shows a running depth node in a browser, without RViz.

The page has the image, its depth in colours, the point cloud, the statuses of the node, buttons
for its transitions and services, and its parameters.
"""

import argparse
from collections.abc import Sequence
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, require_packages, run_program
from depth_anything_ros.errors import INSTALL_ROS, INSTALL_VIEW

if TYPE_CHECKING:
    from rclpy.node import Node

PROGRAM = Program('depth_anything_view', INSTALL_ROS)
LOOPBACK = '127.0.0.1'
PORT = 8080


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until SIGINT or SIGTERM and return 0, or 1 after an error."""
    command_line = list(sys.argv if arguments is None else [PROGRAM.name, *arguments])
    return run_program(PROGRAM, lambda: _run(command_line))


def _run(command_line: list[str]) -> None:
    require_packages(PROGRAM, 'viser', install=INSTALL_VIEW)
    from depth_anything_ros.ros.spin import run, without_ros_arguments
    parser = _parser()
    options = parser.parse_args(without_ros_arguments(command_line)[1:])
    if not 0.001 <= options.rate <= 1000:
        parser.error(f'--rate is {options.rate:g}; it must be from 0.001 to 1000')
    if options.points < 1:
        parser.error(f'--points is {options.points}; it must be at least 1')
    if not 0 <= options.port < 65536:
        parser.error(f'--port is {options.port}; it must be from 0 to 65535')
    run(lambda: _make_node(options), command_line, keep_spinning=True)


def _make_node(options: argparse.Namespace) -> 'Node':
    from depth_anything_ros.view.viewer import Viewer
    return Viewer(options.node, options.host, options.port, options.rate, options.points)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM.name, description=__doc__)
    parser.add_argument('--node', default='depth_anything', metavar='NAME',
                        help='name of the depth node, in the namespace of this one unless it '
                             'begins with / (default: depth_anything)')
    parser.add_argument('--host', default=LOOPBACK, metavar='ADDRESS',
                        help='address to listen on (default: 127.0.0.1, this machine only). '
                             '0.0.0.0 lets everybody in the network see the page and press its '
                             'buttons')
    parser.add_argument('--port', type=int, default=PORT, metavar='NUMBER',
                        help='port to listen on, 0 for a free one (default: 8080)')
    parser.add_argument('--rate', type=float, default=10.0, metavar='HZ',
                        help='most pictures and clouds per second that the page shows '
                             '(default: 10)')
    parser.add_argument('--points', type=int, default=24_000, metavar='NUMBER',
                        help='most points of a cloud that the page shows, evenly chosen from '
                             'larger ones (default: 24000)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
