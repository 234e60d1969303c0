"""
The executable ``depth_anything_player``: a node that publishes picture files like a camera.

It plays a folder of images, by default the photographs of the package, on the topics ``image``, or
``image/compressed`` as JPEG, and ``camera_info``.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
import signal
import sys
from typing import TYPE_CHECKING

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.cli.program import Program, require_positive, run_program
from depth_anything_ros.errors import ImageError, INSTALL_ROS
from depth_anything_ros.media.pictures import read_picture, SUFFIXES
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import crop_to_aspect
import numpy as np

if TYPE_CHECKING:
    from rclpy.node import Node
    from std_msgs.msg import Header

PROGRAM = Program('depth_anything_player', INSTALL_ROS)
# Of the published images, in pixels.
_LARGEST_SIDE = 8192
# The period of a timer has nanoseconds in 64 bits.
_LOWEST_HZ = 0.001
# Pictures that stay decoded in memory: 277 MiB at 640x480.
_KEPT_PICTURES = 300
# Each photograph of the package is played for this number of frames, 2 s at 30 Hz.
_PHOTOGRAPH_FRAMES = 60
FRAME_ID = 'camera_optical_frame'


@dataclass(frozen=True)
class Footage:
    """
    The frames to play.

    ``read`` returns frame ``index``, from 0 to ``count`` - 1, as BGR u8 [H, W, 3] of
    ``camera.size_hw``.
    """

    name: str
    count: int
    camera: Intrinsics
    read: Callable[[int], U8]


def open_footage(folder: Path | None, size_hw: tuple[int, int],
                 focal_px: float | None) -> Footage:
    """
    Return the pictures of ``folder`` in the order of their names, a frame each.

    Files whose name starts with depth are left out. ``folder`` None stands for the photographs of
    the package, 60 frames each. Each picture is cropped to the aspect of ``size_hw`` and resized.
    The principal point of the camera is the middle of the picture; ``focal_px`` at ``size_hw``,
    None: a horizontal field of view of 60 degrees. ImageError if there is no picture or a file
    cannot be read.
    """
    frames = 1 if folder else _PHOTOGRAPH_FRAMES
    folder = folder or photographs()
    if not folder.is_dir():
        raise ImageError(f'there is no folder {folder}; name one with pictures')
    files = sorted(file for file in folder.glob('*') if file.suffix.lower() in SUFFIXES
                   and not file.name.startswith('depth'))
    if not files:
        raise ImageError(f'{folder} holds no image; supported are {", ".join(SUFFIXES)}')
    kept = [fit(read_bgr(file), size_hw) for file in files[:_KEPT_PICTURES]]

    def read(index: int) -> U8:
        number = index // frames
        return kept[number] if number < len(kept) else fit(read_bgr(files[number]), size_hw)

    return Footage(str(folder), frames * len(files), _camera(size_hw, focal_px), read)


def read_bgr(file: Path) -> U8:
    """Return a picture file as BGR u8 [H, W, 3]; ImageError names a file that cannot be read."""
    try:
        return read_picture(file).pixels
    except ImageError as error:
        raise ImageError(f'{file}: {error}') from error


def fit(picture: U8, size_hw: tuple[int, int]) -> U8:
    """Crop [H, W, 3] around its centre to the aspect of ``size_hw`` and resize it."""
    crop = crop_to_aspect(picture, size_hw)
    if crop.shape[:2] == size_hw:
        return np.ascontiguousarray(crop)
    return cv2.resize(crop, (size_hw[1], size_hw[0]),  # type: ignore[return-value]
                      interpolation=cv2.INTER_AREA)


def _camera(size_hw: tuple[int, int], focal_px: float | None) -> Intrinsics:
    height, width = size_hw
    focal = focal_px or width / 2 / np.tan(np.radians(30))
    return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, size_hw)


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
    footage = open_footage(options.images, (options.height, options.width), options.focal)
    # rclpy ends spinning after SIGTERM and then calls the handler of Python, which would turn the
    # regular end into status 143.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run(lambda: _make_node(footage, options.rate, options.transport), command_line,
        keep_spinning=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM.name, description=__doc__)
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help='pictures to play in the order of their names '
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


def _make_node(footage: Footage, rate_hz: float, transport: str) -> 'Node':
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
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage
    publisher = node.create_publisher(CompressedImage, 'image/compressed', QoSProfile(depth=1))
    latest: tuple[U8, bytes] | None = None

    def publish(header: 'Header', picture: U8) -> None:
        nonlocal latest
        # A photograph is encoded once for all its frames, as cameras encode without this CPU.
        if latest is None or latest[0] is not picture:
            latest = picture, cv2.imencode('.jpg', picture)[1].tobytes()
        publisher.publish(CompressedImage(header=header, format='bgr8; jpeg compressed bgr8',
                                          data=latest[1]))

    return publish


if __name__ == '__main__':
    sys.exit(main())
