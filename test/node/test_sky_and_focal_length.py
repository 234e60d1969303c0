"""Sky in depth and points, and metres of a model that needs the focal length, over topics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.parameters import Settings
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from numpy.testing import assert_allclose
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import Image, PointCloud2

HW = (120, 160)
DEPTH, INVERSE, POINTS = (f'/depth_anything/{topic}' for topic in (
    'depth/image', 'inverse_depth/image', 'points'))
# Inverse depth of the tiny model is R / 255 + ...
RED = (0, 0, 128)


def picture() -> np.ndarray:
    """Return an image whose upper half has inverse depth 0, as sky has."""
    image = np.full((*HW, 3), RED, np.uint8)
    image[:60] = 0
    return image


def depth_of(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def z_of(message: PointCloud2) -> np.ndarray:
    values = np.frombuffer(message.data, np.float32)
    return values.reshape(message.height, message.width, message.point_step // 4)[..., 2]


@pytest.mark.parametrize(('sky_filter', 'depth_m', 'point_m'), [
    ('off', 10.0, 10.0), ('nan', np.nan, np.nan), ('far', np.nan, 25.0)])
def test_sky_is_a_wall_nothing_or_free_space(
        make_robot: Callable[..., Robot], sky_filter: str, depth_m: float,
        point_m: float) -> None:
    """With a shift of 0.1 the inverse depth 0 of sky would be a wall at 10 m."""
    robot = make_robot(relative_scale=1.0, relative_shift=0.1, points_stride=1,
                       points_clearing=25.0, sky_filter=sky_filter)
    robot.bring_up()
    depths, clouds = robot.listen(Image, DEPTH), robot.listen(PointCloud2, POINTS)
    robot.show_camera(camera_info(HW[1], HW[0]))
    robot.show(picture())
    assert robot.until(lambda: depths and clouds)
    depth, z = depth_of(depths[0]), z_of(clouds[0])
    assert_allclose(depth[:55], np.full((55, 160), depth_m), rtol=1e-4)
    assert_allclose(z[:55], np.full((55, 160), point_m), rtol=1e-4)
    for found in (depth, z):
        assert_allclose(found[65:], 1 / (128 / 255 + 0.1), rtol=1e-3)


def test_sky_is_removed_from_a_cloud_for_display_and_from_every_size(
        make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(sky_filter='nan', output_size='divisor', output_divisor=2, points_stride=1)
    robot.bring_up()
    clouds = robot.listen(PointCloud2, POINTS)
    robot.show_camera(camera_info(HW[1], HW[0]))
    robot.show(picture())
    assert robot.until(lambda: clouds)
    z = z_of(clouds[0])
    assert z.shape == (60, 80)
    assert np.isnan(z[:28]).all() and np.isfinite(z[32:]).all()


def test_free_space_needs_a_depth_of_its_points() -> None:
    with pytest.raises(SettingsError, match='points_clearing is 0.0; .* set for sky_filter far'):
        Settings(sky_filter='far')
    assert Settings(sky_filter='far', points_clearing=25.0).sky_filter == 'far'


@pytest.fixture
def focal_ir(make_ir: Callable[..., Path]) -> Path:
    """Return a model whose depth is f / 300 / output metres."""
    return make_ir(focal_px=300.0, has_shift=False)


def test_metres_need_the_focal_length_and_inverse_depth_does_not(
        make_robot: Callable[..., Robot], focal_ir: Path) -> None:
    robot = make_robot(model=str(focal_ir))
    robot.bring_up()
    depths, inverses = robot.listen(Image, DEPTH), robot.listen(Image, INVERSE)
    reports = robot.listen(DiagnosticArray, '/diagnostics')

    def problem() -> DiagnosticStatus | None:
        return next((status for report in reports[-3:] for status in report.status
                     if 'needs the focal length' in status.message), None)

    robot.show(np.full((*HW, 3), RED, np.uint8))
    assert robot.until(lambda: inverses and problem())
    status = problem()
    assert status is not None and status.level == DiagnosticStatus.WARN
    assert status.message.startswith('no metric depth: the model needs the focal length of the '
                                     'camera; no camera_info')
    assert not depths
    robot.show_camera(camera_info(HW[1], HW[0]))
    robot.show(np.full((*HW, 3), RED, np.uint8))
    assert robot.until(lambda: depths)
    focal_px = (100 * 154 / 160 + 100 * 112 / 120) / 2
    assert_allclose(depth_of(depths[-1]), focal_px / 300 / (128 / 255), rtol=1e-3)
    assert robot.until(lambda: reports and not problem())


@pytest.mark.parametrize(('parameters', 'scale'), [
    ({'relative_scale': 0.5}, 0.5),
    ({'input_size': 56}, 300 / ((56 * 100 / 120 + 70 * 100 / 160) / 2))])
def test_a_scale_of_the_user_wins_and_the_input_size_does_not_matter(
        make_robot: Callable[..., Robot], focal_ir: Path, parameters: dict[str, Any],
        scale: float) -> None:
    robot = make_robot(model=str(focal_ir), **parameters)
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show_camera(camera_info(HW[1], HW[0]))
    robot.show(np.full((*HW, 3), RED, np.uint8))
    assert robot.until(lambda: depths)
    assert_allclose(depth_of(depths[0]), 1 / (scale * 128 / 255), rtol=1e-3)
