"""Rays and projection: pinhole, distortion and its inverse, resized maps, invalid cameras."""

from dataclasses import replace

import cv2
from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.geometry import (
    bends_rays, Distortion, Intrinsics, network_intrinsics, pixel_rays, project, RayCache,
    undistorted_rays)
from depth_anything_ros.vision.transforms import OutputGrid
import numpy as np
from numpy.testing import assert_allclose
import pytest

CAMERA = Intrinsics(fx=100.0, fy=50.0, cx=31.5, cy=23.5, size_hw=(48, 64))
LENSES = [
    Distortion('plumb_bob', (-0.3, 0.1, 0.001, -0.0005, 0.0)),
    Distortion('plumb_bob', (0.1, -0.05, 0.0, 0.002)),
    Distortion('rational_polynomial', (0.5, -2.5, 6e-4, -2e-4, 1.5, 0.4, -2.3, 1.4)),
    Distortion('equidistant', (-0.01, 0.03, -0.02, 0.004)),
    # An Orbbec camera, thin prism coefficients, and a sensor that is tilted by 2 and 3 degrees.
    Distortion('plumb_bob', (0.08, -0.11, 1e-4, -3e-4, 0.045, 0.01, -0.02, 0.03)),
    Distortion('rational_polynomial', (-0.2, 0.05, 1e-3, -5e-4, 0.01)),
    Distortion('rational_polynomial', (0.1, -0.2, 1e-3, 2e-3, 0.05, 0.1, -0.1, 0.02,
                                       0.03, -0.01, -0.02, 0.015)),
    Distortion('rational_polynomial', (-0.1, 0.03, 1e-3, 2e-3, 0.0, 0.0, 0.0, 0.0,
                                       0.01, -0.005, -0.01, 0.005, 0.035, -0.052)),
    Distortion('plumb_bob', (-0.1, 0.03, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                             0.0, 0.0, 0.0, 0.0, -0.1, 0.15))]
EQUIDISTANT = LENSES[3]


def lens_camera(lens: Distortion | None) -> Intrinsics:
    """Return a camera of 75 degrees."""
    return Intrinsics(50.0, 52.0, 38.0, 29.0, (60, 77), lens)


def points_of(camera: Intrinsics, stride: int = 1) -> np.ndarray:
    """Return points at 3 m on the rays of a camera, [H, W, 3]."""
    rays = pixel_rays(camera, stride)
    x, y = np.broadcast_arrays(rays.x_over_z, rays.y_over_z)
    return np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64) * 3.0


def test_without_distortion_the_rays_are_one_row_and_one_column() -> None:
    rays = pixel_rays(CAMERA, 3)
    assert rays.x_over_z.shape == (1, 22) and rays.y_over_z.shape == (16, 1)
    assert rays.x_over_z[0, 2] == pytest.approx((6 - 31.5) / 100)
    assert rays.y_over_z[2, 0] == pytest.approx((6 - 23.5) / 50)


@pytest.mark.parametrize('lens', [None, *LENSES])
def test_a_point_on_the_ray_of_a_pixel_is_seen_at_that_pixel(lens: Distortion | None) -> None:
    camera = lens_camera(lens)
    seen = project(points_of(camera).reshape(-1, 3), camera).reshape(60, 77, 2)
    rows, columns = np.mgrid[0:60, 0:77]
    np.testing.assert_allclose(seen[..., 0], columns, atol=0.01)
    np.testing.assert_allclose(seen[..., 1], rows, atol=0.01)


def test_an_equidistant_lens_puts_equal_angles_at_equal_distances() -> None:
    camera = lens_camera(Distortion('equidistant', (0.0, 0.0, 0.0, 0.0)))
    angles = np.radians([0.0, 10.0, 20.0, 30.0, 60.0])
    points = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=1)
    np.testing.assert_allclose(project(points, camera)[:, 0], 38.0 + 50.0 * angles, atol=1e-9)


def test_barrel_distortion_bends_rays_outwards_by_the_formula() -> None:
    camera = lens_camera(Distortion('plumb_bob', (-0.2, 0.0, 0.0, 0.0, 0.0)))
    x = 0.4
    seen = project(np.array([[x, 0.0, 1.0]]), camera)
    assert seen[0, 0] == pytest.approx(38.0 + 50.0 * x * (1 - 0.2 * x ** 2))


@pytest.mark.parametrize('lens', LENSES)
def test_a_stride_keeps_every_nth_ray_of_a_lens(lens: Distortion) -> None:
    camera = lens_camera(lens)
    np.testing.assert_allclose(points_of(camera, 4), points_of(camera)[::4, ::4], atol=1e-5)


@pytest.mark.parametrize('lens', [None, *LENSES])
def test_the_ray_of_any_point_of_the_image_is_seen_there(lens: Distortion | None) -> None:
    camera = lens_camera(lens)
    pixels = np.array([[38.25, 29.5], [20.1, 12.7], [60.9, 40.3]])
    rays = undistorted_rays(pixels, camera)
    assert_allclose(project(np.column_stack([rays, np.ones(3)]), camera), pixels, atol=1e-3)
    assert undistorted_rays(np.empty((0, 2)), camera).shape == (0, 2)


def test_a_point_that_no_direction_reaches_has_no_ray() -> None:
    camera = lens_camera(Distortion('plumb_bob', (-0.5, 0.0, 0.0, 0.0, 0.0)))
    rays = undistorted_rays(np.array([[0.0, 0.0], [38.0, 29.0]]), camera)
    assert np.isnan(rays[0]).all()
    assert_allclose(rays[1], 0, atol=1e-6)


def test_pixels_that_no_direction_reaches_have_no_ray() -> None:
    camera = lens_camera(Distortion('plumb_bob', (-0.5, 0.0, 0.0, 0.0, 0.0)))
    rays = pixel_rays(camera, 1)
    assert np.isnan(rays.x_over_z[0, 0]) and np.isnan(rays.y_over_z[0, 0])
    assert np.isfinite(rays.x_over_z[29, 38])


def test_a_wide_fisheye_has_rays_up_to_its_side() -> None:
    """Those that are farther from the centre than pi / 2 focal lengths too."""
    angles = np.radians(np.linspace(0, 89, 60))
    k = (0.1, -0.05, 0.01, 0.0)
    bent = angles * (1 + k[0] * angles ** 2 + k[1] * angles ** 4 + k[2] * angles ** 6)
    assert bent[-1] > np.pi / 2
    camera = Intrinsics(300.0, 300.0, 640.0, 400.0, (800, 1280), Distortion('equidistant', k))
    rays = undistorted_rays(np.stack([640 + 300 * bent, np.full(60, 400.0)], axis=1), camera)
    assert_allclose(np.arctan(rays[:, 0]), angles, atol=1e-6)
    assert_allclose(rays[:, 1], 0, atol=1e-9)


def test_a_point_far_out_of_the_view_is_not_folded_back_into_it() -> None:
    lens = Distortion('plumb_bob', (-0.5, 0.0, 0.0, 0.0, 0.0))
    assert np.isnan(project(np.array([[1.4, 0.0, 1.0]]), lens_camera(lens))).all()
    assert np.isfinite(project(np.array([[0.5, 0.0, 1.0]]), lens_camera(lens))).all()
    fisheye = Distortion('equidistant', (0.0, 0.0, -0.5, 0.0))
    assert np.isnan(project(np.array([[3.0, 0.0, 1.0]]), lens_camera(fisheye))).all()
    assert np.isfinite(project(np.array([[0.9, 0.0, 1.0]]), lens_camera(fisheye))).all()


@pytest.mark.parametrize('lens', [None, LENSES[0], EQUIDISTANT])
def test_what_is_not_in_front_of_the_camera_has_no_pixel(lens: Distortion | None) -> None:
    points = np.array([[0.1, 0.1, -1.0], [0.1, 0.1, 0.0], [np.nan, 0.0, 1.0], [0.0, 0.0, 2.0]])
    seen = project(points, lens_camera(lens))
    assert np.isnan(seen[:3]).all()
    np.testing.assert_allclose(seen[3], (38.0, 29.0))


def test_no_points_have_no_pixels() -> None:
    assert project(np.empty((0, 3)), lens_camera(LENSES[0])).shape == (0, 2)


def test_aligned_corners_put_the_corners_of_both_grids_on_one_ray() -> None:
    other = network_intrinsics(CAMERA, (21, 127))
    assert other.size_hw == (21, 127)
    for rays, same in ((pixel_rays(CAMERA, 1), pixel_rays(other, 1)),):
        np.testing.assert_allclose(rays.x_over_z[0, [0, -1]], same.x_over_z[0, [0, -1]], rtol=1e-6)
        np.testing.assert_allclose(rays.y_over_z[[0, -1], 0], same.y_over_z[[0, -1], 0], rtol=1e-6)


def test_another_grid_sees_a_point_where_its_scale_and_offset_say() -> None:
    camera = lens_camera(LENSES[0])
    other = camera.on_grid(OutputGrid((30, 40), (0.5, 0.25), (3.0, -1.0)))
    point = np.array([[0.2, -0.3, 1.5]])
    expected = project(point, camera) * (0.5, 0.25) + (3.0, -1.0)
    np.testing.assert_allclose(project(point, other), expected)
    assert other.distortion == camera.distortion


@pytest.mark.parametrize('lens', [lens for lens in LENSES if lens.model != 'equidistant'])
def test_projection_and_rays_of_every_polynomial_lens_are_those_of_opencv(
        lens: Distortion) -> None:
    camera, coefficients = lens_camera(lens), np.array(lens.coefficients)
    k = np.array([[50.0, 0.0, 38.0], [0.0, 52.0, 29.0], [0.0, 0.0, 1.0]])
    points = np.random.default_rng(5).uniform((-0.7, -0.5, 1.0), (0.7, 0.5, 1.0), (200, 3))
    expected, _ = cv2.projectPoints(points[:, None], np.zeros(3), np.zeros(3), k, coefficients)
    assert_allclose(project(points, camera), expected[:, 0], atol=1e-9)
    # OpenCV 4 stops after five iterations, which is not exact near the corners.
    rows, columns = np.mgrid[9:50, 13:64]
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    rays = cv2.undistortPoints(pixels, k, coefficients).reshape(*rows.shape, 2)
    assert_allclose(points_of(camera)[rows, columns, :2] / 3, rays, atol=1e-3)


@pytest.mark.parametrize('moved', [(8, 0.2), (10, 0.2), (12, 0.3), (13, 0.3)])
def test_thin_prism_and_tilt_move_the_pixels_of_a_point(moved: tuple[int, float]) -> None:
    index, value = moved
    coefficients = np.zeros(14)
    coefficients[index] = value
    point = np.array([[0.4, 0.3, 1.0]])
    lens = Distortion('rational_polynomial', tuple(coefficients))
    assert np.abs(project(point, lens_camera(lens)) - project(point, lens_camera(None))).max() > 1


def test_a_thin_prism_does_not_hide_the_view_of_a_lens() -> None:
    """The radius where a lens folds is that of its radial coefficients."""
    lens = Distortion('rational_polynomial', (0.0,) * 8 + (0.0, -0.05, 0.0, 0.0))
    assert np.isfinite(points_of(lens_camera(lens))).all()


@pytest.mark.parametrize(('model', 'coefficients', 'same'), [
    ('plumb_bob', (-0.3, 0.1, 0.0, 0.0, 0.02, 0.0), ('plumb_bob', (-0.3, 0.1, 0.0, 0.0, 0.02))),
    ('plumb_bob', (-0.3,) + (0.0,) * 15, ('plumb_bob', (-0.3,) + (0.0,) * 13)),
    ('', (-0.3, 0.1, 0.0, 0.0, 0.02), ('plumb_bob', (-0.3, 0.1, 0.0, 0.0, 0.02))),
    ('equidistant', (-0.01, 0.03, -0.02, 0.004, 0.0), (EQUIDISTANT.model,
                                                       EQUIDISTANT.coefficients)),
    ('fisheye', (-0.01, 0.03, -0.02, 0.004), (EQUIDISTANT.model, EQUIDISTANT.coefficients)),
    ('fisheye', (0.0,), ('equidistant', (0.0,) * 4)), ('', (), ('plumb_bob', (0.0,) * 5))])
def test_other_names_and_zeros_at_the_end_are_the_lens_that_they_mean(
        model: str, coefficients: tuple[float, ...], same: tuple[str, tuple[float, ...]]) -> None:
    assert Distortion(model, coefficients) == Distortion(*same)


@pytest.mark.parametrize(('model', 'coefficients', 'bends'), [
    ('plumb_bob', (0.0,) * 5, False), ('', (), False), ('plumb_bob', (0.0, 0.1, 0.0, 0.0), True),
    ('rational_polynomial', (0.0,) * 13 + (0.1,), True), ('equidistant', (0.0,) * 4, True),
    ('fisheye', (), True)])
def test_a_lens_without_coefficients_is_a_pinhole_unless_it_is_a_fisheye(
        model: str, coefficients: tuple[float, ...], bends: bool) -> None:
    assert bends_rays(model, coefficients) is bends


@pytest.mark.parametrize(('model', 'coefficients', 'sentence'), [
    ('fov', (0.9,), "'fov' is unknown; calibrate with one of plumb_bob"),
    ('plumb_bob', (0.1, 0.2), 'has 2 coefficients, it takes 4, 5, 8, 12 or 14; correct D'),
    ('rational_polynomial', (0.1,) * 6, 'has 6 coefficients, it takes 4, 5, 8, 12 or 14; correct'),
    ('plumb_bob', (0.1,) * 15, 'has 15 coefficients'),
    ('equidistant', (0.1,) * 5, 'has 5 coefficients, it takes 4; correct D'),
    ('equidistant', (0.1, np.nan, 0.0, 0.0), 'not finite; correct D')])
def test_a_distortion_that_cannot_be_used_is_refused_with_what_to_do(
        model: str, coefficients: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(CameraInfoError, match=sentence):
        Distortion(model, coefficients)


@pytest.mark.parametrize(('fx', 'fy', 'cx'), [
    (0.0, 0.0, 0.0), (100.0, 0.0, 3.0), (-1.0, 1.0, 3.0), (np.nan, 1.0, 3.0), (1.0, 1.0, np.inf)])
def test_an_uncalibrated_camera_is_refused_with_what_to_do(
        fx: float, fy: float, cx: float) -> None:
    with pytest.raises(CameraInfoError, match='not calibrated .* calibrate it'):
        Intrinsics(fx=fx, fy=fy, cx=cx, cy=0.0, size_hw=(48, 64))


def test_rays_are_remembered_until_the_camera_or_the_stride_changes() -> None:
    cache = RayCache()
    camera = Intrinsics(100.0, 100.0, 79.5, 59.5, (120, 160))
    first = cache.get(camera, 2)
    assert cache.get(replace(camera), 2) is first
    assert cache.get(camera, 4).x_over_z.shape == (1, 40)
    nearer = cache.get(replace(camera, fx=50.0), 4)
    assert_allclose(nearer.x_over_z, 2 * first.x_over_z[:, ::2], rtol=1e-6)
