"""From arrays to messages: images and clouds serialised with one copy, header as given."""

import sys
from typing import Any, Literal

from depth_anything_ros.vision.depth import millimetres
import numpy as np
import numpy.typing as npt
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

_BIG_ENDIAN = sys.byteorder == 'big'
_POINT_FIELDS = ('x', 'y', 'z', 'rgb')


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
