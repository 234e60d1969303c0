"""Depth maps: conversions, correction of metric models, flying pixels, millimetres."""

from dataclasses import replace

import cv2
from depth_anything_ros.node.frame_outputs import metric_correction
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.depth import (
    correct_metric, display_scale_shift, inverse_from_metric, limit_range, metric_depth,
    metric_from_inverse, MetricCorrection, model_inverse_depth, outer_values,
    remove_flying_pixels, to_millimetres)
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

NAN, INF = np.nan, np.inf


def test_metric_depth_is_one_over_the_scaled_and_shifted_inverse_depth() -> None:
    inverse_depth = np.float32([[0.0, 1.0], [3.0, 7.0]])
    depth_m = metric_from_inverse(inverse_depth, scale=0.5, shift=0.25)
    assert depth_m.dtype == np.float32
    np.testing.assert_allclose(depth_m, [[4.0, 1 / 0.75], [1 / 1.75, 1 / 3.75]], rtol=1e-6)


def test_a_pixel_at_or_beyond_infinity_is_nan() -> None:
    depth_m = metric_from_inverse(np.float32([[2.0, 1.0, NAN, 3.0]]), scale=1.0, shift=-2.0)
    np.testing.assert_array_equal(depth_m, [[NAN, NAN, NAN, 1.0]])


def test_converting_leaves_the_input_unchanged() -> None:
    values = np.float32([[2.0, -1.0], [NAN, 0.5]])
    before = values.copy()
    metric_from_inverse(values, 2.0, -1.5)
    inverse_from_metric(values)
    limit_range(values, 1.0, 1.5)
    np.testing.assert_array_equal(values, before)


def test_inverse_depth_of_metres_is_nan_where_there_is_no_depth() -> None:
    inverse = inverse_from_metric(np.float32([[4.0, 0.0], [-1.0, NAN]]))
    np.testing.assert_array_equal(inverse, np.float32([[0.25, NAN], [NAN, NAN]]))


def test_there_and_back_gives_the_same_depth() -> None:
    depth_m = np.linspace(0.3, 80, 999, dtype=np.float32).reshape(27, 37)
    back = metric_from_inverse(inverse_from_metric(depth_m), scale=1.0, shift=0.0)
    np.testing.assert_allclose(back, depth_m, rtol=3e-7)


def test_the_limits_are_inclusive_and_the_rest_becomes_nan() -> None:
    depth_m = np.float32([[0.5, 1.0, 2.0, 2.5], [INF, -1.0, 0.0, NAN]])
    np.testing.assert_array_equal(
        limit_range(depth_m, 1.0, 2.0), [[NAN, 1.0, 2.0, NAN], [NAN, NAN, NAN, NAN]])


@pytest.mark.parametrize(('depth', 'maximum_m'), [
    (0.9, 2.0), (2.1, 2.0), (0.9, 0.0), (INF, 0.0), (NAN, 2.0)])
def test_a_single_pixel_outside_of_the_limits_is_found(depth: float, maximum_m: float) -> None:
    depth_m = np.float32([[1.5, depth]])
    np.testing.assert_array_equal(limit_range(depth_m, 1.0, maximum_m), [[1.5, NAN]])


@pytest.mark.parametrize('depth', [0.0, -1.0])
def test_what_is_not_positive_is_no_depth_without_a_minimum(depth: float) -> None:
    np.testing.assert_array_equal(
        limit_range(np.float32([[1.5, depth]]), 0.0, 0.0), [[1.5, NAN]])


def test_a_maximum_of_zero_is_no_limit_but_infinity_is_still_no_depth() -> None:
    depth_m = np.float32([[0.0, 1e6, INF]])
    np.testing.assert_array_equal(limit_range(depth_m, 0.0, 0.0), [[NAN, 1e6, NAN]])


def test_a_map_inside_the_limits_is_returned_without_a_copy() -> None:
    depth_m = np.float32([[1.0, 2.0]])
    assert limit_range(depth_m, 0.5, 3.0) is depth_m


def test_millimetres_are_0_where_depth_is_invalid_or_does_not_fit() -> None:
    depth_m = np.float32([[0.0004, 0.0005, 0.0014, 1.2346, 65.535, 65.54, 70.0, 0.0, -1.0,
                           NAN, INF, -INF]])
    assert to_millimetres(depth_m).tolist() == [[0, 1, 1, 1235, 65535, 0, 0, 0, 0, 0, 0, 0]]
    assert to_millimetres(depth_m).dtype == np.uint16


def test_the_display_range_puts_low_at_far_and_high_at_near() -> None:
    scale, shift = display_scale_shift(2.0, 12.0, near_m=0.5, far_m=10.0)
    ends = metric_from_inverse(np.float32([[2.0, 12.0]]), scale, shift)
    np.testing.assert_allclose(ends, [[10.0, 0.5]], rtol=1e-5)


@pytest.mark.filterwarnings('error')
def test_a_flat_map_is_drawn_without_dividing_by_zero() -> None:
    scale, shift = display_scale_shift(3.0, 3.0, near_m=0.5, far_m=10.0)
    assert np.isfinite([scale, shift]).all()


CAMERA = Intrinsics(240.0, 240.0, 79.5, 59.5, (120, 160))
DEPTH = np.array([[0.5, 2.0, 4.0]], np.float32)


def test_a_metric_model_is_left_alone_by_default() -> None:
    applied = metric_correction('metric', Settings(), CAMERA)
    assert applied == MetricCorrection()
    assert metric_depth(DEPTH, 'metric', applied, None) is DEPTH


def test_scale_and_offset_correct_a_metric_model_and_what_ends_behind_the_camera_is_nan() -> None:
    applied = metric_correction('metric', Settings(metric_scale=2.0, metric_offset=-1.5), CAMERA)
    assert_array_equal(correct_metric(DEPTH, applied), [[np.nan, 2.5, 6.5]])


def test_the_focal_length_scales_metres_by_that_of_the_training_camera() -> None:
    """Twice the focal length in short sides: things are twice as far as they look."""
    settings = Settings(metric_focal=1.0)
    assert metric_correction('metric', settings, CAMERA).scale == 2.0
    assert metric_correction('metric', settings, replace(CAMERA, fy=300.0)).scale == 2.0
    assert metric_correction('metric', settings, None).scale == 1.0
    assert metric_correction('relative', settings, CAMERA) == MetricCorrection()


def test_a_relative_model_has_no_metres_until_scale_and_shift_are_known() -> None:
    assert metric_depth(DEPTH, 'relative', MetricCorrection(), None) is None
    found = metric_depth(DEPTH, 'relative', MetricCorrection(), (0.5, -1.0))
    assert_allclose(found, [[np.inf, np.inf, 1.0]])


def test_an_alignment_of_a_metric_model_is_in_its_corrected_inverse_depth() -> None:
    applied = MetricCorrection(2.0, 0.0)
    d = model_inverse_depth(DEPTH, 'metric', applied)
    assert_allclose(d, 1 / (2 * DEPTH))
    assert_allclose(metric_depth(DEPTH, 'metric', applied, (0.5, 0.1)), 1 / (0.5 * d + 0.1),
                    rtol=1e-6)


def test_what_is_not_a_number_stays_so() -> None:
    depth = np.array([[np.nan, 1.0]], np.float32)
    for kind in ('relative', 'metric'):
        found = metric_depth(depth, kind, MetricCorrection(1.5, 0.0), (1.0, 0.0))
        assert np.isnan(found[0, 0]) and np.isfinite(found[0, 1])


def box_before_wall(box_m: float = 1.0, wall_m: float = 3.0) -> np.ndarray:
    """Return a box before a wall as a network draws them: the edge is a ramp of inverse depth."""
    inverse = np.full((120, 160), 1 / wall_m, np.float32)
    inverse[40:80, 60:100] = 1 / box_m
    return 1 / cv2.GaussianBlur(inverse, (0, 0), 1.0)


def floor(height_m: float, size_hw: tuple[int, int] = (480, 640)) -> np.ndarray:
    """Return a floor that a level camera sees below the horizon, NaN above."""
    rows = (np.arange(size_hw[0]) - size_hw[0] / 2) / (0.75 * size_hw[1])
    below = np.where(rows > 0, rows, np.nan)
    return np.repeat((height_m / below)[:, None], size_hw[1], axis=1).astype(np.float32)


def test_the_points_between_two_surfaces_go() -> None:
    depth_m = box_before_wall()
    flying = (depth_m > 1.1) & (depth_m < 2.8)
    filtered = remove_flying_pixels(depth_m, 0.05)
    assert flying.sum() > 200
    assert np.isnan(filtered[flying]).mean() > 0.99


def test_the_surfaces_on_both_sides_stay() -> None:
    filtered = remove_flying_pixels(box_before_wall(), 0.05)
    assert np.isfinite(filtered[45:75, 65:95]).all()
    assert np.isfinite(filtered[:33]).all() and np.isfinite(filtered[:, :53]).all()


@pytest.mark.parametrize('height_m', [0.2, 0.5, 1.5])
def test_a_floor_seen_at_a_flat_angle_stays_whole(height_m: float) -> None:
    depth_m = floor(height_m)
    near = depth_m < 15
    from_row_to_row = -np.diff(depth_m[near[:, 0], 0]) / depth_m[near[:, 0], 0][1:]
    assert from_row_to_row.max() > 0.02
    assert np.isfinite(remove_flying_pixels(depth_m, 0.02))[near].all()


def test_a_higher_threshold_keeps_smaller_jumps() -> None:
    depth_m = box_before_wall(2.8, 3.0)
    assert np.isnan(remove_flying_pixels(depth_m, 0.01)).any()
    assert np.isfinite(remove_flying_pixels(depth_m, 0.2)).all()


def test_the_same_scene_in_twice_the_pixels_loses_the_same_share() -> None:
    large = cv2.resize(box_before_wall(), (1280, 960), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(box_before_wall(), (640, 480), interpolation=cv2.INTER_LINEAR)
    lost = [np.isnan(remove_flying_pixels(depth_m, 0.02)).mean() for depth_m in (small, large)]
    assert lost[0] > 0.02
    assert lost[1] == pytest.approx(lost[0], rel=0.1)


def test_an_invalid_pixel_takes_no_neighbour_with_it() -> None:
    depth_m = np.full((60, 80), 2.0, np.float32)
    depth_m[20:30, 20:30] = np.nan
    assert np.array_equal(np.isnan(remove_flying_pixels(depth_m, 0.05)), np.isnan(depth_m))


def test_infinity_stays_and_what_blends_into_it_goes() -> None:
    depth_m = np.full((60, 80), 2.0, np.float32)
    depth_m[:30] = np.inf
    filtered = remove_flying_pixels(depth_m, 0.05)
    assert np.isinf(filtered[:29]).all() and (filtered[31:] == 2.0).all()
    assert np.isnan(filtered[29:31]).all()


def test_threshold_0_returns_the_input_and_others_leave_it_alone() -> None:
    depth_m = box_before_wall()
    before = depth_m.copy()
    assert remove_flying_pixels(depth_m, 0.0) is depth_m
    remove_flying_pixels(depth_m, 0.05)
    assert np.array_equal(depth_m, before)


def test_outer_values_leave_out_two_percent_at_either_end() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1000, dtype=np.float32))
    assert outer_values(values) == (20.0, 979.0)
    assert outer_values(np.append(values, [INF] * 10).astype(np.float32)) == (20.0, 989.0)
    assert outer_values(np.float32([7.0])) == (7.0, 7.0)
    assert outer_values(np.float32([3.0, 1.0])) == (1.0, 3.0)
