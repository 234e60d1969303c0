"""Writes a copy of a ROS 2 bag with the depth of one of its image topics, with rosbags."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import shutil
import sqlite3
import sys
from typing import Any

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import DepthAnythingError, ImageError, line_of
from depth_anything_ros.media.bag_reader import (
    bag_connections, bag_messages, CAMERA_INFO, info_topic_of, is_mcap, Message, message_types,
    namespace_of, RAW, require_sqlite_name)
from depth_anything_ros.media.source import Header
from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.camera_info import complete_fields
from depth_anything_ros.vision.depth import limit_range
import numpy as np

# Every rosbag2 since ROS 2 Iron reads this version.
_BAG_VERSION = 8
_UNKNOWN_HASH = f'RIHS01_{"0" * 64}'


def depth_topic(image_topic: str, kind: Kind) -> str:
    """Return /camera/depth/image or /camera/inverse_depth/image for /camera/image_raw."""
    return f'{namespace_of(image_topic)}/{"depth" if kind == "metric" else "inverse_depth"}/image'


def check_topics(source: Path, target: Path, image_topic: str, kind: Kind) -> None:
    """Raise ImageError if the bag has one of the topics to add, or ``target`` an unusable name."""
    if not is_mcap(source):
        require_sqlite_name(target)
    added = depth_topic(image_topic, kind)
    existing = {entry.topic for entry in bag_connections(source)} & {added, info_topic_of(added)}
    if existing:
        raise ImageError(f'{source} already has {existing.pop()}; use the bag without depth')


class DepthBag:
    """
    A copy of the bag ``source`` with the depth of the images of one topic.

    ``target`` is a new folder with the same storage format. The camera_info of the images is also
    written for the depth images, which have the same size, with its empty fields filled in.
    ``write`` copies the messages up to its image, ``close`` the rest. ``problem`` says why other
    messages are missing, None: none are; depth is still written. All writing is done in one thread
    of its own, as SQLite requires. ImageError for what cannot be copied.
    """

    def __init__(self, source: Path, target: Path, image_topic: str, kind: Kind) -> None:
        self.problem: ImageError | None = None
        self._kind = kind
        self._thread = ThreadPoolExecutor(1, 'depth_bag')
        self._types = message_types()
        self._pending: Message | None = None
        self._messages = bag_messages(source, lambda connection: True)
        self._copies: dict[tuple[str, str, str], Any] = {}
        self._depth_infos: dict[tuple[str, str, str], Any] = {}
        self._copied: Counter[tuple[str, str, str]] = Counter()
        self._source, self._target = source, target
        try:
            self._call(self._open, source, target, image_topic)
        except BaseException:
            with suppress(Exception):
                self.abort()
            self._thread.shutdown()
            shutil.rmtree(target, ignore_errors=True)
            raise

    def write(self, depth: F32, timestamp_ns: int, header: Header) -> None:
        """Add a map [H, W] with the header and the time of recording of its image."""
        self._call(self._write, depth, timestamp_ns, header)

    def close(self, copy_rest: bool) -> None:
        """Finish the bag; with ``copy_rest`` copy the messages after the last image."""
        self._call(self._close, copy_rest)
        self._thread.shutdown()

    def abort(self) -> None:
        """Close the files of an incomplete bag that is about to be removed."""
        self._call(self._writer.abort)
        self._thread.shutdown()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._thread.submit(function, *arguments).result()
        except sqlite3.Error as error:
            raise OSError(f'{self._target} cannot be written ({error}); free some space or '
                          'choose another folder') from error
        except (DepthAnythingError, OSError):
            raise
        except Exception as error:  # noqa: B902 - an odd bag leads rosbags to any exception
            raise ImageError(f'{self._source} cannot be copied ({line_of(error)}); write files '
                             'instead of a bag, for example with --format npy') from error

    def _open(self, source: Path, target: Path, image_topic: str) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer
        # Bags may list a topic twice, which the writer refuses.
        connections = {_key(entry): entry for entry in bag_connections(source)}
        self._counts = {key: entry.msgcount for key, entry in connections.items()}
        self._writer = Writer(target, version=_BAG_VERSION, storage_plugin=(
            StoragePlugin.MCAP if is_mcap(source) else StoragePlugin.SQLITE3))
        self._writer.open()
        info_topic = info_topic_of(image_topic)
        for key, connection in connections.items():
            self._copies[key] = self._copy_connection(connection)
        image = next(entry for entry in connections.values() if entry.topic == image_topic)
        added = depth_topic(image_topic, self._kind)
        self._depth = self._add_connection(added, RAW, image.ext)
        for key, connection in connections.items():
            if connection.topic == info_topic and connection.msgtype == CAMERA_INFO:
                self._depth_infos[key] = self._add_connection(
                    info_topic_of(added), CAMERA_INFO, connection.ext)

    def _add_connection(self, topic: str, message_type: str, ext: Any) -> Any:
        return self._writer.add_connection(topic, message_type, typestore=self._types,
                                           offered_qos_profiles=ext.offered_qos_profiles)

    def _copy_connection(self, entry: Any) -> Any:
        if not entry.msgdef.data and entry.msgtype in self._types.fielddefs:
            return self._add_connection(entry.topic, entry.msgtype, entry.ext)
        if not entry.msgdef.data:
            # A bag of ROS 2 Humble has no definitions; an empty definition would be wrong.
            if is_mcap(self._source):
                self._add_unknown_type(entry.msgtype)
            self._writer.added_types.add(entry.msgtype)
        return self._writer.add_connection(
            entry.topic, entry.msgtype, msgdef=entry.msgdef.data,
            rihs01=entry.digest or _UNKNOWN_HASH,
            serialization_format=entry.ext.serialization_format,
            offered_qos_profiles=entry.ext.offered_qos_profiles)

    def _add_unknown_type(self, message_type: str) -> None:
        """Add the schema without an encoding that stands for an unknown type in MCAP."""
        from rosbags.rosbag2.storage_mcap import Schema, write_schema
        storage = self._writer.storage
        if message_type not in self._writer.added_types:
            storage.schemas.append(Schema(len(storage.schemas) + 1, message_type, '', ''))
            write_schema(storage.chunk.bio, storage.schemas[-1])

    def _write(self, depth: F32, timestamp_ns: int, header: Header) -> None:
        self._copy_while(lambda message: message[1] <= timestamp_ns)
        message = self._depth_message(depth, header)
        self._writer.write(self._depth, timestamp_ns, self._types.serialize_cdr(message, RAW))

    def _close(self, copy_rest: bool) -> None:
        if copy_rest:
            self._copy_while(lambda message: True)
            self.problem = self.problem or self._missing()
        self._writer.close()

    def _missing(self) -> ImageError | None:
        """Return which messages rosbags left out: it compares the QoS in metadata.yaml too."""
        missing = [f'{key[0]} ({self._copied[key]} of {count})'
                   for key, count in self._counts.items() if self._copied[key] < count]
        return ImageError(
            f'{self._source} has fewer messages than its metadata.yaml counts, or with another '
            f'QoS, on {", ".join(missing)}; make that file again with '
            f'`ros2 bag reindex {self._source}`') if missing else None

    def _copy_while(self, wanted: Callable[[Message], bool]) -> None:
        while (message := self._pending or self._next()) and wanted(message):
            self._pending = None
            connection, timestamp_ns, data = message
            key = _key(connection)
            self._writer.write(self._copies[key], timestamp_ns, data)
            self._copied[key] += 1
            if key in self._depth_infos:
                self._writer.write(self._depth_infos[key], timestamp_ns, self._complete_info(data))
        self._pending = message

    def _next(self) -> Message | None:
        try:
            return next(self._messages, None)
        except ImageError as error:
            self.problem = error
            return None

    def _complete_info(self, data: bytes) -> bytes:
        """Return a serialized camera_info with complete fields, a damaged one unchanged."""
        try:
            info = self._types.deserialize_cdr(data, CAMERA_INFO)
        except Exception:  # noqa: B902 - one damaged message must not end the bag
            return data
        model, *arrays = complete_fields(info)
        d, r, p = (np.asarray(values, np.float64) for values in arrays)
        complete = replace(info, distortion_model=model, d=d, r=r, p=p)
        return bytes(self._types.serialize_cdr(complete, CAMERA_INFO))

    def _depth_message(self, depth: F32, header: Header) -> Any:
        if self._kind == 'metric':
            depth = limit_range(depth, 0.0, 0.0)
        types = self._types.types
        stamp = types['builtin_interfaces/msg/Time'](header.stamp_sec, header.stamp_nanosec)
        return types[RAW](
            header=types['std_msgs/msg/Header'](stamp, header.frame_id),
            height=depth.shape[0], width=depth.shape[1], encoding='32FC1',
            is_bigendian=sys.byteorder == 'big', step=4 * depth.shape[1],
            data=np.ascontiguousarray(depth).view(np.uint8).reshape(-1))


def _key(connection: Any) -> tuple[str, str, str]:
    return connection.topic, connection.msgtype, repr(connection.ext)
