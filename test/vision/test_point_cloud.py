"""PointCloud2 messages of any layout become arrays, and damaged ones an error."""

from array import array
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

from depth_anything_ros.errors import PointCloudError
from depth_anything_ros.vision.point_cloud import points_and_colors, points_xyz
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

# Of sensor_msgs/PointField.
UINT8, FLOAT32, FLOAT64 = 2, 7, 8


def field(name: str, offset: int, datatype: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=1)


def cloud_message(points: np.ndarray, kind: str = '<f4', row_padding: int = 0) -> SimpleNamespace:
    """Return points [H, W, 3] with an intensity before and between the coordinates."""
    height, width = points.shape[:2]
    layout = np.dtype({'names': ['i', 'x', 'y', 'z'], 'formats': ['u1', kind, kind, kind],
                       'offsets': [0, 4, 16, 24], 'itemsize': 40})
    rows = np.zeros((height, width), layout)
    for axis, name in enumerate('xyz'):
        rows[name] = points[..., axis]
    number = FLOAT32 if kind[1:] == 'f4' else FLOAT64
    fields = [field('i', 0, UINT8), field('x', 4, number), field('y', 16, number),
              field('z', 24, number)]
    data = b''.join(row.tobytes() + bytes(row_padding) for row in rows)
    return SimpleNamespace(height=height, width=width, fields=fields, point_step=40,
                           row_step=40 * width + row_padding, data=data,
                           is_bigendian=kind[0] == '>')


@pytest.mark.parametrize('kind', ['<f4', '<f8', '>f4', '>f8'])
@pytest.mark.parametrize('row_padding', [0, 12])
@pytest.mark.parametrize('as_data', [partial(array, 'B'), partial(np.frombuffer, dtype=np.uint8)],
                         ids=['rclpy', 'rosbags'])
def test_points_are_read_from_any_layout(kind: str, row_padding: int,
                                         as_data: Callable[[bytes], object]) -> None:
    points = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    message = cloud_message(points, kind, row_padding)
    message.data = as_data(message.data)
    assert_allclose(points_xyz(message), points.reshape(-1, 3))


def test_a_cloud_without_row_step_or_without_the_padding_of_its_last_row_is_read() -> None:
    points = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)
    message = cloud_message(points)
    message.row_step = 0
    assert_allclose(points_xyz(message), points.reshape(-1, 3))
    message = cloud_message(points, row_padding=12)
    message.data = message.data[:-12]
    assert_allclose(points_xyz(message), points.reshape(-1, 3))


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


def test_points_without_colours_are_grey() -> None:
    xyz, colors = points_and_colors(cloud_message(np.ones((2, 2, 3), np.float32), '>f8'))
    assert_array_equal(xyz, np.ones((4, 3)))
    assert_array_equal(colors, np.full((4, 3), 160))
