"""
Points of sensor_msgs/PointCloud2 as arrays.

The message may be one of rclpy, or one of rosbags that was read from a bag.
"""

from collections.abc import Sequence
from typing import Any

from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.errors import PointCloudError
import numpy as np
import numpy.typing as npt

_AXES = ('x', 'y', 'z')
POINT_FIELDS = (*_AXES, 'rgb')
# Numbers of sensor_msgs/PointField.
_FLOAT32, _FLOAT64 = 7, 8
_COORDINATE_TYPES = {_FLOAT32: 'f4', _FLOAT64: 'f8'}
_GREY = 160


def points_xyz(message: Any, most: int | None = None) -> F64:
    """
    Return the finite points [N, 3] in metres, in the frame of the message; a copy.

    Of more than ``most`` points as many are returned, evenly spread over the cloud.

    PointCloudError if x, y or z is missing or neither FLOAT32 nor FLOAT64, and for a wrong layout.
    """
    rows = _cloud_rows(message, _AXES)
    return _xyz(rows, _finite_points(rows, most)).astype(np.float64)


def points_and_colors(message: Any, most: int | None = None) -> tuple[F32, U8]:
    """
    Return the points [N, 3] of ``points_xyz`` as float32, and their colours, RGB u8 [N, 3].

    A cloud without the field rgb is grey.
    """
    rows = _cloud_rows(message, POINT_FIELDS)
    picked = _finite_points(rows, most)
    xyz = _xyz(rows, picked).astype(np.float32)
    if 'rgb' not in (rows.dtype.names or ()):
        return xyz, np.full(xyz.shape, _GREY, np.uint8)
    packed = rows['rgb'][picked]
    # The bits of the float are 0x00RRGGBB.
    bits = packed.view(packed.dtype.str.replace('f', 'u')).astype(np.uint32)
    return xyz, np.stack([bits >> shift & 0xff for shift in (16, 8, 0)], axis=-1).astype(np.uint8)


def _xyz(rows: npt.NDArray[Any], picked: tuple[Any, Any]) -> npt.NDArray[Any]:
    """Return the points [N, 3] of the rows and columns ``picked``."""
    return np.stack([rows[name][picked] for name in _AXES], axis=-1)


def _finite_points(rows: npt.NDArray[Any], most: int | None) -> tuple[Any, Any]:
    """Return row and column of at most ``most`` finite points of a structured array [H, W]."""
    if not rows.size:
        return np.divmod(np.empty(0, np.intp), 1)
    finite = np.flatnonzero(
        np.isfinite(rows['x']) & np.isfinite(rows['y']) & np.isfinite(rows['z']))
    if most is not None and finite.size > most:
        finite = finite[np.arange(most) * finite.size // most]
    return np.divmod(finite, rows.shape[1])


def _cloud_rows(message: Any, names: Sequence[str]) -> npt.NDArray[Any]:
    """Return a view [H, W] of the fields ``names`` that the cloud has, x, y and z at least."""
    fields = {field.name: field for field in message.fields if field.name in names}
    # Other types than FLOAT32 of the colour are left out: x, y and z are needed, it is not.
    if 'rgb' in fields and fields['rgb'].datatype != _FLOAT32:
        del fields['rgb']
    types = [_COORDINATE_TYPES.get(field.datatype) for field in fields.values()]
    if not set(_AXES) <= set(fields) or None in types:
        found = ', '.join(field.name for field in message.fields) or 'none'
        raise PointCloudError('the point cloud needs the fields x, y and z as FLOAT32 or '
                              f'FLOAT64; it has {found}')
    byte_order = '>' if message.is_bigendian else '<'
    packed: Any = {
        'names': list(fields), 'formats': [f'{byte_order}{number}' for number in types]}
    row_bytes = message.width * message.point_step
    needed = max(message.row_step, row_bytes) * (message.height - 1) + row_bytes
    # NumPy checks this with 32-bit numbers, and reads beyond the buffer where they overflow.
    ends = (field.offset + np.dtype(number).itemsize
            for field, number in zip(fields.values(), types))
    if max(ends) > message.point_step:
        raise PointCloudError(
            f'a field of the point cloud does not fit into point_step {message.point_step}; '
            'the publisher fills it in wrongly')
    if len(message.data) < needed:
        raise PointCloudError(f'the point cloud has {len(message.data)} bytes, but its size '
                              f'needs {needed}; the message is truncated')
    if message.width == 0 or message.height == 0:
        # An offset and a step may be larger here than NumPy takes.
        return np.empty((0, 0), np.dtype(packed))
    layout: Any = {**packed, 'offsets': [field.offset for field in fields.values()],
                   'itemsize': message.point_step}
    return np.ndarray((message.height, message.width), np.dtype(layout), message.data,
                      strides=(max(message.row_step, row_bytes), message.point_step))
