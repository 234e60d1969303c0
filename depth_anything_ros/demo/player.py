"""
The executable ``depth_anything_player``: a node that publishes picture files like a camera.

It plays a folder of images, by default the photographs of the package, on the topics ``image``, or
``image/compressed`` as JPEG, and ``camera_info``.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, require_positive, run_program
from depth_anything_ros.errors import INSTALL_ROS

if TYPE_CHECKING:
    from depth_anything_ros.arrays import U8
    from depth_anything_ros.demo.footage import Footage
    from rclpy.node import Node
    from std_msgs.msg import Header

PROGRAM = Program('depth_anything_player', INSTALL_ROS)
# Of the published images, in pixels.
_LARGEST_SIDE = 8192
# The period of a timer has nanoseconds in 64 bits.
_LOWEST_HZ = 0.001
FRAME_ID = 'camera_optical_frame'


def main(arguments: Sequence[str] | None = None) -> int:
    """Play until SIGINT or SIGTERM and return 0, or 1 after an error."""
    command_line = list(sys.argv if arguments is None else [PROGRAM.name, *arguments])
    return run_program(PROGRAM, lambda: _run(command_line))


def _run(command_line: list[str]) -> None:
    from depth_anything_ros.ros.spin import run, without_ros_arguments
    parser = _parser()
    options = parser.parse_args(without_ros_arguments(command_line)[1:])
    require_positive(parser, options, 'rate', 'width', 'height', 'focal')
    for name in ('width', 'height'):
        if getattr(options, name) > _LARGEST_SIDE:
            parser.error(f'--{name} is {getattr(options, name)}; it must be at most '
                         f'{_LARGEST_SIDE}')
    if options.rate < _LOWEST_HZ:
        parser.error(f'--rate is {options.rate:g}; it must be at least {_LOWEST_HZ:g}')
    from depth_anything_ros.demo.footage import open_footage
    footage = open_footage(options.images, (options.height, options.width), options.focal)
    run(lambda: _make_node(footage, options.rate, options.transport), command_line,
        keep_spinning=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM.name, description=__doc__)
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help='pictures to play in the order of their names; files and folders '
                             'whose name starts with depth are left out '
                             '(default: the photographs of the package)')
    parser.add_argument('--rate', type=float, default=30.0, metavar='HZ',
                        help='frames per second (default: 30)')
    parser.add_argument('--width', type=int, default=640, metavar='PX',
                        help='width of the published images (default: 640)')
    parser.add_argument('--height', type=int, default=480, metavar='PX',
                        help='height of the published images (default: 480)')
    parser.add_argument('--focal', type=float, metavar='PX',
                        help='focal length at this width (default: 60 degrees horizontal field '
                             'of view)')
    parser.add_argument('--transport', choices=('raw', 'compressed'), default='raw',
                        help='topic of the images: image, or image/compressed as JPEG '
                             '(default: raw)')
    return parser


def _make_node(footage: 'Footage', rate_hz: float, transport: str) -> 'Node':
    from depth_anything_ros.ros.callbacks import log_exceptions, ThrottledLogger
    from depth_anything_ros.ros.messages import pinhole_info
    from depth_anything_ros.ros.rclpy_adapter import refuse_invalid_requests
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CameraInfo
    from std_msgs.msg import Header
    info = pinhole_info(Header(frame_id=FRAME_ID), footage.camera)
    node = Node('depth_anything_player')
    refuse_invalid_requests(node)
    publish = (_publish_compressed if transport == 'compressed' else _publish_raw)(node)
    infos = node.create_publisher(CameraInfo, 'camera_info', QoSProfile(depth=1))
    node.get_logger().info(f'{footage.count} frames of {footage.name} at {rate_hz:g} Hz')
    played = 0

    def play() -> None:
        nonlocal played
        # Counted first: a picture that cannot be read is left out.
        index, played = played % footage.count, played + 1
        picture = footage.read(index)
        info.header.stamp = node.get_clock().now().to_msg()
        infos.publish(info)
        publish(info.header, picture)

    warn = ThrottledLogger(lambda sentence: node.get_logger().warning(sentence))
    node.create_timer(1 / rate_hz, log_exceptions(play, warn, node))
    return node


def _publish_raw(node: 'Node') -> 'Callable[[Header, U8], None]':
    from depth_anything_ros.ros.messages import color_message
    from depth_anything_ros.ros.serialized_publisher import SerializedPublisher
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image
    publisher = SerializedPublisher(node.create_publisher(Image, 'image', QoSProfile(depth=1)))
    return lambda header, picture: publisher.publish(color_message(header, picture))


def _publish_compressed(node: 'Node') -> 'Callable[[Header, U8], None]':
    import cv2
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage
    publisher = node.create_publisher(CompressedImage, 'image/compressed', QoSProfile(depth=1))
    latest: tuple[U8, bytes] | None = None

    def publish(header: 'Header', picture: 'U8') -> None:
        nonlocal latest
        # A photograph is encoded once for all its frames, as cameras encode without this CPU.
        if latest is None or latest[0] is not picture:
            latest = picture, cv2.imencode('.jpg', picture)[1].tobytes()
        publisher.publish(CompressedImage(header=header, format='bgr8; jpeg compressed bgr8',
                                          data=latest[1]))

    return publish


if __name__ == '__main__':
    sys.exit(main())
