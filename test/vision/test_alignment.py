"""Scale and shift by least squares, and scores against cases computed by hand."""

from depth_anything_ros.vision.alignment import (
    fit_scale_shift, score_depth, score_relative)
import numpy as np
import pytest


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


def test_scores_of_four_pixels_computed_by_hand() -> None:
    truth = np.float32([[1.0, 2.0], [4.0, 8.0]])
    predicted = np.float32([[1.2, 2.0], [3.0, 16.0]])
    scores = score_depth(predicted, truth)
    assert scores.abs_rel == pytest.approx((0.2 + 0 + 0.25 + 1) / 4)
    assert scores.delta1 == 0.5


@pytest.mark.parametrize(('predicted', 'delta1'), [(1.24, 1.0), (1.26, 0.0), (0.81, 1.0),
                                                   (0.79, 0.0)])
def test_delta1_counts_ratios_below_one_and_a_quarter_either_way(
        predicted: float, delta1: float) -> None:
    assert score_depth(np.float32([[predicted]]), np.float32([[1.0]])).delta1 == delta1


def test_only_pixels_that_are_valid_in_both_maps_are_scored() -> None:
    truth = np.float32([[1.0, 0.0, np.nan, 2.0, 2.0, np.inf]])
    predicted = np.float32([[1.5, 9.0, 9.0, np.nan, -1.0, 9.0]])
    assert score_depth(predicted, truth).abs_rel == pytest.approx(0.5)
    with pytest.raises(ValueError, match='no pixel'):
        score_depth(predicted[:, 1:], truth[:, 1:])


def test_a_relative_map_that_is_right_up_to_scale_and_shift_scores_perfectly() -> None:
    depth_m = room()
    scores = score_relative(((1 / depth_m - 0.02) * 7).astype(np.float32), depth_m, 10.0)
    assert scores.abs_rel < 1e-5 and scores.delta1 == 1.0


def test_what_aligns_beyond_the_farthest_depth_is_clipped_there() -> None:
    depth_m = np.float32([[1.0, 1.0, 1.0, 8.0, 8.0]])
    inverse_depth = np.float32([[1.0, 1.0, 1.0, 0.3, -0.05]])
    scale, shift = fit_scale_shift(inverse_depth, depth_m)
    aligned = scale * inverse_depth[0] + shift
    assert aligned[4] < 0.1
    expected = np.abs(1 / np.maximum(aligned, 0.1) - depth_m[0]) / depth_m[0]
    assert score_relative(inverse_depth, depth_m, 10.0).abs_rel == pytest.approx(
        float(expected.mean()), rel=1e-5)
