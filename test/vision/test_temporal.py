"""Warping by true poses, the temporal alignment error, and one fit for a clip."""

from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.temporal import (
    alignment_error, ClipFit, frame_scale, warp_depth)
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

HW = (40, 60)
CAMERA = Intrinsics(50.0, 48.0, 29.0, 20.0, HW)
NAN = np.float32(np.nan)


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """Return the transform [4, 4] to a camera at this place, turned about its y axis."""
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    pose[:3, 3] = x, y, z
    return np.linalg.inv(pose)


def wall(depth_m: float) -> np.ndarray:
    """Return the depth of a wall across the view."""
    return np.full(HW, depth_m, np.float32)


def brute_force_warp(depth_m: np.ndarray, to_other: np.ndarray) -> np.ndarray:
    """Return the warped map by a loop over pixels; the nearest point on a pixel counts."""
    warped = np.full(HW, np.nan)
    for row, column in np.argwhere(np.isfinite(depth_m)):
        z = float(depth_m[row, column])
        point = to_other @ [(column - CAMERA.cx) / CAMERA.fx * z,
                            (row - CAMERA.cy) / CAMERA.fy * z, z, 1.0]
        if point[2] <= 0:
            continue
        u = round(point[0] / point[2] * CAMERA.fx + CAMERA.cx)
        v = round(point[1] / point[2] * CAMERA.fy + CAMERA.cy)
        if 0 <= u < HW[1] and 0 <= v < HW[0]:
            warped[v, u] = min(point[2], np.inf if np.isnan(warped[v, u]) else warped[v, u])
    return warped


def test_a_warped_map_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(0.5, 4, HW).astype(np.float32)
    depth_m[rng.random(HW) < 0.1] = NAN
    to_other = moved(0.31, -0.12, 0.7, 0.23)
    assert_allclose(warp_depth(depth_m, CAMERA, to_other), brute_force_warp(depth_m, to_other),
                    rtol=1e-5)


def test_a_wall_comes_nearer_by_the_way_of_the_camera() -> None:
    warped = warp_depth(wall(2.0), CAMERA, moved(z=0.5))
    assert np.isfinite(warped[1:-1, 1:-1]).mean() > 0.5
    assert_allclose(warped[np.isfinite(warped)], 1.5, rtol=1e-6)


def test_the_nearer_of_two_surfaces_hides_the_other() -> None:
    """The camera moves right by 10 pixels at 1 m and by 5 at 2 m."""
    depth_m = wall(2.0)
    depth_m[:, 30:40] = 1.0
    warped = warp_depth(depth_m, CAMERA, moved(x=0.2))
    assert_array_equal(np.flatnonzero(warped[5] == 1.0), np.arange(20, 30))


@pytest.mark.parametrize('to_second', [moved(z=0.5), moved(x=0.2), moved(), moved(z=-0.4)])
def test_exact_depth_of_a_wall_has_no_error(to_second: np.ndarray) -> None:
    second_m = wall(float(2.0 + to_second[2, 3]))
    assert alignment_error(wall(2.0), second_m, CAMERA, to_second) < 1e-6


def test_exact_depth_of_a_slanted_plane_has_the_error_of_rounding_to_pixels() -> None:
    """Half a pixel of a plane that recedes by 1 % of its depth per pixel."""
    normal, offset, to_second = np.array([0.45, 0.0, 1.0]), 3.0, moved(0.13, 0.0, 0.2, 0.05)
    rows, columns = np.mgrid[0:HW[0], 0:HW[1]]
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy,
                     np.ones(HW)], axis=-1)
    first_m = (offset / (rays @ normal)).astype(np.float32)
    turned = to_second[:3, :3] @ normal
    second_m = ((offset + turned @ to_second[:3, 3]) / (rays @ turned)).astype(np.float32)
    assert 1e-5 < alignment_error(first_m, second_m, CAMERA, to_second) < 0.005


def test_a_known_change_of_scale_is_a_known_error() -> None:
    """One way z' is z and the map 1.1 z, the other way the reverse."""
    error = alignment_error(wall(2.0), wall(2.2), CAMERA, moved(x=0.2))
    assert error == pytest.approx((0.1 / 1.1 + 0.1) / 2, rel=1e-5)


def test_views_without_overlap_have_no_error() -> None:
    assert np.isnan(alignment_error(wall(2.0), wall(2.0), CAMERA, moved(yaw=np.pi)))
    assert np.isnan(alignment_error(wall(2.0), np.full(HW, NAN), CAMERA, moved()))


def test_the_fit_of_a_clip_is_that_of_all_its_pixels_together() -> None:
    rng = np.random.default_rng(1)
    maps = rng.uniform(0.5, 3, (4, *HW)).astype(np.float32)
    depths = (1 / (0.3 * maps + 0.1 + rng.normal(0, 0.02, maps.shape))).astype(np.float32)
    depths[rng.random(maps.shape) < 0.2] = 0.0
    maps[2, 5] = np.nan
    fit = ClipFit()
    for inverse_depth, depth_m in zip(maps, depths):
        fit.add(inverse_depth, depth_m)
    valid = (depths > 0) & np.isfinite(maps)
    expected = np.polyfit(maps[valid].astype(float), 1 / depths[valid].astype(float), 1)
    assert fit.scale_shift() == pytest.approx(tuple(expected), rel=1e-6)


def test_a_flat_clip_fixes_no_scale() -> None:
    fit = ClipFit()
    with pytest.raises(ValueError, match='0 valid pixels'):
        fit.scale_shift()
    fit.add(wall(2.0), wall(1.0))
    with pytest.raises(ValueError, match='2400 valid pixels do not fix'):
        fit.scale_shift()


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('depth_m', [0.5, 2.0])
def test_the_scale_of_a_frame_is_the_median_ratio(depth_m: float) -> None:
    measured = wall(depth_m)
    measured[:3] = NAN
    predicted = measured * np.float32(1.5)
    predicted[10] = 50.0
    assert frame_scale(predicted, measured) == pytest.approx(1.5)
    assert np.isnan(frame_scale(predicted, np.full(HW, NAN)))
