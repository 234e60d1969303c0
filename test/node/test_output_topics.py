"""Sizes, encodings and clouds of the outputs, set by parameters."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

HW = (120, 160)
DEPTH, INFO, POINTS = (f'/depth_anything/{topic}' for topic in (
    'depth/image', 'depth/camera_info', 'points'))
# Inverse depth of the tiny model is R / 255 + ..., so this red is two metres.
TWO_METRES = (0, 0, 128)


def plain(color_bgr: tuple[int, int, int] = TWO_METRES) -> np.ndarray:
    """Return a picture of one colour."""
    return np.full((*HW, 3), color_bgr, np.uint8)


def pixels(message: Image) -> np.ndarray:
    """Return the array of a depth image."""
    kind = {'32FC1': np.float32, '16UC1': np.uint16}[message.encoding]
    return np.frombuffer(message.data, kind).reshape(message.height, message.width)


def xyz(message: PointCloud2) -> np.ndarray:
    """Return the coordinates [height, width, 3] of a cloud."""
    values = np.frombuffer(message.data, np.float32)
    return values.reshape(message.height, message.width, message.point_step // 4)[..., :3]


@pytest.fixture
def show(make_robot: Callable[..., Robot]) -> Callable[..., tuple[Robot, Any]]:
    """Return a function that publishes a picture and returns the message on an output topic."""
    def shown(kind: type, topic: str, picture: np.ndarray, **parameters: Any) -> Any:
        robot = make_robot(**{'relative_scale': 1.0, 'points_stride': 1, **parameters})
        robot.bring_up()
        messages = robot.listen(kind, topic)
        robot.show_camera(camera_info(HW[1], HW[0]))
        robot.show(picture)
        assert robot.until(lambda: messages)
        return messages[0]
    return shown


@pytest.mark.parametrize('size, divisor, expected_hw', [
    ('input', 4, HW), ('native', 1, (112, 154)), ('divisor', 1, HW), ('divisor', 4, (30, 40))])
def test_depth_camera_info_and_cloud_have_the_size_that_is_asked_for(
        make_robot: Callable[..., Robot], size: str, divisor: int,
        expected_hw: tuple[int, int]) -> None:
    """The cloud made of the depth and its camera_info is the cloud that is published."""
    robot = make_robot(relative_scale=1.0, output_size=size, output_divisor=divisor,
                       points_stride=1)
    robot.bring_up()
    depths, infos = robot.listen(Image, DEPTH), robot.listen(CameraInfo, INFO)
    clouds = robot.listen(PointCloud2, POINTS)
    colors = robot.listen(Image, '/depth_anything/color/image')
    robot.show_camera(camera_info(HW[1], HW[0]))
    ramp = np.zeros((*HW, 3), np.uint8)
    ramp[..., 2] = np.linspace(40, 250, HW[1])
    robot.show(ramp)
    assert robot.until(lambda: depths and infos and clouds and colors)
    depth, info, points = pixels(depths[0]), infos[0], xyz(clouds[0])
    assert depth.shape == (info.height, info.width) == points.shape[:2] == expected_hw
    assert (colors[0].height, colors[0].width) == expected_hw
    rows, columns = np.mgrid[0:expected_hw[0], 0:expected_hw[1]]
    assert_allclose(points[..., 0], (columns - info.p[2]) / info.p[0] * depth, atol=1e-5)
    assert_allclose(points[..., 1], (rows - info.p[6]) / info.p[5] * depth, atol=1e-5)
    # The same direction has the same depth, whatever the size: 1/z = R / 255 over x/z.
    direction = points[..., 0] / points[..., 2]
    column = direction * 100 + 79.5
    red = np.interp(column, np.arange(HW[1]), np.linspace(40, 250, HW[1]).astype(np.uint8))
    inner = slice(2, -2)
    assert_allclose(1 / depth[inner, inner], red[inner, inner] / 255, atol=0.012)


def test_millimetres_hold_zero_where_invalid(show: Callable[..., Any]) -> None:
    picture = plain()
    picture[:60] = 0  # inverse depth 0: at infinity
    message = show(Image, DEPTH, picture, depth_encoding='16UC1')
    found = pixels(message)
    assert message.step == 2 * HW[1]
    assert_array_equal(found[:50], 0)
    assert_allclose(found[70:], 1000 * 255 / 128, atol=1)


def test_what_lies_at_infinity_or_out_of_range_is_nan_never_infinite(
        show: Callable[..., Any]) -> None:
    picture = plain()
    picture[:60] = 0
    found = pixels(show(Image, DEPTH, picture, depth_max=50.0))
    assert np.isnan(found[:50]).all() and np.isfinite(found[70:]).all()


def test_points_without_color_have_three_fields(show: Callable[..., Any]) -> None:
    message = show(PointCloud2, POINTS, plain(), points_color=False)
    assert [field.name for field in message.fields] == ['x', 'y', 'z']
    assert (message.point_step, message.row_step) == (12, 12 * HW[1])
    assert_allclose(xyz(message)[..., 2], 255 / 128, rtol=1e-3)


def test_far_points_are_put_where_a_costmap_clears(show: Callable[..., Any]) -> None:
    """Points beyond points_max and at infinity, each along its own ray."""
    picture = plain()
    picture[:60] = 0
    picture[:30, :, 2] = 20  # 12.75 m
    message = show(PointCloud2, POINTS, picture, points_max=5.0, points_clearing=6.0)
    points = xyz(message)
    assert_allclose(points[:50, :, 2], 6.0)
    assert_allclose(points[:50, 0, 0], -79.5 / 100 * 6.0, rtol=1e-5)
    assert_allclose(points[70:, :, 2], 255 / 128, rtol=1e-3)


def test_a_height_band_keeps_what_stands_between_floor_and_ceiling(
        show: Callable[..., Any]) -> None:
    """Height above the floor is camera_height - y for a level camera."""
    message = show(PointCloud2, POINTS, plain(), camera_height=0.5, points_height_min=0.2,
                   points_height_max=1.0)
    points = xyz(message)
    kept = np.isfinite(points[..., 2])
    height_m = 0.5 - (np.arange(HW[0]) - 59.5) / 100 * (255 / 128)
    assert_array_equal(kept[:, 80], (height_m >= 0.2) & (height_m <= 1.0))


def test_voxels_make_a_dense_list_of_fewer_points(show: Callable[..., Any]) -> None:
    """A wall 3.2 m x 2.4 m at two metres in cubes of 0.2 m: about 16 x 12 points."""
    message = show(PointCloud2, POINTS, plain(), points_voxel=0.2)
    points = xyz(message)
    assert message.height == 1 and message.is_dense
    assert 16 * 12 <= message.width <= 18 * 14
    assert np.isfinite(points).all()
    assert_allclose(points[..., 2], 255 / 128, rtol=1e-3)
    assert message.row_step == len(message.data) == message.width * message.point_step


def test_a_cloud_without_any_point_is_published_empty(show: Callable[..., Any]) -> None:
    """Silence would look like a dead node."""
    message = show(PointCloud2, POINTS, plain(), points_max=1.0, points_voxel=0.1)
    assert (message.height, message.width, len(message.data)) == (1, 0, 0)


def test_the_edge_filter_blanks_a_jump_in_depth_and_cloud(show: Callable[..., Any]) -> None:
    picture = plain()
    picture[:, 80:] = (0, 0, 255)
    without = pixels(show(Image, DEPTH, picture))
    assert np.isfinite(without).all()


def test_the_edge_filter_leaves_nothing_between_the_surfaces(show: Callable[..., Any]) -> None:
    picture = plain()
    picture[:, 80:] = (0, 0, 255)
    found = pixels(show(Image, DEPTH, picture, edge_filter=0.1))
    between = (found > 1.1) & (found < 1.9)
    assert not between.any()
    assert np.isnan(found[:, 76:84]).any(axis=1).all()
    assert np.isfinite(found[:, :70]).all() and np.isfinite(found[:, 90:]).all()


def test_the_rays_of_a_raw_image_are_undistorted(make_robot: Callable[..., Robot]) -> None:
    """image_geometry raw takes K and D; points then lie inside of where a pinhole has them."""
    robot = make_robot(relative_scale=1.0, points_stride=1)
    robot.bring_up()
    clouds = robot.listen(PointCloud2, POINTS)
    info = camera_info(HW[1], HW[0])
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    robot.show_camera(info)
    corners = []
    for number, geometry in enumerate(('rectified', 'raw', 'auto'), start=1):
        assert robot.set_parameters(image_geometry=geometry)[0].successful
        robot.show(plain())
        assert robot.until(lambda number=number: len(clouds) == number)
        corners.append(xyz(clouds[-1])[0, 0, :2])
    rectified, raw, auto = corners
    assert_allclose(rectified, np.array([-79.5, -59.5]) / 100 * 255 / 128, rtol=1e-3)
    assert (np.abs(raw) < 0.95 * np.abs(rectified)).all()
    assert_array_equal(auto, raw)


@pytest.mark.parametrize('topic, rectified', [
    ('image_rect', True), ('color/rect/image', True), ('image_raw', False),
    ('image_corrected', False)])
def test_compressed_images_are_rectified_if_their_base_topic_says_so(
        make_robot: Callable[..., Robot], topic: str, rectified: bool) -> None:
    """The name of the transport at the end says nothing."""
    robot = make_robot(['--ros-args', '-r', f'image:=/camera/{topic}'], relative_scale=1.0,
                       points_stride=1, image_transport='compressed',
                       **{f'qos_overrides./camera/{topic}/compressed.subscription.reliability':
                          'reliable'})
    robot.bring_up()
    clouds = robot.listen(PointCloud2, POINTS)
    info = camera_info(HW[1], HW[0])
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    robot.show_camera(info)
    png = cv2.imencode('.png', plain())[1].tobytes()
    robot.publish(f'/camera/{topic}/compressed', CompressedImage(format='png', data=png))
    assert robot.until(lambda: clouds)
    x = xyz(clouds[0])[0, 0, 0]
    pinhole_x = -79.5 / 100 * 255 / 128
    if rectified:
        assert_allclose(x, pinhole_x, rtol=1e-3)
    else:
        assert abs(x) < 0.95 * abs(pinhole_x)


def test_a_metric_model_is_corrected_by_scale_offset_and_focal_length(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Any]) -> None:
    """It gives 128/255 m * 2 * (100 px / 120 px / 0.5) + 0.25 m."""
    robot = make_robot(model=str(make_ir(kind='metric', max_depth_m=20.0)), metric_scale=2.0,
                       metric_offset=0.25, metric_focal=0.5)
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show_camera(camera_info(HW[1], HW[0]))
    robot.show(plain())
    assert robot.until(lambda: depths)
    assert_allclose(pixels(depths[0]), 128 / 255 * 2 * (100 / 120 / 0.5) + 0.25, rtol=1e-3)


@pytest.mark.parametrize('stabilization, is_stable', [('off', False), ('color', False),
                                                      ('all', True)])
def test_stabilization_takes_the_flicker_out_of_the_data_only_when_asked(
        make_robot: Callable[..., Robot], stabilization: str, is_stable: bool) -> None:
    """The same scene, answered 10 % nearer the second time."""
    robot = make_robot(stabilization=stabilization)
    robot.bring_up()
    maps = robot.listen(Image, '/depth_anything/inverse_depth/image')
    scene = np.random.default_rng(0).integers(0, 200, (12, 16), np.uint8)
    scene = np.repeat(np.kron(scene, np.ones((10, 10), np.uint8))[..., None], 3, axis=-1)
    for number, gain in enumerate((1.0, 1.1), start=1):
        robot.show((scene * gain).astype(np.uint8))
        assert robot.until(lambda number=number: len(maps) == number)
    first, second = (pixels(message).mean() for message in maps)
    assert (abs(second / first - 1) < 0.03) == is_stable
