"""Conversions between depth and inverse depth, with NaN for what is not valid."""

from depth_anything_ros.vision.depth import (
    disparity_for_looking, inverse_from_metric, limit_range, metric_from_inverse)
import numpy as np
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


def test_a_maximum_of_zero_is_no_limit_but_infinity_is_still_no_depth() -> None:
    depth_m = np.float32([[0.0, 1e6, INF]])
    np.testing.assert_array_equal(limit_range(depth_m, 0.0, 0.0), [[NAN, 1e6, NAN]])


def test_a_map_inside_the_limits_is_returned_without_a_copy() -> None:
    depth_m = np.float32([[1.0, 2.0]])
    assert limit_range(depth_m, 0.5, 3.0) is depth_m


def test_the_range_for_looking_puts_low_at_far_and_high_at_near() -> None:
    scale, shift = disparity_for_looking(2.0, 12.0, near_m=0.5, far_m=10.0)
    ends = metric_from_inverse(np.float32([[2.0, 12.0]]), scale, shift)
    np.testing.assert_allclose(ends, [[10.0, 0.5]], rtol=1e-5)


@pytest.mark.filterwarnings('error')
def test_a_flat_map_is_drawn_without_dividing_by_zero() -> None:
    scale, shift = disparity_for_looking(3.0, 3.0, near_m=0.5, far_m=10.0)
    assert np.isfinite([scale, shift]).all()
