"""
What consumers do with the node's output, restated in a few lines each.

Every restatement names the source that it follows. Geometry is compared with the node's own cloud
of the same frame.
"""

from collections.abc import Callable
from typing import Any

from consumers import (
    back_projected, fields, FOCAL, HW, laser_scan, metres, own_points, pinhole, POINTS, SCALE,
    scene, Seen, wall)
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from rclpy.qos import qos_profile_sensor_data
from robot import camera_info, Robot
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

SIZES = pytest.mark.parametrize('size', [
    {}, {'output_size': 'divisor', 'output_divisor': 4}, {'output_size': 'native'}],
    ids=['input', 'divisor', 'native'])
ENCODINGS = pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])


def assert_same_points(found: np.ndarray, seen: Seen) -> None:
    """Compare points [H, W, 3] with the node's, to half a millimetre of depth."""
    assert np.isfinite(found).any()
    assert_allclose(found, own_points(seen), atol=0.0006)


def cut_camera() -> CameraInfo:
    """Return a camera whose images are a region of 320x240 pixels, binned by two."""
    info = camera_info(640, 480, 2 * FOCAL)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 60, 320, 240
    info.binning_x = info.binning_y = 2
    return info


@SIZES
@ENCODINGS
def test_depth_image_proc_makes_the_same_cloud(
        outputs_of: Callable[..., Seen], size: dict[str, Any], encoding: str) -> None:
    """
    Nodelet point_cloud_xyz of image_pipeline 5.0: point_cloud_xyz.cpp, conversions.hpp.

    It pairs the image with the camera_info beside it by equal stamps.
    """
    depth_m = wall(2.0, slant=0.4).copy()
    depth_m[:20] = np.inf
    seen = outputs_of(scene(depth_m), depth_encoding=encoding, **size)
    assert seen.info.header == seen.depth.header
    assert_same_points(back_projected(metres(seen.depth), pinhole(seen.info)), seen)
    assert np.isnan(metres(seen.depth)).any()


def test_depth_image_proc_makes_the_same_cloud_of_a_camera_without_p(
        outputs_of: Callable[..., Seen]) -> None:
    """Drivers that know only K leave P, R and the distortion empty."""
    info = camera_info(HW[1], HW[0], FOCAL)
    info.p, info.r, info.d, info.distortion_model = [0.0] * 12, [0.0] * 9, [], ''
    seen = outputs_of(scene(wall(2.0, slant=0.4)), info=info)
    assert_same_points(back_projected(metres(seen.depth), pinhole(seen.info)), seen)


def colored_cloud(seen: Seen) -> tuple[np.ndarray, np.ndarray] | None:
    """Return points and packed colours as point_cloud_xyzrgb.cpp, or None where it gives up."""
    same_size = (seen.depth.width, seen.depth.height) == (seen.image.width, seen.image.height)
    if not same_size or seen.depth.header.frame_id != seen.image.header.frame_id:
        return None
    assert seen.image.encoding == 'bgr8'
    bgr = np.frombuffer(seen.image.data, np.uint8).reshape(*HW, 3).astype(np.uint32)
    return (back_projected(metres(seen.depth), pinhole(seen.info)),
            bgr[..., 2] << 16 | bgr[..., 1] << 8 | bgr[..., 0])


@ENCODINGS
def test_depth_image_proc_colors_the_same_cloud(
        outputs_of: Callable[..., Seen], encoding: str) -> None:
    """Nodelet point_cloud_xyzrgb: depth and rgb in one frame, of one size."""
    seen = outputs_of(scene(wall(2.0, slant=0.4)), depth_encoding=encoding)
    found = colored_cloud(seen)
    assert found is not None
    points, colors = found
    assert_same_points(points, seen)
    packed = fields(seen.cloud, 'rgb')[0].view(np.uint32).reshape(HW)
    assert_array_equal(colors, packed)


@pytest.mark.parametrize('size', [
    {'output_size': 'divisor', 'output_divisor': 2}, {'output_size': 'native'}],
    ids=['divisor', 'native'])
def test_depth_image_proc_refuses_to_color_a_smaller_depth(
        outputs_of: Callable[..., Seen], size: dict[str, Any]) -> None:
    """It reports that the sizes differ and publishes nothing: output_size must be input."""
    assert colored_cloud(outputs_of(scene(wall()), **size)) is None


def rtabmap_cloud(seen: Seen) -> tuple[np.ndarray, int]:
    """
    Return points as rtabmap makes them with the camera of the colour image, and the decimation.

    rtabmap_ros 0.22: rgbd_sync.cpp warns beyond 10 ms, MsgConversion.cpp takes three encodings;
    rtabmap: util3d.cpp, cloudFromDepthRGB, wants a camera of the size of the colour image and a
    depth whose size divides it. rtabmap.launch.py passes the camera_info of the image, not that of
    the depth.
    """
    assert (seen.camera.width, seen.camera.height) == (seen.image.width, seen.image.height)
    stamps = [message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
              for message in (seen.image, seen.depth)]
    assert abs(stamps[0] - stamps[1]) <= 0.010
    assert seen.depth.encoding in ('32FC1', '16UC1', 'mono16')
    assert seen.image.width % seen.depth.width == seen.image.height % seen.depth.height == 0
    ratio = seen.image.width // seen.depth.width
    fx, fy, cx, cy = (value / ratio for value in pinhole(seen.camera))
    return back_projected(metres(seen.depth), (fx, fy, cx, cy)), ratio


@ENCODINGS
@pytest.mark.parametrize('divisor', [1, 2, 4])
def test_rtabmap_places_the_same_points(
        outputs_of: Callable[..., Seen], encoding: str, divisor: int) -> None:
    """It takes each depth for that of the first colour pixel of its block, not of the middle."""
    seen = outputs_of(scene(wall()), depth_encoding=encoding, output_size='divisor',
                      output_divisor=divisor)
    points, ratio = rtabmap_cloud(seen)
    assert ratio == divisor
    off_px = (points - own_points(seen))[..., :2] / points[..., 2:] * FOCAL
    assert np.isfinite(off_px).all()
    assert_allclose(off_px, (1 - divisor) / 2, atol=0.05)


def test_rtabmap_cannot_use_the_size_of_the_network(outputs_of: Callable[..., Seen]) -> None:
    """154x112 does not divide 160x120."""
    with pytest.raises(AssertionError):
        rtabmap_cloud(outputs_of(scene(wall()), output_size='native'))


def observation(cloud: PointCloud2, camera_height_m: float, lowest_m: float,
                highest_m: float) -> np.ndarray:
    """
    Return the points [N, 3] that a costmap keeps: x forward, y left, z up from the floor.

    nav2_costmap_2d: observation_buffer.cpp transforms x, y and z from the frame of the cloud into
    the map and keeps points between min_obstacle_height and max_obstacle_height.
    """
    assert cloud.header.frame_id == 'camera_optical'
    x, y, z = fields(cloud, 'x', 'y', 'z')
    points = np.stack([z, -x, camera_height_m - y], axis=-1)
    return points[(points[:, 2] >= lowest_m) & (points[:, 2] <= highest_m)]


@pytest.mark.parametrize('points_color', [True, False])
@pytest.mark.parametrize('voxel_m', [0.0, 0.1])
def test_a_costmap_sees_the_wall_where_it_stands(
        outputs_of: Callable[..., Seen], points_color: bool, voxel_m: float) -> None:
    """The floor, the ceiling and what is at infinity are no obstacles."""
    depth_m = wall().copy()
    depth_m[:10] = np.inf
    seen = outputs_of(scene(depth_m), points_color=points_color, points_voxel=voxel_m)
    kept = observation(seen.cloud, camera_height_m=0.5, lowest_m=0.1, highest_m=1.3)
    assert np.isfinite(kept).all()
    assert_allclose(kept[:, 0], 2.0, rtol=0.01)
    assert kept[:, 1].min() == pytest.approx(-79.5 / FOCAL * 2, abs=0.06)
    assert kept[:, 1].max() == pytest.approx(79.5 / FOCAL * 2, abs=0.06)
    columns = len(np.unique(np.round(kept[:, 1], 2 if voxel_m == 0 else 1)))
    assert columns >= (150 if voxel_m == 0 else 30)
    assert not len(observation(seen.cloud, 0.5, 0.01, 0.0)), 'max_obstacle_height is 0 by default'


def test_a_costmap_clears_along_points_beyond_its_range(outputs_of: Callable[..., Seen]) -> None:
    """obstacle_layer.cpp marks up to obstacle_max_range, here 3.5 m, and traces rays beyond it."""
    depth_m = np.full(HW, np.inf)
    depth_m[:, :80] = 2.0
    open_space = outputs_of(scene(depth_m), points_max=3.0, points_clearing=4.0)
    kept = observation(open_space.cloud, 0.5, -10.0, 10.0)
    distance_m = np.hypot(kept[:, 0], kept[:, 1])
    assert len(kept) == HW[0] * HW[1]
    obstacles = kept[distance_m < 3.5]
    assert_allclose(obstacles[:, 0], 2.0, rtol=0.05)
    assert (obstacles[:, 1] > -0.1).all(), 'the open half is cleared, not marked'
    assert (distance_m[kept[:, 1] < -0.1] >= 3.9).all()


def test_a_sensor_data_subscriber_hears_the_cloud(make_robot: Callable[..., Robot]) -> None:
    """The obstacle layer subscribes with SensorDataQoS: best effort."""
    robot = make_robot(relative_scale=SCALE)
    robot.bring_up()
    clouds: list[PointCloud2] = []
    robot.node.create_subscription(PointCloud2, POINTS, clouds.append, qos_profile_sensor_data)
    assert robot.until(lambda: robot.stream().has_consumers)
    robot.show_camera(camera_info(HW[1], HW[0], FOCAL))
    for _ in range(5):
        robot.show(scene(wall()))
        if robot.until(lambda: clouds, 2.0):
            break
    assert clouds


@SIZES
@ENCODINGS
@pytest.mark.parametrize('slant', [0.0, 0.5])
def test_a_laser_scan_of_a_wall_is_that_of_the_wall(
        outputs_of: Callable[..., Seen], size: dict[str, Any], encoding: str,
        slant: float) -> None:
    """A wall's range at an angle a is distance / (cos a - slant * sin a)."""
    seen = outputs_of(scene(wall(2.0, slant)), depth_encoding=encoding, **size)
    angles, ranges, step = laser_scan(seen)
    hit = np.isfinite(ranges)
    assert hit.mean() > 0.75
    ends = [2.0 / (np.cos(angle) - slant * np.sin(angle))
            for angle in (angles[hit], angles[hit] + step)]
    assert (ranges[hit] >= np.minimum(*ends) * 0.99).all()
    assert (ranges[hit] <= np.maximum(*ends) * 1.01).all()


def test_a_laser_scan_of_open_space_has_no_range(outputs_of: Callable[..., Seen]) -> None:
    """Neither a wall at zero nor one at the limit."""
    depth_m = wall().copy()
    depth_m[:, 80:] = np.inf
    _, ranges, _ = laser_scan(outputs_of(scene(depth_m)))
    assert np.isnan(ranges[:70]).all() and np.isfinite(ranges[90:]).any()


def rviz_points(seen: Seen) -> np.ndarray:
    """
    Return what DepthCloud of RViz draws [N, 3].

    rviz_common: depth_cloud_mld.cpp. The size has to be that of camera_info after region of
    interest and binning, colour of the same size and 8 bit; P counts.
    """
    info, depth = seen.info, seen.depth
    assert ((info.roi.width or info.width) // max(1, info.binning_x),
            (info.roi.height or info.height) // max(1, info.binning_y)) == (
                depth.width, depth.height)
    assert (seen.color.width, seen.color.height) == (depth.width, depth.height)
    assert 'bgr' in seen.color.encoding and seen.color.encoding.endswith('8')
    points = back_projected(metres(depth), pinhole(info))
    return points[np.isfinite(points).all(axis=-1)]


@SIZES
@ENCODINGS
@pytest.mark.parametrize('info', [camera_info(HW[1], HW[0], FOCAL), cut_camera()],
                         ids=['whole', 'cut'])
def test_rviz_draws_the_same_cloud(outputs_of: Callable[..., Seen], size: dict[str, Any],
                                   encoding: str, info: CameraInfo) -> None:
    """Also where the images are a binned part of what the camera sees."""
    depth_m = wall(2.0, slant=0.4).copy()
    depth_m[:20] = np.inf
    seen = outputs_of(scene(depth_m), info, depth_encoding=encoding, **size)
    own = own_points(seen).reshape(-1, 3)
    assert_allclose(rviz_points(seen), own[np.isfinite(own).all(axis=1)], atol=0.0006)


def through_compressed_depth(message: Image, depth_max: float = 10.0,
                             quantization: float = 100.0) -> np.ndarray:
    """
    Return what arrives [H, W] in metres, before PNG, which loses nothing.

    compressed_depth_image_transport 3.2: codec.cpp. Metres become 16 bits of inverse depth with
    0 for invalid; millimetres stay, with 0 beyond depth_max.
    """
    if message.encoding == '16UC1':
        found = metres(message)
        return np.where(found > depth_max, np.nan, found)
    depth_m = metres(message).astype(np.float64)
    a = quantization * (quantization + 1)
    b = 1 - a / depth_max
    with np.errstate(invalid='ignore'):
        kept = depth_m < depth_max
    code = np.floor(a / depth_m[kept] + b)
    assert ((code > 0) & (code < 2 ** 16)).all(), 'the code does not fit 16 bits'
    arrived = np.full(depth_m.shape, np.nan)
    arrived[kept] = a / (code - b)
    return arrived


def steps(*depth_m: float) -> np.ndarray:
    """Return a depth map of equally wide columns."""
    return np.broadcast_to(np.repeat(depth_m, HW[1] // len(depth_m)), HW)


@ENCODINGS
def test_compressed_depth_keeps_what_is_nearer_than_ten_metres(
        outputs_of: Callable[..., Seen], encoding: str) -> None:
    """By default; the rest arrives as invalid, and so does what is invalid."""
    seen = outputs_of(scene(steps(0.6, 2.0, 5.0, 15.0, np.inf)), depth_encoding=encoding)
    sent, arrived = metres(seen.depth), through_compressed_depth(seen.depth)
    near = sent < 9.9
    assert_allclose(arrived[near], sent[near], rtol=0.011)
    assert np.isfinite(sent[:, 112]).all() and np.isnan(arrived[:, 112]).all()
    assert np.isnan(arrived[:, 145:]).all()
    assert np.isfinite(through_compressed_depth(seen.depth, depth_max=20.0)[:, 112]).all()


def test_compressed_depth_wraps_around_below_15_cm_unless_depth_min_is_set(
        outputs_of: Callable[..., Seen]) -> None:
    """10100 / z - 1009 reaches 65536 at 0.152 m: metres need depth_min, millimetres do not."""
    picture = scene(steps(0.1, 2.0), scale=2.0)
    with pytest.raises(AssertionError, match='16 bits'):
        through_compressed_depth(outputs_of(picture, relative_scale=2.0).depth)
    cut = outputs_of(picture, relative_scale=2.0, depth_min=0.16).depth
    assert np.isnan(through_compressed_depth(cut)[:, :70]).all()
    assert_allclose(through_compressed_depth(cut)[:, 90:], 2.0, rtol=0.02)
    mm = outputs_of(picture, relative_scale=2.0, depth_min=0.0, depth_encoding='16UC1').depth
    assert_allclose(through_compressed_depth(mm)[:, :70], 0.1, rtol=0.02)


@ENCODINGS
def test_orb_slam_reads_the_depth_at_its_keypoints(
        outputs_of: Callable[..., Seen], encoding: str) -> None:
    """
    ORB-SLAM3: Tracking.cc divides by DepthMapFactor, Frame.cc reads at the keypoint if > 0.

    The factor is 1 for 32FC1 and 1000 for 16UC1. Depth has the size of the colour image.
    """
    depth_m = wall(2.0, slant=0.4).copy()
    depth_m[:20] = np.inf
    seen = outputs_of(scene(depth_m), depth_encoding=encoding)
    assert (seen.depth.height, seen.depth.width) == (seen.image.height, seen.image.width)
    kind, factor = {'32FC1': (np.float32, 1.0), '16UC1': (np.uint16, 1000.0)}[encoding]
    raw = np.frombuffer(seen.depth.data, kind).reshape(HW) / np.float32(factor)
    fx, fy, cx, cy = FOCAL, FOCAL, 79.5, 59.5
    for column, row in ((10.6, 40.2), (80.0, 60.0), (150.9, 110.7)):
        d = raw[int(row), int(column)]
        assert d > 0
        point = np.array([(column - cx) * d / fx, (row - cy) * d / fy, d])
        assert_allclose(point, own_points(seen)[int(row), int(column)], atol=0.04)
    assert not (raw[5] > 0).any()
