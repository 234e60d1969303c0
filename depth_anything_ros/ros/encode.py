"""From arrays to messages: one memory copy each, header as given."""

from array import array
import sys

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

_BIG_ENDIAN = sys.byteorder == 'big'
_POINT_FIELDS = ('x', 'y', 'z', 'rgb')


def depth_message(header: Header, depth: npt.NDArray[np.float32]) -> Image:
    """Return a 32FC1 image of a map [H, W]: metres or inverse depth, NaN where invalid."""
    return _image(header, '32FC1', depth, 4)


def color_message(header: Header, image_bgr: npt.NDArray[np.uint8]) -> Image:
    """Return a bgr8 image of [H, W, 3]."""
    return _image(header, 'bgr8', image_bgr, 3)


def cloud_message(header: Header, cloud: npt.NDArray[np.float32]) -> PointCloud2:
    """Return an organised cloud of [H, W, 4] float32: x, y, z in metres and packed rgb."""
    height, width = cloud.shape[:2]
    fields = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
              for index, name in enumerate(_POINT_FIELDS)]
    message = PointCloud2(
        header=header, height=height, width=width, fields=fields, is_bigendian=_BIG_ENDIAN,
        point_step=16, row_step=16 * width, is_dense=False)
    message.data = _bytes_of(cloud)
    return message


def _image(header: Header, encoding: str, pixels: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
           pixel_bytes: int) -> Image:
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding,
                    is_bigendian=_BIG_ENDIAN, step=width * pixel_bytes)
    message.data = _bytes_of(pixels)
    return message


def _bytes_of(values: npt.NDArray[np.float32] | npt.NDArray[np.uint8]) -> 'array[int]':
    data = array('B')
    data.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return data
