"""
The executable ``depth_anything_player``: a camera made of picture files.

Publishes ``image`` (bgr8) and ``camera_info`` under one stamp, in a loop, at a fixed rate.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.tools.footage import Footage, open_footage

if TYPE_CHECKING:
    from rclpy.node import Node

FRAME_ID = 'camera_optical_frame'


def main(arguments: Sequence[str] | None = None) -> int:
    """Play until SIGINT or SIGTERM and return 0, or 1 after an error."""
    from depth_anything_ros.ros.spinning import run
    from rclpy.utilities import remove_ros_args
    command_line = list(sys.argv if arguments is None else ['depth_anything_player', *arguments])
    options = _parser().parse_args(remove_ros_args(command_line)[1:])
    try:
        footage = open_footage(options.images, (options.height, options.width), options.focal)
    except DepthAnythingError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    run(lambda: _make_node(footage, options.rate), command_line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='depth_anything_player', description=__doc__)
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help='pictures to play in the order of their names '
                             '(default: the photographs of the package)')
    parser.add_argument('--rate', type=float, default=30.0, metavar='HZ', help='default: 30')
    parser.add_argument('--width', type=int, default=640, metavar='PX', help='default: 640')
    parser.add_argument('--height', type=int, default=480, metavar='PX', help='default: 480')
    parser.add_argument('--focal', type=float, metavar='PX',
                        help='focal length (default: 60 degrees horizontal field of view)')
    return parser


def _make_node(footage: Footage, rate_hz: float) -> 'Node':
    from depth_anything_ros.ros.encode import color_message
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo, Image
    height, width = footage.camera.size_hw
    camera = footage.camera
    info = CameraInfo(
        height=height, width=width, distortion_model='plumb_bob', d=[0.0] * 5,
        k=[camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0])
    info.header.frame_id = FRAME_ID
    node = Node('depth_anything_player')
    images = node.create_publisher(Image, 'image', QoSProfile(depth=1))
    infos = node.create_publisher(CameraInfo, 'camera_info', QoSProfile(depth=1))
    node.get_logger().info(f'{footage.count} frames of {footage.name} at {rate_hz:g} Hz')
    played = 0

    def play() -> None:
        nonlocal played
        info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        images.publish(color_message(info.header, footage.read(played % footage.count)))
        played += 1

    node.create_timer(1 / rate_hz, play)
    return node


if __name__ == '__main__':
    sys.exit(main())
