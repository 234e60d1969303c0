"""From messages of reference sensors to metres: depth images and point clouds."""

from typing import Any

from depth_anything_ros.errors import ImageError, PointCloudError
from depth_anything_ros.vision.encodings import check_layout
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image, PointCloud2, PointField

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

_DEPTH_TYPES = {'32FC1': 'f4', '16UC1': 'u2', 'mono16': 'u2'}
_COORDINATE_TYPES = {PointField.FLOAT32: 'f4', PointField.FLOAT64: 'f8'}


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
