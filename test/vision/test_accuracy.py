"""Alignment by the protocol of MiDaS and the scores, against other ways to compute them."""

from dataclasses import asdict

from depth_anything_ros.vision.accuracy import (
    align_metric, align_relative, fit_scale_shift, is_ordered, score_depth, score_relative)
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

LIMITS, INDOOR = DepthRange(0.1, 10.0), DepthRange(0.1, 20.0)


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


def test_two_pixels_fix_a_scale_and_a_shift() -> None:
    found = fit_scale_shift(np.float32([[1.0, 4.0]]), np.float32([[2.0, 0.5]]))
    assert found == pytest.approx((0.5, 0.0))


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
    zero = np.zeros_like(depth_m)
    assert_array_equal(align_metric(zero, depth_m, LIMITS, median_scaling=True), zero + 0.1)


def test_metres_beyond_the_range_and_at_infinity_are_clipped() -> None:
    metric = align_metric(np.float32([[np.inf, np.nan, -1.0, 5.0, 40.0]]), room()[:1, :5], LIMITS)
    assert_array_equal(metric, np.float32([[10.0, np.nan, 0.1, 5.0, 10.0]]))


def test_median_scaling_is_off_by_default() -> None:
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


def test_scores_of_four_pixels_computed_by_hand() -> None:
    truth = np.float32([[1.0, 2.0], [4.0, 8.0]])
    predicted = np.float32([[2.0, 2.0], [3.0, 16.0]])
    scores = score_depth(predicted, truth, INDOOR)
    assert scores.abs_rel == pytest.approx((1 + 0 + 0.25 + 1) / 4)
    # Ratios 2, 1, 4/3, 2 against 1.25, 1.5625, 1.953125.
    assert (scores.delta1, scores.delta2, scores.delta3) == (0.25, 0.5, 0.5)
    assert scores.rmse_m == pytest.approx(np.sqrt((1 + 0 + 1 + 64) / 4))
    two, third = np.log(2), np.log(3 / 4)
    mean_square = (2 * two ** 2 + third ** 2) / 4
    assert scores.rmse_log == pytest.approx(np.sqrt(mean_square))
    assert scores.log10 == pytest.approx((2 * np.log10(2) + np.log10(4 / 3)) / 4)
    mean = (2 * two + third) / 4
    assert scores.silog == pytest.approx(100 * np.sqrt(mean_square - mean ** 2))
    assert scores.coverage == 1.0


def test_a_perfect_map_scores_perfectly() -> None:
    truth = np.float32([[1.0, 2.0, 19.0]])
    assert asdict(score_depth(truth, truth, INDOOR)) == {
        'abs_rel': 0, 'delta1': 1, 'delta2': 1, 'delta3': 1, 'rmse_m': 0, 'rmse_log': 0,
        'log10': 0, 'silog': 0, 'coverage': 1}


def test_silog_does_not_see_a_wrong_scale_and_rmse_log_does() -> None:
    truth = np.float32([[1.0, 2.0, 5.0]])
    scores = score_depth(truth * 2, truth, INDOOR)
    assert scores.silog == pytest.approx(0, abs=1e-5)
    assert scores.rmse_log == pytest.approx(np.log(2))


@pytest.mark.parametrize(('predicted', 'deltas'), [
    (1.24, (1, 1, 1)), (1.25, (0, 1, 1)), (1.56, (0, 1, 1)), (1.57, (0, 0, 1)),
    (1.95, (0, 0, 1)), (1.96, (0, 0, 0)), (0.81, (1, 1, 1)), (0.79, (0, 1, 1)),
    (0.63, (0, 0, 1)), (0.51, (0, 0, 0))])
def test_delta_counts_ratios_below_its_limit_either_way(
        predicted: float, deltas: tuple[float, ...]) -> None:
    scores = score_depth(np.float32([[predicted]]), np.float32([[1.0]]), INDOOR)
    assert (scores.delta1, scores.delta2, scores.delta3) == deltas


@pytest.mark.filterwarnings('error')
def test_only_pixels_whose_measured_depth_is_valid_are_scored() -> None:
    truth = np.float32([[1.0, 0.0, np.nan, np.inf, -2.0, 0.09, 20.5, 20.0]])
    predicted = np.float32([[1.5, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 20.0]])
    assert score_depth(predicted, truth, INDOOR).abs_rel == pytest.approx(0.25)
    with pytest.raises(ValueError, match='no measured depth is between 0.1 and 20 m'):
        score_depth(predicted[:, 1:7], truth[:, 1:7], INDOOR)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('missing', [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_a_missing_prediction_counts_with_the_largest_error_of_the_range(missing: float) -> None:
    truth, limits = np.float32([[2.0, 2.0]]), DepthRange(0.1, 10.0)
    scores = score_depth(np.float32([[2.0, missing]]), truth, limits)
    assert scores.coverage == 0.5
    assert scores.delta3 == 0.5
    assert scores.abs_rel == pytest.approx((0 + 8 / 2) / 2)
    assert scores.rmse_m == pytest.approx(np.sqrt((0 + 8 ** 2) / 2))
    assert scores.log10 == pytest.approx((0 + np.log10(20)) / 2)


def test_leaving_the_hardest_pixels_out_never_helps() -> None:
    rng = np.random.default_rng(3)
    limits = DepthRange(0.5, 10.0)
    truth = rng.uniform(0.5, 10, (20, 20)).astype(np.float32)
    whole = align_metric((truth * rng.lognormal(0, 0.6, truth.shape)).astype(np.float32), truth,
                         limits)
    gaps = np.where(np.abs(whole - truth) / truth > 0.5, np.float32(np.nan), whole)
    assert 0.3 < np.isfinite(gaps).mean() < 0.9
    before, after = (asdict(score_depth(one, truth, limits)) for one in (whole, gaps))
    for name in ('abs_rel', 'rmse_m', 'rmse_log', 'log10'):
        assert after[name] > before[name]
    for name in ('delta1', 'delta2', 'delta3', 'coverage'):
        assert after[name] <= before[name]


def test_a_relative_map_that_is_right_up_to_scale_and_shift_scores_perfectly() -> None:
    depth_m = np.random.default_rng(0).uniform(0.5, 9, (24, 32)).astype(np.float32)
    scores = score_relative(((1 / depth_m - 0.02) * 7).astype(np.float32), depth_m, INDOOR)
    assert scores.abs_rel < 1e-5 and scores.delta1 == 1.0


def test_a_relative_map_with_a_gap_pays_for_it() -> None:
    depth_m = np.random.default_rng(0).uniform(0.5, 9, (24, 32)).astype(np.float32)
    inverse_depth = (1 / depth_m).astype(np.float32)
    inverse_depth[:12] = np.nan
    scores = score_relative(inverse_depth, depth_m, INDOOR)
    assert scores.coverage == 0.5 and scores.delta1 == 0.5 and scores.abs_rel > 1


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match='cannot be compared'):
        score_depth(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32), INDOOR)


@pytest.mark.parametrize(('near', 'far', 'relative', 'metric'), [
    (5.0, 2.0, True, False), (2.0, 5.0, False, True), (3.0, 3.0, False, False),
    (np.nan, 1.0, False, False), (1.0, np.inf, False, False)])
def test_larger_is_nearer_in_relative_maps_and_farther_in_metres(
        near: float, far: float, relative: bool, metric: bool) -> None:
    depth = np.float32([[0, near, 0], [0, 0, far]])
    assert is_ordered(depth, (0, 1), (1, 2), relative=True) is relative
    assert is_ordered(depth, (0, 1), (1, 2), relative=False) is metric
