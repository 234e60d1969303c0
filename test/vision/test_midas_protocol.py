"""Scale and shift by least squares, clipping and scaling, against brute force and by hand."""

from depth_anything_ros.vision.accuracy import align_metric, align_relative, fit_scale_shift
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

LIMITS = DepthRange(0.1, 10.0)


def room(seed: int = 0) -> np.ndarray:
    """Return depth in metres [H, W] from 0.5 to 9."""
    return np.random.default_rng(seed).uniform(0.5, 9, (24, 32)).astype(np.float32)


def test_a_planted_scale_and_shift_is_recovered() -> None:
    depth_m = room()
    inverse_depth = ((1 / depth_m - 0.05) / 0.3).astype(np.float32)
    assert fit_scale_shift(inverse_depth, depth_m) == pytest.approx((0.3, 0.05), rel=1e-5)


def test_the_fit_is_that_of_a_linear_least_squares_solver() -> None:
    rng = np.random.default_rng(4)
    depth_m, inverse_depth = room(), rng.normal(40, 3, (24, 32)).astype(np.float32)
    design = np.stack([inverse_depth.ravel(), np.ones(inverse_depth.size)], axis=1)
    expected = np.linalg.lstsq(design.astype(np.float64), 1 / depth_m.ravel().astype(np.float64),
                               rcond=None)[0]
    assert fit_scale_shift(inverse_depth, depth_m) == pytest.approx(tuple(expected), rel=1e-6)


def test_no_other_scale_and_shift_on_a_fine_grid_fits_better() -> None:
    rng = np.random.default_rng(7)
    depth_m = room(7)[:4]
    inverse_depth = (5 / depth_m + rng.normal(0, 0.4, depth_m.shape)).astype(np.float32)

    def misfit(scale: float, shift: float) -> float:
        return float(np.sum((scale * inverse_depth + shift - 1 / depth_m) ** 2))

    scale, shift = fit_scale_shift(inverse_depth, depth_m)
    steps = np.linspace(-0.02, 0.02, 81)
    others = [misfit(scale + more, shift + higher) for more in steps for higher in steps
              if more or higher]
    assert misfit(scale, shift) < min(others)


def test_pixels_without_a_depth_do_not_take_part_in_the_fit() -> None:
    depth_m = room()
    inverse_depth = (1 / depth_m).astype(np.float32)
    depth_m[0, :4] = (0.0, -1.0, np.nan, np.inf)
    inverse_depth[1, :2] = (np.nan, np.inf)
    assert fit_scale_shift(inverse_depth, depth_m) == pytest.approx((1.0, 0.0), abs=1e-5)


@pytest.mark.parametrize('depth', [
    np.float32([[1.0, np.nan]]), np.float32([[np.nan, 0.0]])], ids=['one pixel', 'no pixel'])
def test_too_few_valid_pixels_are_refused_with_their_number(depth: np.ndarray) -> None:
    with pytest.raises(ValueError, match='[01] valid pixels'):
        fit_scale_shift(np.float32([[1.0, 2.0]]), depth)


def test_a_flat_map_fixes_no_scale() -> None:
    with pytest.raises(ValueError, match='do not fix'):
        fit_scale_shift(np.ones((4, 4), np.float32), room()[:4, :4])


def test_a_relative_map_that_is_right_up_to_scale_and_shift_becomes_the_depth() -> None:
    depth_m = room()
    aligned = align_relative(((1 / depth_m - 0.02) * 7).astype(np.float32), depth_m, LIMITS)
    assert_allclose(aligned, depth_m, rtol=1e-5)


def test_what_aligns_beyond_the_farthest_depth_is_clipped_there() -> None:
    depth_m = np.float32([[1.0, 1.0, 1.0, 8.0, 8.0]])
    inverse_depth = np.float32([[1.0, 1.0, 1.0, 0.3, -0.05]])
    scale, shift = fit_scale_shift(inverse_depth, depth_m)
    disparity = scale * inverse_depth + shift
    assert disparity[0, 4] < 0.1
    aligned = align_relative(inverse_depth, depth_m, LIMITS)
    assert_allclose(aligned[0, :4], 1 / disparity[0, :4], rtol=1e-5)
    assert aligned[0, 4] == 10.0


def test_depths_outside_of_the_range_do_not_pull_at_the_fit() -> None:
    depth_m = room()
    inverse_depth = (1 / depth_m).astype(np.float32)
    expected = align_relative(inverse_depth, depth_m, LIMITS)
    spoiled = depth_m.copy()
    spoiled[0, :3] = (0.05, 10.5, 65.535)
    assert_allclose(align_relative(inverse_depth, spoiled, LIMITS), expected, rtol=1e-5)


def test_a_flat_map_aligns_to_the_depth_that_fits_best() -> None:
    depth_m = np.float32([[1.0, 2.0, 4.0]])
    expected = 1 / np.mean([1, 0.5, 0.25])
    assert_allclose(align_relative(np.full((1, 3), 0.3, np.float32), depth_m, LIMITS), expected,
                    rtol=1e-6)


@pytest.mark.filterwarnings('error')
def test_what_is_not_finite_stays_unknown() -> None:
    depth_m = room()
    inverse_depth = (1 / depth_m).astype(np.float32)
    inverse_depth[0, :3] = (np.nan, np.inf, -np.inf)
    aligned = align_relative(inverse_depth, depth_m, LIMITS)
    assert np.isnan(aligned[0, :3]).all() and np.isfinite(aligned[1:]).all()
    nothing = np.full_like(depth_m, np.nan)
    assert np.isnan(align_relative(nothing, depth_m, LIMITS)).all()
    assert np.isnan(align_metric(nothing, depth_m, LIMITS, median_scaling=True)).all()
    metric = align_metric(np.float32([[np.inf, -1.0, 5.0, 40.0]]), depth_m, LIMITS)
    assert_array_equal(metric, np.float32([[np.nan, 0.1, 5.0, 10.0]]))


def test_median_scaling_is_off_unless_asked_for() -> None:
    depth_m = np.float32([[2.0, 4.0, 6.0, 0.0]])
    predicted_m = np.float32([[1.0, 2.0, 3.0, 100.0]])
    assert_array_equal(align_metric(predicted_m, depth_m, LIMITS),
                       np.float32([[1.0, 2.0, 3.0, 10.0]]))
    assert_array_equal(align_metric(predicted_m, depth_m, LIMITS, median_scaling=True),
                       np.float32([[2.0, 4.0, 6.0, 10.0]]))


def test_the_maps_given_are_not_changed() -> None:
    depth_m, predicted_m = room(1), room(2)
    before = depth_m.copy(), predicted_m.copy()
    align_metric(predicted_m, depth_m, LIMITS, median_scaling=True)
    align_relative(predicted_m, depth_m, LIMITS)
    assert_array_equal(depth_m, before[0])
    assert_array_equal(predicted_m, before[1])


@pytest.mark.parametrize('limits', [(0.0, 10.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_a_range_without_depths_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match='holds no depth'):
        DepthRange(*limits)
