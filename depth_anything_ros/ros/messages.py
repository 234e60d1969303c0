"""
Messages as they come, in CDR: what is asked of each is read at once, the rest when needed.

CDR (OMG Common Data Representation): four bytes, of which the second is odd for little endian,
then the fields in order, each aligned to its size.
"""

from functools import cached_property
import struct
import sys
from typing import Any, Literal

import cv2
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import ImageError, MissingDependencyError, PointCloudError
from depth_anything_ros.vision.color_image import (
    check_layout, ColorImage, FOREIGN_PIXEL_BYTES, ORDERS, view_image)
from depth_anything_ros.vision.depth import millimetres
import numpy as np
import numpy.typing as npt
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

_STAMP, _STAMP_END = 4, 12
_DEPTH_TYPES = {'32FC1': 'f4', '16UC1': 'u2', 'mono16': 'u2'}
_COORDINATE_TYPES = {PointField.FLOAT32: 'f4', PointField.FLOAT64: 'f8'}
_BIG_ENDIAN = sys.byteorder == 'big'
_POINT_FIELDS = ('x', 'y', 'z', 'rgb')


class SerializedMessage:
    """
    A serialised message that begins with a header.

    Reading raises what rclpy raises for data that are no such message.
    """

    def __init__(self, kind: type, data: bytes) -> None:
        self._kind = kind
        self._data = data
        self._order = '<' if data[1] & 1 else '>'

    @property
    def stamp_ns(self) -> int:
        """Return the header's stamp in nanoseconds."""
        seconds, nanoseconds = struct.unpack_from(f'{self._order}iI', self._data, _STAMP)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    @property
    def header(self) -> Header:
        """Return the header."""
        return (self.image[0] if self._kind is Image else self.message).header

    @property
    def apart_from_stamp(self) -> bytes:
        """Return what two messages share that differ in their stamps only."""
        return self._data[_STAMP_END:]

    @cached_property
    def message(self) -> Any:
        """Return the message."""
        return deserialize_message(self._data, self._kind)

    @cached_property
    def image(self) -> tuple[Image, memoryview]:
        """Return an image without its pixels, and the pixels [bytes], which are not copied."""
        start = self._start_of_pixels()
        # The same message with no pixels, whose number stands before them.
        return deserialize_message(self._data[:start - 4] + bytes(4), Image), memoryview(
            self._data)[start:]

    def _start_of_pixels(self) -> int:
        """Return where they begin: after two strings, four numbers of four bytes and a flag."""
        height = self._end_of_string(_STAMP_END)
        is_bigendian = self._end_of_string(_aligned(height) + 8)
        return _aligned(is_bigendian + 1) + 8

    def _end_of_string(self, start: int) -> int:
        length = struct.unpack_from(f'{self._order}I', self._data, start)[0]
        return start + 4 + int(length)


def _aligned(offset: int) -> int:
    return (offset + 3) // 4 * 4


def decode_image(incoming: SerializedMessage) -> ColorImage:
    """
    Return the picture of a raw image message; 8-bit ones share the message's memory.

    ImageError names an unknown encoding or a size, step and data that disagree.
    """
    image, pixels = incoming.image
    if image.encoding in ORDERS:
        return view_image(pixels, image.encoding, (image.height, image.width), image.step)
    message = incoming.message
    if message.encoding not in FOREIGN_PIXEL_BYTES:
        raise ImageError(f'encoding {message.encoding!r} cannot be read; known are '
                         f'{", ".join((*ORDERS, *FOREIGN_PIXEL_BYTES))}')
    return _through_cv_bridge(message, FOREIGN_PIXEL_BYTES[message.encoding])


def decode_compressed(incoming: SerializedMessage) -> ColorImage:
    """Return the picture of a JPEG, PNG or other compressed image that OpenCV reads."""
    message = incoming.message
    data = np.frombuffer(message.data, np.uint8)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f'OpenCV cannot decode the compressed image (format {message.format!r}, '
                         f'{data.size} bytes); is it an image and complete?')
    return ColorImage(pixels, 'bgr')  # type: ignore[arg-type]


def _through_cv_bridge(message: Image, pixel_bytes: int) -> ColorImage:
    size_hw = (message.height, message.width)
    check_layout(message.encoding, size_hw, message.step, len(message.data), pixel_bytes)
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError as error:
        raise MissingDependencyError(
            'cv_bridge', f'encoding {message.encoding}',
            'sudo apt install ros-$ROS_DISTRO-cv-bridge, or publish bgr8') from error
    try:
        pixels = CvBridge().imgmsg_to_cv2(_without_padding(message, pixel_bytes), 'bgr8')
    except (CvBridgeError, cv2.error, KeyError, TypeError, ValueError) as error:
        raise ImageError(f'this cv_bridge cannot convert {message.encoding} to bgr8 ({error}); '
                         'publish bgr8 or install another') from error
    return ColorImage(np.ascontiguousarray(pixels, np.uint8), 'bgr')


def _without_padding(message: Image, pixel_bytes: int) -> Image:
    """Return the message with step equal to the row's bytes: not every cv_bridge honours step."""
    row = message.width * pixel_bytes
    if message.step == row and len(message.data) == row * message.height:
        return message
    flat = np.frombuffer(message.data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(flat, (message.height, row), (message.step, 1))
    return Image(header=message.header, height=message.height, width=message.width,
                 encoding=message.encoding, is_bigendian=message.is_bigendian, step=row,
                 data=rows.tobytes())


def depth_in_metres(message: Image) -> F32:
    """
    Return depth [m] [H, W] of a 32FC1 (metres) or 16UC1 (millimetres) image, NaN where invalid.

    ImageError names another encoding or a size, step and data that disagree.
    """
    if message.encoding not in _DEPTH_TYPES:
        raise ImageError(f'the reference depth is {message.encoding!r}; it must be 32FC1 in '
                         'metres or 16UC1 in millimetres')
    kind = np.dtype(_DEPTH_TYPES[message.encoding]).newbyteorder(
        '>' if message.is_bigendian else '<')
    size_hw = (message.height, message.width)
    check_layout(message.encoding, size_hw, message.step, len(message.data), kind.itemsize)
    # The last row may end with its pixels, so rows are read as bytes of the width alone.
    rows = np.lib.stride_tricks.as_strided(
        np.frombuffer(message.data, np.uint8), (message.height, message.width * kind.itemsize),
        (message.step, 1))
    depth = np.ascontiguousarray(rows).view(kind).astype(np.float32)
    if kind.kind == 'u':
        depth /= 1000
    depth[~((depth > 0) & np.isfinite(depth))] = np.nan
    return depth


def points_xyz(message: PointCloud2) -> F64:
    """
    Return the finite points [N, 3] in metres, in the frame of the message.

    PointCloudError if x, y and z are not all there as FLOAT32 or FLOAT64 or the layout is wrong.
    """
    offsets = {field.name: field for field in message.fields if field.name in ('x', 'y', 'z')}
    kinds = [_COORDINATE_TYPES.get(field.datatype) for field in offsets.values()]
    if len(offsets) < 3 or None in kinds:
        found = ', '.join(field.name for field in message.fields) or 'none'
        raise PointCloudError('the reference cloud needs the fields x, y and z as FLOAT32 or '
                              f'FLOAT64; it has {found}')
    order = '>' if message.is_bigendian else '<'
    layout: Any = {
        'names': list(offsets), 'formats': [f'{order}{kind}' for kind in kinds],
        'offsets': [field.offset for field in offsets.values()], 'itemsize': message.point_step}
    row_bytes = message.width * message.point_step
    needed = max(message.row_step, row_bytes) * (message.height - 1) + row_bytes
    try:
        point = np.dtype(layout)
    except ValueError as error:
        raise PointCloudError(f'a field of the reference cloud does not fit into point_step '
                              f'{message.point_step}; the publisher fills it in wrongly'
                              ) from error
    if len(message.data) < needed or message.point_step == 0:
        raise PointCloudError(f'the reference cloud has {len(message.data)} bytes, but its size '
                              f'needs {needed}; the message is truncated')
    if message.width == 0 or message.height == 0:
        return np.empty((0, 3))
    rows = np.ndarray((message.height, message.width), point, message.data,
                      strides=(max(message.row_step, row_bytes), message.point_step))
    points = np.stack([rows[name].ravel() for name in ('x', 'y', 'z')], axis=-1).astype(float)
    kept: F64 = points[np.isfinite(points).all(axis=1)]
    return kept


def depth_message(header: Header, depth: npt.NDArray[np.float32],
                  encoding: str = '32FC1') -> bytes:
    """
    Return a serialised image of a map [H, W], NaN where invalid.

    32FC1 holds metres or inverse depth as it is, 16UC1 metres as millimetres, 0 where invalid.
    """
    if encoding == '16UC1':
        return _image(header, '16UC1', millimetres(depth), 2)
    return _image(header, '32FC1', depth, 4)


def color_message(header: Header, image_bgr: npt.NDArray[np.uint8]) -> bytes:
    """Return a serialised bgr8 image of [H, W, 3]."""
    return _image(header, 'bgr8', image_bgr, 3)


def cloud_message(header: Header, cloud: npt.NDArray[np.float32]) -> bytes:
    """
    Return a serialised cloud of float32 x, y, z in metres and, with C = 4, packed rgb.

    [H, W, C] becomes an organised cloud with NaN where invalid, [N, C] a dense list of points.
    """
    height, width = cloud.shape[:2] if cloud.ndim == 3 else (1, cloud.shape[0])
    names = _POINT_FIELDS[:cloud.shape[-1]]
    fields = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
              for index, name in enumerate(names)]
    step = 4 * len(names)
    return _serialised(PointCloud2(
        header=header, height=height, width=width, fields=fields, is_bigendian=_BIG_ENDIAN,
        point_step=step, row_step=step * width, is_dense=cloud.ndim == 2), cloud)


def _image(header: Header, encoding: str, pixels: npt.NDArray[Any], pixel_bytes: int) -> bytes:
    height, width = pixels.shape[:2]
    return _serialised(Image(
        header=header, height=height, width=width, encoding=encoding, is_bigendian=_BIG_ENDIAN,
        step=width * pixel_bytes), pixels)


def _serialised(message: Image | PointCloud2, data: npt.NDArray[Any]) -> bytes:
    """
    Return the message with ``data``, which it has none of yet, in CDR.

    There data are their number in four bytes, aligned to four, and the bytes as they are. Nothing
    follows them in an image, one flag in a cloud, to which a middleware may add padding.
    """
    empty = serialize_message(message)
    end = len(empty) - (0 if isinstance(message, Image) else len(empty) % 4 or 4)
    order: Literal['little', 'big'] = 'little' if empty[1] & 1 else 'big'
    return b''.join((empty[:end - 4], data.nbytes.to_bytes(4, order),
                     np.ascontiguousarray(data).data, empty[end:]))
