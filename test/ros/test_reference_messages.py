"""Depth images and point clouds of reference sensors become arrays in metres."""

from depth_anything_ros.errors import ImageError
from depth_anything_ros.ros.messages import cloud_message
from depth_anything_ros.vision.point_cloud import points_and_colors
from depth_anything_ros.vision.raw_image import read_depth_message
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

DEPTH_M = np.array([[1.5, 0.25, 3.0], [4.0, 0.001, 7.5]])


def depth_message(encoding: str, values: np.ndarray, padding: int = 0) -> Image:
    """Return a depth image whose rows, except the last, are padded."""
    height, width = values.shape
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(height, -1)
    step = rows.shape[1] + padding
    data = b''.join(row.tobytes() + b'\xff' * padding for row in rows)
    return Image(encoding=encoding, height=height, width=width, step=step,
                 data=data[:len(data) - padding],
                 is_bigendian=int(values.dtype.byteorder == '>'))


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('encoding, kind, factor', [
    ('32FC1', 'f4', 1), ('16UC1', 'u2', 1000), ('mono16', 'u2', 1000)])
def test_metres_and_millimetres_are_read_with_padding_and_either_byte_order(
        order: str, padding: int, encoding: str, kind: str, factor: int) -> None:
    values = (DEPTH_M * factor).round(3).astype(f'{order}{kind}')
    assert_allclose(read_depth_message(depth_message(encoding, values, padding)), DEPTH_M,
                    rtol=1e-6)


def test_zero_negative_and_infinite_depth_become_nan() -> None:
    values = np.array([[0, -1, np.inf, -np.inf, np.nan, 2]], np.float32)
    assert_array_equal(read_depth_message(depth_message('32FC1', values)), [[np.nan] * 5 + [2]])
    to_millimetres = np.array([[0, 65535]], np.uint16)
    assert_allclose(read_depth_message(depth_message('16UC1', to_millimetres)), [[np.nan, 65.535]])


@pytest.mark.parametrize('change, fact', [
    ({'encoding': 'bgr8'}, 'bgr8'), ({'step': 3}, 'step'), ({'height': 9}, 'truncated'),
    ({'width': 0}, 'empty')])
def test_an_image_without_depth_raises_an_error_with_the_reason(change: dict, fact: str) -> None:
    message = depth_message('32FC1', DEPTH_M.astype(np.float32))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=fact):
        read_depth_message(message)


def test_points_come_with_their_colours() -> None:
    points = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
    points[..., 3] = np.arange(0x102030, 0x102030 + 15, dtype=np.uint32).view(
        np.float32).reshape(3, 5)
    points[1, 2, 0] = np.nan
    message = deserialize_message(bytes(cloud_message(Header(), points)), PointCloud2)
    xyz, colors = points_and_colors(message)
    kept = np.arange(15) != 7
    assert_array_equal(xyz, points.reshape(-1, 4)[kept, :3])
    assert xyz.dtype == np.float32
    assert_array_equal(colors, [[0x10, 0x20, 0x30 + index] for index in np.flatnonzero(kept)])
    xyz, colors = points_and_colors(message, most=7)
    assert len(xyz) == len(colors) == 7
    message.fields[3].datatype = PointField.UINT32
    xyz, colors = points_and_colors(message)
    assert len(xyz) == 14 and (colors == 160).all(), 'colours of another type are left out'
