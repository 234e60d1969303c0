"""Samples of reference sensors: the model and the sensor at the same points."""

from depth_anything_ros.alignment.references import (
    check_view, measured_depth, samples_from_depth, samples_from_measured, samples_from_points,
    samples_from_range, seen_points)
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import Intrinsics, network_intrinsics, pixel_rays
import numpy as np
from numpy.testing import assert_allclose
import pytest

LIMITS = DepthRange(0.1, 20.0)
CAMERA = Intrinsics(100.0, 100.0, 63.5, 47.5, (96, 128))


def scene() -> np.ndarray:
    """Return depth in metres [96, 128]: a slope from 2 to 8 m with a box at 1 m before it."""
    depth_m = np.repeat(np.linspace(8, 2, 96, dtype=np.float32)[:, None], 128, axis=1)
    depth_m[40:70, 30:60] = 1.0
    return depth_m


def points_of(depth_m: np.ndarray) -> np.ndarray:
    """Return the points [N, 3] that CAMERA sees."""
    rays = pixel_rays(CAMERA, 1)
    return np.stack([depth_m * rays.x_over_z, depth_m * rays.y_over_z, depth_m],
                    axis=-1).reshape(-1, 3).astype(np.float64)


def test_dense_depth_of_the_same_size_is_compared_pixel_by_pixel() -> None:
    found = samples_from_depth(1 / scene(), scene(), LIMITS, most=10 ** 6)
    assert found.values.size == 96 * 128
    assert found.values.dtype == found.inverse_z.dtype == np.float64
    assert_allclose(found.values, found.inverse_z, rtol=1e-6)


@pytest.mark.parametrize('reference_hw', [
    (480, 640), (240, 320), (60, 80), (6, 8), (5, 8), (424, 566)])
def test_a_depth_image_of_the_shape_of_the_image_may_have_its_view(
        reference_hw: tuple[int, int]) -> None:
    check_view(reference_hw, (960, 1280))


@pytest.mark.parametrize('reference_hw', [
    (480, 848), (720, 1280), (640, 480), (400, 640), (1, 1000)])
def test_a_depth_image_of_another_shape_is_not_registered(reference_hw: tuple[int, int]) -> None:
    with pytest.raises(AlignmentError, match='x960, so their views differ; register'):
        check_view(reference_hw, (960, 1280))


def test_measurements_alone_give_the_samples_of_the_whole_depth_image() -> None:
    measured = measured_depth(scene(), LIMITS, most=300)
    assert measured.pixels.size == measured.depth_m.size == 300
    inverse_depth = 1 / np.repeat(scene(), 2, axis=1)
    expected = samples_from_depth(inverse_depth, scene(), LIMITS, most=300)
    found = samples_from_measured(inverse_depth, measured)
    assert_allclose(found.values, expected.values)
    assert_allclose(found.inverse_z, expected.inverse_z)


@pytest.mark.filterwarnings('error')
def test_only_valid_depth_within_the_limits_counts() -> None:
    reference_m = np.zeros((96, 128), np.float32)
    reference_m[5, :9] = (np.nan, np.inf, -np.inf, -1.0, 0.0, 0.09, 20.5, 0.5, 20.0)
    found = samples_from_depth(np.ones((96, 128), np.float32), reference_m, LIMITS)
    assert_allclose(found.inverse_z, (2.0, 0.05))


def test_pixels_where_the_model_says_nothing_do_not_count() -> None:
    inverse_depth = 1 / scene()
    inverse_depth[:48] = np.nan
    found = samples_from_depth(inverse_depth, scene(), LIMITS, most=10 ** 6)
    assert found.values.size == 48 * 128 and np.isfinite(found.values).all()


def test_a_large_reference_is_thinned_out_evenly() -> None:
    coordinates = np.arange(96 * 128, dtype=np.float32).reshape(96, 128)
    found = samples_from_depth(coordinates, np.ones((96, 128), np.float32), LIMITS, most=500)
    assert found.values.size == 500
    steps = np.diff(found.values)
    assert steps.min() >= 24 and steps.max() <= 25


@pytest.mark.parametrize('size_hw', [(8, 8), (48, 64), (100, 131), (480, 640)])
def test_a_reference_of_another_size_covers_the_same_view(size_hw: tuple[int, int]) -> None:
    rows, columns = ((np.arange(count) + 0.5) / count for count in size_hw)
    reference_m = (1 + rows[:, None] + 3 * columns).astype(np.float32)
    rows, columns = ((np.arange(count) + 0.5) / count for count in (96, 128))
    inverse_depth = (1 + rows[:, None] + 3 * columns).astype(np.float32)
    found = samples_from_depth(inverse_depth, reference_m, LIMITS)
    assert_allclose(found.values, 1 / found.inverse_z, rtol=0, atol=0.5 / 96 + 1.5 / 128 + 1e-5)


def test_points_are_compared_where_the_camera_sees_them() -> None:
    found = samples_from_points(1 / scene(), points_of(scene()), CAMERA, LIMITS)
    assert found.values.size == 2000
    assert_allclose(found.values, found.inverse_z, rtol=1e-6)


def test_points_fall_onto_a_map_of_the_size_of_the_network() -> None:
    slope_m = np.repeat(np.linspace(8, 2, 96)[:, None], 128, axis=1)
    larger = np.repeat(np.linspace(8, 2, 126)[:, None], 168, axis=1)
    found = samples_from_points((1 / larger).astype(np.float32), points_of(slope_m),
                                network_intrinsics(CAMERA, (126, 168)), LIMITS)
    assert_allclose(1 / found.values, 1 / found.inverse_z, atol=0.5 * 6 / 125 + 1e-5)


@pytest.mark.filterwarnings('error')
def test_points_that_cannot_be_seen_are_left_out() -> None:
    points = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, -2.0], [0.0, 0.0, 0.0], [9.0, 0.0, 2.0],
                       [0.0, -9.0, 2.0], [6.0, 0.0, 30.0], [0.02, 0.0, 0.05],
                       [np.nan, 0.0, np.nan]])
    found = samples_from_points(np.ones((96, 128), np.float32), points, CAMERA, LIMITS)
    assert_allclose(found.inverse_z, [0.5])


def test_points_behind_what_the_camera_sees_are_left_out() -> None:
    behind_m = np.repeat(np.linspace(8, 2, 96)[:, None], 128, axis=1)
    in_front = points_of(scene()).reshape(96, 128, 3)[::4, ::4].reshape(-1, 3)
    both = np.concatenate([in_front, points_of(behind_m)])
    found = samples_from_points(1 / scene(), both, CAMERA, LIMITS)
    assert found.values.size > 1500
    assert np.mean(np.abs(found.values / found.inverse_z - 1) > 0.2) < 0.01


def test_a_point_hides_what_is_close_behind_it_on_every_side() -> None:
    """Within the cells of 8/3 pixels around that of the near point."""
    near = (64, 48)
    hidden = [(64 + x, 48 + y) for x in (-1, 0, 3) for y in (-1, 0, 3)]
    seen = [(57, 48), (72, 48), (64, 41), (64, 56)]
    depth_m = np.array([1.0] + [4.0] * 13)
    pixels = np.array([near, *hidden, *seen])
    points = np.column_stack([(pixels - (63.5, 47.5)) / 100 * depth_m[:, None], depth_m])
    rows, columns, _ = seen_points(points, CAMERA, (96, 128), LIMITS)
    assert list(zip(columns, rows)) == [near, *seen]


def test_a_slope_does_not_hide_itself() -> None:
    slope_m = np.repeat(np.linspace(8, 2, 96)[:, None], 128, axis=1)
    found = samples_from_points((1 / slope_m).astype(np.float32), points_of(slope_m), CAMERA,
                                LIMITS, most=10 ** 6)
    assert found.values.size > 0.95 * slope_m.size


def test_a_cloud_of_any_size_gives_no_more_samples_than_the_limit() -> None:
    cloud = np.tile(points_of(scene()), (5, 1))
    assert samples_from_points(1 / scene(), cloud, CAMERA, LIMITS, most=300).values.size == 300


def test_a_range_is_compared_with_the_nearest_thing_in_the_cone() -> None:
    on_box = np.array([(44.5 - 63.5) / 100, (54.5 - 47.5) / 100, 1.0])
    found = samples_from_range(1 / scene(), on_box, 0.3, CAMERA)
    assert_allclose(found.inverse_z, [1.0])
    assert_allclose(found.values, [1.0], rtol=1e-6)


def test_a_few_wild_pixels_are_not_the_nearest_thing() -> None:
    inverse_depth = np.full((96, 128), 0.5, np.float32)
    inverse_depth[47, 60:64] = 50.0
    inverse_depth[48, 60:64] = np.nan
    found = samples_from_range(inverse_depth, np.array([0.0, 0.0, 2.0]), 0.3, CAMERA)
    assert_allclose(found.values, [0.5])


def test_what_stands_beside_the_cone_does_not_count() -> None:
    inverse_depth = np.full((96, 128), 0.5, np.float32)
    for rows in (np.s_[:38], np.s_[58:]):
        inverse_depth[rows, :54] = inverse_depth[rows, 74:] = 2.0
    found = samples_from_range(inverse_depth, np.array([0.0, 0.0, 2.0]), 0.28, CAMERA)
    assert_allclose(found.values, [0.5])


def test_a_narrow_beam_still_meets_a_pixel() -> None:
    found = samples_from_range(1 / scene(), np.array([0.0, -0.2, 6.0]), 0.0, CAMERA)
    assert_allclose(1 / found.values, [8 - 6 * 44 / 95], atol=0.15)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('centre', [(0.0, 0.0, -1.0), (9.0, 0.0, 1.0), (0.0, -9.0, 1.0),
                                    (np.nan, 0.0, np.nan), (0.0, 0.0, np.inf)])
def test_a_range_beside_the_view_gives_no_sample(centre: tuple[float, ...]) -> None:
    found = samples_from_range(1 / scene(), np.array(centre), 0.1, CAMERA)
    assert found.values.size == found.inverse_z.size == 0


@pytest.mark.filterwarnings('error')
def test_nothing_to_compare_gives_no_samples() -> None:
    nothing = np.full((96, 128), np.nan, np.float32)
    assert samples_from_depth(nothing, scene(), LIMITS).values.size == 0
    assert samples_from_depth(1 / scene(), nothing, LIMITS).values.size == 0
    assert samples_from_points(1 / scene(), np.empty((0, 3)), CAMERA, LIMITS).values.size == 0
    assert samples_from_range(nothing, np.array([0, 0, 2.0]), 0.3, CAMERA).values.size == 0
