"""
Messages and arrays: images and clouds are read from, and written as, serialized ROS messages.

``SerializedMessage`` reads fields of a message without deserializing all of it. ``decode_*`` make
arrays of messages, ``*_message`` make messages of arrays, which ``SerializedPublisher`` sends.
``vision/point_cloud.py`` reads clouds.

Serialized messages are in CDR (OMG Common Data Representation): four bytes, the second one odd for
little endian, then the fields in order, each aligned to its size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
import struct
import sys
from typing import Any, Literal

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import MessageError
from depth_anything_ros.stamps import serialized_stamp_ns, STAMP_END, with_stamp
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.depth import to_millimetres
from depth_anything_ros.vision.encoded_image import decode_compressed_data, PixelLimit
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.point_cloud import POINT_FIELDS
from depth_anything_ros.vision.raw_image import read_raw_image
import numpy as np
import numpy.typing as npt
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

_BIG_ENDIAN = sys.byteorder == 'big'
# Of as many frame ids, encodings and sizes, the bytes around the data are serialized once.
_KEPT_ENDS = 64


class SerializedMessage:
    """
    A message that begins with a header, as the bytes that were received.

    The stamp is read directly, the rest on first use. MessageError if the bytes are not such a
    message.
    """

    def __init__(self, message_type: type, data: bytes) -> None:
        self.message_type = message_type
        self._data = data
        self._byte_order = '<' if len(data) > 1 and data[1] & 1 else '>'

    @property
    def stamp_ns(self) -> int:
        """Return the header's stamp in nanoseconds."""
        with self._checked():
            return serialized_stamp_ns(self._data)

    @property
    def stamp_s(self) -> float:
        """Return the header's stamp in seconds, equal to that of the function ``stamp_s``."""
        return _seconds(*divmod(self.stamp_ns, 1_000_000_000))

    @property
    def header(self) -> Header:
        """Return the header."""
        return (self.image[0] if self.message_type is Image else self.message).header

    @property
    def data_without_stamp(self) -> bytes:
        """Return the bytes after the stamp: equal for messages that differ in the stamp only."""
        return self._data[STAMP_END:]

    @cached_property
    def message(self) -> Any:
        """Return the whole message."""
        with self._checked():
            return deserialize_message(self._data, self.message_type)

    @cached_property
    def image(self) -> tuple[Image, memoryview]:
        """Return an Image message without pixels, and a view of its pixels [bytes], not a copy."""
        with self._checked():
            start = self._pixels_start()
            # The four bytes before the pixels hold their number, here 0.
            return deserialize_message(self._data[:start - 4] + bytes(4), Image), memoryview(
                self._data)[start:]

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Turn what reading other bytes than such a message raises into MessageError."""
        try:
            yield
        except Exception as error:  # noqa: B902 - rclpy has no public class for it
            raise MessageError(self.message_type.__name__, len(self._data), error) from error

    def _pixels_start(self) -> int:
        """Return the offset of the pixels: two strings, four 4-byte numbers and a flag precede."""
        height = self._string_end(STAMP_END)
        is_bigendian = self._string_end(_aligned(height) + 8)
        return _aligned(is_bigendian + 1) + 8

    def _string_end(self, start: int) -> int:
        length = struct.unpack_from(f'{self._byte_order}I', self._data, start)[0]
        return start + 4 + int(length)


def stamp_s(header: Header) -> float:
    """Return the stamp of a header in seconds."""
    return _seconds(header.stamp.sec, header.stamp.nanosec)


def _seconds(seconds: int, nanoseconds: int) -> float:
    return float(seconds + nanoseconds * 1e-9)


def _aligned(offset: int) -> int:
    return (offset + 3) // 4 * 4


def decode_image(serialized: SerializedMessage) -> ColorImage:
    """
    Return the pixels of a sensor_msgs/Image; 8-bit encodings share the message's memory.

    ImageError for an unknown encoding, or for a size, step and data that do not match.
    """
    image, pixels = serialized.image
    return read_raw_image(pixels, image.encoding, (image.height, image.width), image.step,
                          bool(image.is_bigendian))


def decode_compressed(serialized: SerializedMessage, limit: PixelLimit) -> ColorImage:
    """Return the pixels of a CompressedImage (JPEG, PNG, …); ImageError if that fails."""
    message = serialized.message
    return decode_compressed_data(np.frombuffer(message.data, np.uint8), message.format, limit)


@dataclass(frozen=True)
class ArrayMessage:
    """A serialized message of an array that is not copied yet: ``data`` after ``head``."""

    head: bytes
    data: npt.NDArray[Any]
    tail: bytes

    def __len__(self) -> int:
        return len(self.head) + self.data.nbytes + len(self.tail)

    def __bytes__(self) -> bytes:
        return b''.join((self.head, np.ascontiguousarray(self.data).data, self.tail))

    def write(self, memory: U8) -> None:
        """Write the message into ``memory``, u8 [len(self)]."""
        start, end = len(self.head), len(self.head) + self.data.nbytes
        memory[:start] = np.frombuffer(self.head, np.uint8)
        np.copyto(memory[start:end].view(self.data.dtype).reshape(self.data.shape), self.data)
        memory[end:] = np.frombuffer(self.tail, np.uint8)


def depth_message(header: Header, depth: F32, encoding: str = '32FC1') -> ArrayMessage:
    """
    Return an Image of a map [H, W] that is NaN where it is invalid.

    32FC1 keeps the values, metres or inverse depth. 16UC1 converts metres to millimetres, 0 where
    invalid.
    """
    if encoding == '16UC1':
        return _image_message(header, '16UC1', to_millimetres(depth), 2)
    return _image_message(header, '32FC1', depth, 4)


def mask_message(header: Header, mask: U8) -> ArrayMessage:
    """Return a mono8 Image of [H, W]."""
    return _image_message(header, 'mono8', mask, 1)


def color_message(header: Header, image_bgr: U8) -> ArrayMessage:
    """Return a bgr8 Image of [H, W, 3]."""
    return _image_message(header, 'bgr8', image_bgr, 3)


def pinhole_info(header: Header, camera: Intrinsics) -> CameraInfo:
    """Return the CameraInfo of a camera without distortion and rotation."""
    height, width = camera.size_hw
    return CameraInfo(
        header=header, height=height, width=width, distortion_model='plumb_bob', d=[0.0] * 5,
        k=[camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0])


def cloud_message(header: Header, cloud: F32) -> ArrayMessage:
    """
    Return a PointCloud2 of float32 x, y, z in metres and, with C = 4, packed rgb.

    [H, W, C] becomes an organized cloud with NaN where invalid, [N, C] a dense list of points.
    """
    return _array_message(header, _cloud_ends(header.frame_id, cloud.shape), cloud)


@lru_cache(maxsize=_KEPT_ENDS)
def _cloud_ends(frame_id: str, shape: tuple[int, ...]) -> tuple[bytes, bytes]:
    height, width = shape[:2] if len(shape) == 3 else (1, shape[0])
    names = POINT_FIELDS[:shape[-1]]
    fields = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
              for index, name in enumerate(names)]
    step = 4 * len(names)
    return _ends(PointCloud2(
        header=Header(frame_id=frame_id), height=height, width=width, fields=fields,
        is_bigendian=_BIG_ENDIAN, point_step=step, row_step=step * width,
        is_dense=len(shape) == 2), step * width * height)


def _image_message(header: Header, encoding: str, pixels: npt.NDArray[Any],
                   pixel_bytes: int) -> ArrayMessage:
    height, width = pixels.shape[:2]
    return _array_message(
        header, _image_ends(header.frame_id, encoding, height, width, pixel_bytes), pixels)


@lru_cache(maxsize=_KEPT_ENDS)
def _image_ends(frame_id: str, encoding: str, height: int, width: int,
                pixel_bytes: int) -> tuple[bytes, bytes]:
    step = width * pixel_bytes
    return _ends(Image(header=Header(frame_id=frame_id), height=height, width=width,
                       encoding=encoding, is_bigendian=_BIG_ENDIAN, step=step), step * height)


def _ends(message: Image | PointCloud2, data_bytes: int) -> tuple[bytes, bytes]:
    """
    Return what precedes and what follows ``data_bytes`` bytes of data in the message in CDR.

    The data of ``message`` are empty. CDR stores data as their number of bytes in four aligned
    bytes, then the bytes. In an image nothing follows; in a cloud one flag does, and the
    middleware may add padding after it.
    """
    empty = serialize_message(message)
    end = len(empty) - (0 if isinstance(message, Image) else len(empty) % 4 or 4)
    order: Literal['little', 'big'] = 'little' if empty[1] & 1 else 'big'
    return empty[:end - 4] + data_bytes.to_bytes(4, order), empty[end:]


def _array_message(header: Header, ends: tuple[bytes, bytes],
                   data: npt.NDArray[Any]) -> ArrayMessage:
    head, tail = ends
    return ArrayMessage(with_stamp(head, header.stamp.sec, header.stamp.nanosec), data, tail)
