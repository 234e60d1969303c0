"""Figures of merit against cases computed by hand."""

from dataclasses import asdict

from depth_anything_ros.vision.accuracy import (
    align_metric, is_ordered, score_depth, score_relative)
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
import pytest

LIMITS = DepthRange(0.1, 20.0)


def test_scores_of_four_pixels_computed_by_hand() -> None:
    truth = np.float32([[1.0, 2.0], [4.0, 8.0]])
    predicted = np.float32([[2.0, 2.0], [3.0, 16.0]])
    scores = score_depth(predicted, truth, LIMITS)
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
    assert asdict(score_depth(truth, truth, LIMITS)) == {
        'abs_rel': 0, 'delta1': 1, 'delta2': 1, 'delta3': 1, 'rmse_m': 0, 'rmse_log': 0,
        'log10': 0, 'silog': 0, 'coverage': 1}


def test_silog_does_not_see_a_wrong_scale_and_rmse_log_does() -> None:
    truth = np.float32([[1.0, 2.0, 5.0]])
    scores = score_depth(truth * 2, truth, LIMITS)
    assert scores.silog == pytest.approx(0, abs=1e-5)
    assert scores.rmse_log == pytest.approx(np.log(2))


@pytest.mark.parametrize(('predicted', 'deltas'), [
    (1.24, (1, 1, 1)), (1.25, (0, 1, 1)), (1.56, (0, 1, 1)), (1.57, (0, 0, 1)),
    (1.95, (0, 0, 1)), (1.96, (0, 0, 0)), (0.81, (1, 1, 1)), (0.79, (0, 1, 1)),
    (0.63, (0, 0, 1)), (0.51, (0, 0, 0))])
def test_delta_counts_ratios_below_its_limit_either_way(
        predicted: float, deltas: tuple[float, ...]) -> None:
    scores = score_depth(np.float32([[predicted]]), np.float32([[1.0]]), LIMITS)
    assert (scores.delta1, scores.delta2, scores.delta3) == deltas


@pytest.mark.filterwarnings('error')
def test_only_pixels_whose_measured_depth_is_valid_are_scored() -> None:
    truth = np.float32([[1.0, 0.0, np.nan, np.inf, -2.0, 0.09, 20.5, 20.0]])
    predicted = np.float32([[1.5, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 20.0]])
    assert score_depth(predicted, truth, LIMITS).abs_rel == pytest.approx(0.25)
    with pytest.raises(ValueError, match='no measured depth lies between 0.1 and 20 m'):
        score_depth(predicted[:, 1:7], truth[:, 1:7], LIMITS)


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
    scores = score_relative(((1 / depth_m - 0.02) * 7).astype(np.float32), depth_m, LIMITS)
    assert scores.abs_rel < 1e-5 and scores.delta1 == 1.0


def test_a_relative_map_with_a_gap_pays_for_it() -> None:
    depth_m = np.random.default_rng(0).uniform(0.5, 9, (24, 32)).astype(np.float32)
    inverse_depth = (1 / depth_m).astype(np.float32)
    inverse_depth[:12] = np.nan
    scores = score_relative(inverse_depth, depth_m, LIMITS)
    assert scores.coverage == 0.5 and scores.delta1 == 0.5 and scores.abs_rel > 1


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match='cannot be compared'):
        score_depth(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32), LIMITS)


@pytest.mark.parametrize(('near', 'far', 'relative', 'metric'), [
    (5.0, 2.0, True, False), (2.0, 5.0, False, True), (3.0, 3.0, False, False),
    (np.nan, 1.0, False, False), (1.0, np.inf, False, False)])
def test_larger_is_nearer_in_relative_maps_and_farther_in_metres(
        near: float, far: float, relative: bool, metric: bool) -> None:
    depth = np.float32([[0, near, 0], [0, 0, far]])
    assert is_ordered(depth, (0, 1), (1, 2), relative=True) is relative
    assert is_ordered(depth, (0, 1), (1, 2), relative=False) is metric
