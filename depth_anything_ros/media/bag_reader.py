"""Reads the image messages of a ROS 2 bag with rosbags, without a ROS installation."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import ImageError, MissingDependencyError
from depth_anything_ros.media.source import Header, ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.encoded_image import decode_compressed_data
from depth_anything_ros.vision.raw_image import ENCODINGS, read_raw_image

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
# A message of rosbags: connection, time of recording [ns], serialized bytes (CDR).
Message = tuple[Any, int, bytes]


def is_bag(path: Path) -> bool:
    """Return whether ``path`` is a bag's folder or one of its .mcap or .db3 files."""
    return path.suffix in ('.mcap', '.db3') or (path / 'metadata.yaml').is_file()


def open_bag(path: Path, topic: str | None) -> ImageSource:
    """
    Return the images of ``topic``, or those of the only image topic if it is None.

    ImageError lists the image topics if ``topic`` is not one of them or there are several, and the
    supported encodings if the encoding is not one of them.
    """
    counts = {connection.topic: connection.msgcount for connection in bag_connections(path)
              if connection.msgtype in (RAW, COMPRESSED) and connection.msgcount}
    chosen = _choose(path, sorted(counts), topic)
    return ImageSource('bag', str(path), counts[chosen], None, _first_size_hw(path, chosen),
                       partial(_images, path, chosen), chosen)


def bag_connections(path: Path) -> list[Any]:
    """Return the connections of rosbags: topic, msgtype, msgdef, msgcount and more."""
    try:
        with _reader(path) as reader:
            return list(reader.connections)
    except MissingDependencyError:
        raise
    except Exception as error:  # noqa: B902 - a damaged file leads rosbags to any exception
        raise _unreadable(path, error) from error


def bag_messages(path: Path, wanted: Callable[[Any], bool]) -> Iterator[Message]:
    """Yield the messages of the connections for which ``wanted`` is true, sorted by time."""
    try:
        with _reader(path) as reader:
            connections = [entry for entry in reader.connections if wanted(entry)]
            if connections:
                yield from reader.messages(connections)
    except MissingDependencyError:
        raise
    except Exception as error:  # noqa: B902 - a damaged file leads rosbags to any exception
        raise _unreadable(path, error) from error


def message_types() -> Any:
    """Return the type store of rosbags for the messages of ROS 2 Jazzy."""
    _require_rosbags()
    from rosbags.typesys import get_typestore, Stores
    return get_typestore(Stores.ROS2_JAZZY)


def _choose(path: Path, topics: list[str], topic: str | None) -> str:
    if not topics:
        raise ImageError(f'{path} holds no image; supported are {RAW} and {COMPRESSED}')
    listed = ', '.join(topics)
    if topic is None and len(topics) > 1:
        raise ImageError(f'{path} has several image topics, choose one: {listed}')
    if topic is not None and topic not in topics:
        raise ImageError(f'{path} has no images on {topic}; it has them on {listed}')
    return topic or topics[0]


def _first_size_hw(path: Path, topic: str) -> tuple[int, int] | None:
    """Return the size of the first image, None if it is damaged; ImageError if unsupported."""
    types = message_types()
    messages = bag_messages(path, lambda entry: entry.topic == topic)
    connection, _, data = next(messages)
    try:
        message = types.deserialize_cdr(data, connection.msgtype)
        if connection.msgtype == COMPRESSED:
            return decode_compressed_data(message.data, message.format).size_hw
    except Exception:  # noqa: B902 - the error is reported when the image is read
        return None
    if message.encoding not in ENCODINGS:
        raise ImageError(f'{path}: images of encoding {message.encoding!r} on {topic} cannot be '
                         f'read; supported are {", ".join(ENCODINGS)} and compressed images')
    return message.height, message.width


def _images(path: Path, topic: str) -> Iterator[ImageItem]:
    types = message_types()
    messages = bag_messages(path, lambda entry: entry.topic == topic)
    for index, (connection, timestamp_ns, data) in enumerate(messages):
        name = f'{topic} at {timestamp_ns / 1e9:.3f} s'
        try:
            message = types.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # noqa: B902 - one damaged message must not end the bag
            yield ImageItem(name, index, partial(_fail, str(error)), None, timestamp_ns)
            continue
        stamp = message.header.stamp
        yield ImageItem(
            name, index, partial(_decode, message, connection.msgtype), None, timestamp_ns,
            Header(stamp.sec, stamp.nanosec, message.header.frame_id))


def _decode(message: Any, message_type: str) -> ColorImage:
    if message_type == COMPRESSED:
        return decode_compressed_data(message.data, message.format)
    return read_raw_image(message.data, message.encoding, (message.height, message.width),
                          message.step, bool(message.is_bigendian))


def _fail(reason: str) -> ColorImage:
    raise ImageError(f'the message is damaged ({reason})')


def _reader(path: Path) -> Any:
    _require_rosbags()
    from rosbags.rosbag2 import Reader
    return Reader(path)


def _require_rosbags() -> None:
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError('rosbags', 'reading a bag',
                                     "pip install 'depth_anything_ros[tools]'") from error


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(f'{path} cannot be read as a bag ({error or type(error).__name__}); is it '
                      'complete?')
