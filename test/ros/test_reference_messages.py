"""Depth images and point clouds of reference sensors become arrays in metres."""

from depth_anything_ros.errors import ImageError, PointCloudError
from depth_anything_ros.ros.messages import (
    cloud_message as organized_cloud, decode_depth, points_and_colors, points_xyz)
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
    assert_allclose(decode_depth(depth_message(encoding, values, padding)), DEPTH_M,
                    rtol=1e-6)


def test_zero_negative_and_infinite_depth_become_nan() -> None:
    values = np.array([[0, -1, np.inf, -np.inf, np.nan, 2]], np.float32)
    assert_array_equal(decode_depth(depth_message('32FC1', values)), [[np.nan] * 5 + [2]])
    to_millimetres = np.array([[0, 65535]], np.uint16)
    assert_allclose(decode_depth(depth_message('16UC1', to_millimetres)), [[np.nan, 65.535]])


@pytest.mark.parametrize('change, fact', [
    ({'encoding': 'bgr8'}, 'bgr8'), ({'step': 3}, 'step'), ({'height': 9}, 'truncated'),
    ({'width': 0}, 'empty')])
def test_an_image_without_depth_raises_an_error_with_the_reason(change: dict, fact: str) -> None:
    message = depth_message('32FC1', DEPTH_M.astype(np.float32))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=fact):
        decode_depth(message)


def cloud_message(points: np.ndarray, kind: str = '<f4', row_padding: int = 0) -> PointCloud2:
    """Return points [H, W, 3] with an intensity before and between the coordinates."""
    height, width = points.shape[:2]
    layout = np.dtype({'names': ['i', 'x', 'y', 'z'], 'formats': ['u1', kind, kind, kind],
                       'offsets': [0, 4, 16, 24], 'itemsize': 40})
    rows = np.zeros((height, width), layout)
    for axis, name in enumerate('xyz'):
        rows[name] = points[..., axis]
    number = PointField.FLOAT32 if kind[1:] == 'f4' else PointField.FLOAT64
    fields = [PointField(name='i', offset=0, datatype=PointField.UINT8, count=1),
              *(PointField(name=name, offset=offset, datatype=number, count=1)
                for name, offset in (('x', 4), ('y', 16), ('z', 24)))]
    data = b''.join(row.tobytes() + bytes(row_padding) for row in rows)
    return PointCloud2(height=height, width=width, fields=fields, point_step=40,
                       row_step=40 * width + row_padding, data=data,
                       is_bigendian=kind[0] == '>')


@pytest.mark.parametrize('kind', ['<f4', '<f8', '>f4', '>f8'])
@pytest.mark.parametrize('row_padding', [0, 12])
def test_points_are_read_from_any_layout(kind: str, row_padding: int) -> None:
    points = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    found = points_xyz(cloud_message(points, kind, row_padding))
    assert_allclose(found, points.reshape(-1, 3))


def test_points_that_are_not_finite_are_removed() -> None:
    points = np.ones((1, 3, 3), np.float32)
    points[0, 1, 2] = np.nan
    points[0, 2, 0] = np.inf
    assert_array_equal(points_xyz(cloud_message(points)), [[1, 1, 1]])


def test_of_too_many_points_as_many_as_wanted_are_taken_evenly() -> None:
    points = np.repeat(np.arange(1000, dtype=np.float32).reshape(10, 100, 1), 3, axis=2)
    points[5] = np.nan
    found = points_xyz(cloud_message(points), most=90)
    assert_array_equal(found[:, 0], found[:, 2])
    assert_array_equal(found[:, 0], [*range(0, 500, 10), *range(600, 1000, 10)])
    assert len(points_xyz(cloud_message(points), most=1000)) == 900


def test_points_are_a_copy_that_does_not_keep_the_message() -> None:
    found = points_xyz(cloud_message(np.ones((4, 5, 3), np.float32), '<f8'))
    assert found.base is None


def test_an_empty_cloud_has_no_points() -> None:
    message = cloud_message(np.ones((1, 2, 3), np.float32))
    message.width, message.row_step, message.data = 0, 0, b''
    assert points_xyz(message).shape == (0, 3)
    message.fields[0].offset, message.point_step = 2 ** 31, 2 ** 32 - 1
    assert points_xyz(message).shape == (0, 3)
    message.width, message.height = 2, 0
    assert points_xyz(message).shape == (0, 3)


def test_a_cloud_without_coordinates_or_with_a_wrong_layout_raises_with_the_reason() -> None:
    message = cloud_message(np.ones((2, 2, 3), np.float32))
    truncated = cloud_message(np.ones((2, 2, 3), np.float32))
    truncated.height = 3
    with pytest.raises(PointCloudError, match='^the point cloud has .* truncated'):
        points_xyz(truncated)
    narrow = cloud_message(np.ones((2, 2, 3), np.float32))
    narrow.point_step = 20
    with pytest.raises(PointCloudError, match='point_step'):
        points_xyz(narrow)
    narrow.point_step = 0
    with pytest.raises(PointCloudError, match='point_step 0'):
        points_xyz(narrow)
    message.fields = [field for field in message.fields if field.name != 'z']
    with pytest.raises(PointCloudError, match='i, x, y'):
        points_xyz(message)


@pytest.mark.parametrize('offset', [37, 40, 2 ** 31 - 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1])
@pytest.mark.parametrize('point_step', [40, 2 ** 32 - 1])
def test_a_field_beyond_its_point_is_refused_and_not_read(offset: int, point_step: int) -> None:
    """Numpy takes 2**31 - 1 for an offset that fits, and ends the process when it reads there."""
    message = cloud_message(np.ones((2, 2, 3), np.float32))
    message.fields[2].offset, message.point_step = offset, point_step
    with pytest.raises(PointCloudError):
        points_xyz(message)


def test_points_come_with_their_colours() -> None:
    points = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
    points[..., 3] = np.arange(0x102030, 0x102030 + 15, dtype=np.uint32).view(
        np.float32).reshape(3, 5)
    points[1, 2, 0] = np.nan
    message = deserialize_message(bytes(organized_cloud(Header(), points)), PointCloud2)
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


def test_points_without_colours_are_grey() -> None:
    xyz, colors = points_and_colors(cloud_message(np.ones((2, 2, 3), np.float32), '>f8'))
    assert_array_equal(xyz, np.ones((4, 3)))
    assert_array_equal(colors, np.full((4, 3), 160))
