"""The files with which the demo shows what it received."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from depth_anything_ros.media.depth_files import encode_png, write_ply
from depth_anything_ros.ros.observer import pixels
from depth_anything_ros.vision.drawing import render_cloud, side_by_side
import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2


def save_pictures(pairs: Sequence[tuple[Any, Any]], cloud: bytes, folder: Path) -> Iterator[str]:
    """
    Write pairs of an image and its coloured depth, and a cloud; yield the name of each file.

    ``cloud`` is a serialized PointCloud2 of the node, or empty.
    """
    for number, (image, color) in enumerate(pairs, start=1):
        yield _write(folder / f'depth_{number}.png', side_by_side(pixels(image), pixels(color)))
    if cloud:
        message = deserialize_message(cloud, PointCloud2)
        points = np.frombuffer(message.data, np.float32).reshape(message.height, message.width, 4)
        count = write_ply(folder / 'cloud.ply', points)
        yield f'{folder / "cloud.ply"} ({count} points)'
        yield _write(folder / 'cloud.png', render_cloud(points, (720, 960)))


def _write(path: Path, picture: Any) -> str:
    path.write_bytes(encode_png(picture))
    return str(path)
