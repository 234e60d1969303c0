"""Reads the image messages of a ROS 2 bag with rosbags, without a ROS installation."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
import errno
from functools import partial
import os
from pathlib import Path, PurePath
import re
import tempfile
from typing import Any

from depth_anything_ros.errors import ImageError, INSTALL_TOOLS, line_of, MissingDependencyError
from depth_anything_ros.foreign_files import foreign_file
from depth_anything_ros.media.source import Header, ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.encoded_image import decode_compressed_data
from depth_anything_ros.vision.raw_image import ENCODINGS, read_raw_image

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
METADATA = 'metadata.yaml'
_STORAGE = ('.mcap', '.db3')
# Those of files that are bags, or a part of one.
SUFFIXES = (*_STORAGE, '.zstd', '.bag')
# SQLite keeps these beside a database that was not closed; rosbags does not read them.
_UNSAVED = ('-wal', '-journal')
_BESIDE_STORAGE = (*(f'.db3{suffix}' for suffix in _UNSAVED), '.db3-shm')
_SHOWN_TOPICS = 10
# A message of rosbags: connection, time of recording [ns], serialized bytes (CDR).
Message = tuple[Any, int, bytes]


def is_bag(path: Path) -> bool:
    """
    Return whether ``path`` is the folder of a bag or one of its files.

    These are .mcap and .db3 files, also compressed, ROS 1 bags, and folders with metadata.yaml or,
    after a crash, with nothing but such files.
    """
    if not os.path.isdir(path):
        return is_storage(path)
    if (path / METADATA).is_file():
        return True
    files = [file for file in path.iterdir() if not file.name.startswith('.')]
    return any(map(_is_ros2_file, files)) and all(
        file.is_file() and _is_part(file) for file in files)


def is_storage(file: PurePath) -> bool:
    """Return whether a file is named like a bag or a part of one."""
    return _is_ros2_file(file) or file.suffix.lower() == '.bag'


def is_mcap(path: Path) -> bool:
    """Return whether a bag is stored in .mcap files, also compressed ones."""
    return any(path.glob('*.mcap*')) if path.is_dir() else path.suffix == '.mcap'


def foreign_entry(files: Iterable[str]) -> str | None:
    """Return a file that is no part of the bag in a folder with these files, None without one."""
    return next((file for file in files if '/' in file or not (
        file == METADATA or _is_part(PurePath(file)))), None)


def open_bag(path: Path, topic: str | None) -> ImageSource:
    """
    Return the images of ``topic``, or those of the only image topic if it is None.

    ImageError lists the image topics if ``topic`` is not one of them or there are several, all
    topics if none has images, and the supported encodings if the encoding is not one of them.
    """
    connections = bag_connections(path)
    counts: Counter[str] = Counter()
    for connection in filter(_is_image, connections):
        counts[connection.topic] += connection.msgcount
    # Without topics that have no message.
    counts = +counts
    if not counts:
        raise ImageError(f'{path} holds no image; {_all_topics(connections)}; supported are {RAW} '
                         f'and {COMPRESSED}')
    chosen = _choose(path, sorted(counts), topic)
    return ImageSource('bag', str(path), counts[chosen], None, _first_size_hw(path, chosen),
                       partial(_images, path, chosen), chosen)


def bag_connections(path: Path) -> list[Any]:
    """Return the connections of rosbags: topic, msgtype, msgdef, msgcount and more."""
    try:
        with _reader(path) as reader:
            return list(reader.connections)
    except (ImageError, MissingDependencyError):
        raise
    except Exception as error:  # noqa: B902 - a damaged file leads rosbags to any exception
        raise _unreadable(path, error) from error


def bag_messages(path: Path, wanted: Callable[[Any], bool]) -> Iterator[Message]:
    """Yield the messages of the connections for which ``wanted`` is true, sorted by time."""
    try:
        with _reader(path) as reader:
            connections = [entry for entry in reader.connections if wanted(entry)]
            if connections:
                for message in reader.messages(connections):
                    # SQLite stores any type in any column.
                    if not (isinstance(message[1], int) and isinstance(message[2], bytes)):
                        raise ValueError('the table of messages is damaged')
                    yield message
    except (ImageError, MissingDependencyError):
        raise
    except Exception as error:  # noqa: B902 - a damaged file leads rosbags to any exception
        raise _unreadable(path, error) from error


def namespace_of(image_topic: str) -> str:
    """Return /camera for /camera/image_raw and for /camera/image_raw/compressed."""
    return image_topic.removesuffix('/compressed').rpartition('/')[0]


def info_topic_of(image_topic: str) -> str:
    """Return the topic of the camera_info of an image topic, as drivers name it."""
    return f'{namespace_of(image_topic)}/camera_info'


def message_types() -> Any:
    """Return the type store of rosbags for the messages of ROS 2 Jazzy."""
    _require_rosbags()
    from rosbags.typesys import get_typestore, Stores
    return get_typestore(Stores.ROS2_JAZZY)


def _choose(path: Path, topics: list[str], topic: str | None) -> str:
    listed = ', '.join(topics)
    if topic is None and len(topics) > 1:
        raise ImageError(f'{path} has several image topics, choose one: {listed}')
    if topic is not None and topic not in topics:
        raise ImageError(f'{path} has no images on {topic}; it has them on {listed}')
    return topic or topics[0]


def _all_topics(connections: list[Any]) -> str:
    if not connections:
        return 'it has no topic'
    listed = sorted(f'{one.topic} ({one.msgtype}, {one.msgcount} messages)' for one in connections)
    more = ', ...' if len(listed) > _SHOWN_TOPICS else ''
    return f'its topics are {", ".join(listed[:_SHOWN_TOPICS])}{more}'


def _first_size_hw(path: Path, topic: str) -> tuple[int, int] | None:
    """Return the size of the first image, None if it is damaged; ImageError if unsupported."""
    first = next(_image_messages(path, topic), None)
    if first is None:
        raise ImageError(f'{path} has no images on {topic}, although its metadata.yaml counts '
                         f'some; make that file again with `ros2 bag reindex {path}`')
    connection, _, data = first
    try:
        message = message_types().deserialize_cdr(data, connection.msgtype)
    except Exception:  # noqa: B902 - the error is reported when the image is read
        return None
    if connection.msgtype == RAW and message.encoding not in ENCODINGS:
        raise ImageError(f'{path}: images of encoding {message.encoding!r} on {topic} cannot be '
                         f'read; supported are {", ".join(ENCODINGS)} and compressed images')
    try:
        return decode_message(message, connection.msgtype).size_hw
    except ImageError:
        return None


def _is_image(connection: Any) -> bool:
    return connection.msgtype in (RAW, COMPRESSED)


def _image_messages(path: Path, topic: str) -> Iterator[Message]:
    # A topic may have several types.
    return bag_messages(path, lambda entry: entry.topic == topic and _is_image(entry))


def _images(path: Path, topic: str) -> Iterator[ImageItem]:
    types = message_types()
    for index, (connection, timestamp_ns, data) in enumerate(_image_messages(path, topic)):
        name = f'{topic} at {timestamp_ns / 1e9:.3f} s'
        try:
            message = types.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # noqa: B902 - one damaged message must not end the bag
            yield ImageItem(name, index, partial(_fail, str(error)), None, timestamp_ns)
            continue
        stamp = message.header.stamp
        yield ImageItem(
            name, index, partial(decode_message, message, connection.msgtype), None, timestamp_ns,
            Header(stamp.sec, stamp.nanosec, message.header.frame_id))


def decode_message(message: Any, message_type: str) -> ColorImage:
    """Return the pixels of an image message, RAW or COMPRESSED; ImageError if that fails."""
    if message_type == COMPRESSED:
        return decode_compressed_data(message.data, message.format)
    return read_raw_image(message.data, message.encoding, (message.height, message.width),
                          message.step, bool(message.is_bigendian))


def _fail(reason: str) -> ColorImage:
    raise ImageError(f'the message is damaged ({reason})')


def _reader(path: Path) -> Any:
    file = _storage_of(path)
    _require_rosbags()
    from rosbags.rosbag2 import Reader
    return Reader(file)


def _storage_of(path: Path) -> Path:
    """Return what rosbags can open; ImageError names the command that makes it so."""
    if path.is_dir():
        if (path / METADATA).is_file():
            _require_all_saved(path.glob('*.db3'))
            return path
        files = sorted(file for file in path.iterdir() if _is_ros2_file(file) and file.is_file())
        if len(files) != 1:
            raise ImageError(f'{path} has no metadata.yaml, as after a crash; make it with '
                             f'`ros2 bag reindex {path}`, or name one of its {len(files)} files')
        path = files[0]
    if path.suffix.lower() == '.bag':
        raise ImageError(f'{path} is a bag of ROS 1; convert it with `rosbags-convert --src {path}'
                         f' --dst {path.with_suffix("")}`')
    if path.suffix == '.zstd':
        raise ImageError(f'{path} is compressed; name the folder of the bag, with its '
                         f'metadata.yaml, or decompress the file with `zstd -d {path}`')
    _require_all_saved([path] if path.suffix == '.db3' else [])
    return path


def _require_all_saved(files: Iterable[Path]) -> None:
    for file in files:
        require_sqlite_name(file)
        _require_saved(file)


def require_sqlite_name(path: Path) -> None:
    """Raise ImageError for a path that rosbags would take for another one: it makes it a URI."""
    if odd := re.search('[?#]|%[0-9a-fA-F]{2}', str(path)):
        raise ImageError(f'{path}: rosbags cannot use a .db3 file with {odd[0]} in its path; '
                         'rename the file or folder')


def _require_saved(file: Path) -> None:
    """Raise ImageError if SQLite keeps messages beside the file."""
    for suffix in _UNSAVED:
        beside = file.with_name(f'{file.name}{suffix}')
        if beside.is_file() and beside.stat().st_size:
            raise ImageError(
                f'{file} is still being recorded, or was not closed: {beside.name} holds a part '
                f"of it; close it with `sqlite3 {file} 'PRAGMA wal_checkpoint(TRUNCATE)'`")


def _is_ros2_file(path: PurePath) -> bool:
    name = path.with_suffix('') if path.suffix == '.zstd' else path
    return name.suffix in _STORAGE


def _is_part(file: PurePath) -> bool:
    return _is_ros2_file(file) or file.suffix in _BESIDE_STORAGE


def _require_rosbags() -> None:
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError('rosbags', 'reading a bag', INSTALL_TOOLS) from error


def _unreadable(path: Path, error: Exception) -> ImageError:
    if foreign := foreign_file(path):
        return ImageError(f'{path}: {"; ".join(foreign)}')
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ImageError(f'{path} is compressed, and {tempfile.gettempdir()} has no room for its '
                          'content; free some space there or name another folder in TMPDIR')
    fix = '; after a crash `mcap recover` repairs an .mcap file' if is_mcap(path) else ''
    if (path / METADATA).is_file():
        fix += f'; `ros2 bag reindex {path}` makes its metadata.yaml again'
    return ImageError(f'{path} cannot be read as a bag ({line_of(error)}); is it complete?{fix}')
