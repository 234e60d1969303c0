"""Small ROS 2 bags, written with rosbags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, TEXT = 'sensor_msgs/msg/CameraInfo', 'std_msgs/msg/String'
# Topic, type, time of recording [ns], message.
Entry = tuple[str, str, int, Any]


def store() -> Any:
    """Return the type store of ROS 2 Jazzy."""
    from rosbags.typesys import get_typestore, Stores
    return get_typestore(Stores.ROS2_JAZZY)


def header(number: int) -> Any:
    """Return a header with a stamp that differs from the time of recording."""
    types = store().types
    stamp = types['builtin_interfaces/msg/Time'](100 + number, 7)
    return types['std_msgs/msg/Header'](stamp, 'camera_optical_frame')


def raw_image(number: int, pixels: np.ndarray, encoding: str = 'bgr8', padding: int = 0) -> Any:
    """Return an image message whose rows end in ``padding`` bytes of 77."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return store().types[RAW](header(number), height, width, encoding, 0, padded.shape[1],
                              padded.reshape(-1))


def compressed_image(number: int, pixels: np.ndarray) -> Any:
    """Return a CompressedImage with a PNG."""
    return store().types[COMPRESSED](header(number), 'png',
                                     cv2.imencode('.png', pixels)[1].reshape(-1))


def camera_info(number: int) -> Any:
    """Return a camera_info with a focal length of 50 pixels."""
    types = store().types
    k = np.array([50, 0, 20, 0, 50, 15, 0, 0, 1], np.float64)
    roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return types[INFO](header(number), 30, 40, 'plumb_bob', np.zeros(5), k, np.eye(3).reshape(-1),
                       np.zeros(12), 0, 0, roi)


def text(content: str) -> Any:
    """Return a message that is not an image."""
    return store().types[TEXT](content)


def write_bag(folder: Path, entries: Sequence[Entry], mcap: bool = False) -> Path:
    """Write ``entries`` into a new bag and return its folder."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    types = store()
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    with Writer(folder, version=8, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for topic, message_type, timestamp_ns, message in entries:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message_type, typestore=types)
            writer.write(connections[topic], timestamp_ns,
                         types.serialize_cdr(message, message_type))
    return folder


def read_bag(path: Path) -> list[tuple[str, str, int, bytes]]:
    """Return (topic, type, time of recording, bytes) of every message."""
    from rosbags.rosbag2 import Reader
    with Reader(path) as reader:
        return [(connection.topic, connection.msgtype, timestamp_ns, bytes(data))
                for connection, timestamp_ns, data in reader.messages()]
