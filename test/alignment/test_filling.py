"""Filling the holes of a depth image: compared with loops over pixels, and on made surfaces."""

from depth_anything_ros.alignment.filling import (
    compare_depth, fill_depth, measured_on_grid)
from depth_anything_ros.alignment.fit import tolerance
from depth_anything_ros.vision.transforms import output_grid
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

HW = (40, 64)
NAN = np.float32(np.nan)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a measured map with noise, holes and wrong depth, and its two fitted surfaces."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HW[0], 0:HW[1]]
    inverse = np.where(columns < 30, 0.8 + 0.004 * rows, 0.3 + 0.002 * columns)
    measured = 1 / (inverse * (1 + 0.03 * rng.standard_normal(HW)))
    measured[rng.random(HW) < 0.3] = NAN
    measured[5:12, 40:50] *= 2.5
    return measured.astype(np.float32), (1 / inverse).astype(np.float32)


def brute_force_agrees(measured_m: np.ndarray, fitted_m: np.ndarray, limit: float,
                       reach: int) -> np.ndarray:
    """Return the pixels that agree, by loops."""
    both = np.isfinite(measured_m) & np.isfinite(fitted_m)
    far = np.percentile(1 / measured_m[both].astype(np.float64), 10)
    found = np.zeros(measured_m.shape, bool)
    for row, column in np.argwhere(both):
        around = 1 / fitted_m[max(0, row - reach):row + reach + 1,
                              max(0, column - reach):column + reach + 1]
        here = 1 / measured_m[row, column]
        outside = max(here - np.nanmax(around), np.nanmin(around) - here)
        found[row, column] = outside <= limit * max(1 / fitted_m[row, column], far)
    return found


@pytest.mark.parametrize('limit', [0.02, 0.05, 0.3])
def test_the_pixels_that_agree_are_those_of_a_loop(limit: float) -> None:
    measured_m, fitted_m = scene()
    found = compare_depth(measured_m, fitted_m, limit)
    expected = brute_force_agrees(measured_m, fitted_m, limit, 1)
    assert_array_equal(found.agrees, expected)
    assert found.compared == np.isfinite(measured_m).sum()
    assert found.fit.support == expected.sum()
    assert found.fit.outliers == pytest.approx(1 - expected.sum() / found.compared)


def test_the_tolerance_follows_the_noise_of_the_pixels_that_agree() -> None:
    """The standard deviation is 3 %, so that of the wrong surface does not count."""
    measured_m, fitted_m = scene()
    found = compare_depth(measured_m, fitted_m)
    expected = brute_force_agrees(measured_m, fitted_m, tolerance(0.03, 0.25), 1)
    assert np.mean(found.agrees != expected) < 0.01
    wrong = np.zeros(HW, bool)
    wrong[5:12, 40:50] = np.isfinite(measured_m[5:12, 40:50])
    assert not found.agrees[wrong].any()
    assert found.agrees[np.isfinite(measured_m) & ~wrong].mean() > 0.98
    assert found.fit.residual == pytest.approx(0.02, abs=0.004), 'the median of |N(0, 0.03)|'


def test_a_third_of_wrong_depth_does_not_widen_the_tolerance() -> None:
    """It is three times 3 %, so 15 % too far is wrong too."""
    measured_m, fitted_m = scene()
    measured_m[:, 40:] *= 4
    measured_m[10:30, 5:20] = 1.15 * fitted_m[10:30, 5:20]
    assert not compare_depth(measured_m, fitted_m).agrees[10:30, 5:20].any()


def test_depth_of_another_place_agrees_nowhere_and_the_fit_says_so() -> None:
    measured_m, fitted_m = scene()
    found = compare_depth(3 * measured_m, fitted_m)
    assert found.fit.outliers > 0.9


@pytest.mark.parametrize(('shift_px', 'agree'), [(2, True), (4, False)])
def test_an_edge_may_be_displaced_by_two_pixels(shift_px: int, agree: bool) -> None:
    fitted_m = np.full((20, 640), 1.0, np.float32)
    fitted_m[:, 300:] = 4.0
    measured_m = np.full((20, 640), 1.0, np.float32)
    measured_m[:, 300 + shift_px:] = 4.0
    agrees = compare_depth(measured_m, fitted_m, 0.05).agrees
    assert agrees[:, 300:300 + shift_px].all() == agree
    assert agrees[:, :300].all() and agrees[:, 310:].all()


def test_far_away_the_limit_is_that_of_the_farthest_tenth() -> None:
    """A fitted 1/z of 0 and a measured one of 1/50 m differ by less than the fit can know."""
    fitted_m = np.full(HW, 5.0, np.float32)
    measured_m = fitted_m.copy()
    fitted_m[:4] = np.inf
    measured_m[1, :10], measured_m[1, 10:20] = 50.0, 10.0
    agrees = compare_depth(measured_m, fitted_m, 0.2).agrees
    assert agrees[1, :10].all() and not agrees[1, 10:20].any()


def test_what_is_measured_stays_where_the_model_knows_nothing() -> None:
    measured_m, fitted_m = scene()
    fitted_m[20:25] = NAN
    found = compare_depth(measured_m, fitted_m, 0.05)
    expected = brute_force_agrees(measured_m, fitted_m, 0.05, 1)
    expected[20:25] = np.isfinite(measured_m[20:25])
    assert_array_equal(found.agrees, expected)
    empty = compare_depth(np.full(HW, NAN), fitted_m)
    assert (empty.compared, empty.fit.support, empty.agrees.any()) == (0, 0, False)


def test_measured_pixels_are_kept_exactly_and_without_a_seam_all_others_are_fitted() -> None:
    measured_m, fitted_m = scene()
    agrees = compare_depth(measured_m, fitted_m).agrees
    for seam in (0.0, 0.1):
        assert_array_equal(fill_depth(measured_m, fitted_m, agrees, seam)[agrees],
                           measured_m[agrees])
    assert_array_equal(fill_depth(measured_m, fitted_m, agrees, 0.0)[~agrees], fitted_m[~agrees])


def brute_force_fill(measured_m: np.ndarray, fitted_m: np.ndarray, agrees: np.ndarray,
                     reach_px: float, half: int, found: np.ndarray) -> np.ndarray:
    """
    Return the blended map, by loops over pixels and over all measured ones.

    Of several measured pixels at about the same distance the one that explains ``found`` counts.
    """
    ratio = np.where(agrees, fitted_m / measured_m, np.nan).astype(np.float64)
    sources = np.argwhere(agrees)
    # cv2.blur reflects the map at its borders.
    padded = np.pad(ratio, half, mode='reflect')
    filled = np.where(agrees, measured_m, fitted_m).astype(np.float64)
    for row, column in np.argwhere(~agrees):
        distances = np.hypot(*(sources - (row, column)).T)
        if distances.min() >= reach_px:
            continue
        near = sources[distances <= distances.min() + 0.2]
        options = []
        for r, c in near:
            mean = np.nanmean(padded[r:r + 2 * half + 1, c:c + 2 * half + 1])
            here, there = 1 / fitted_m[row, column], 1 / fitted_m[r, c]
            same = max(0.0, 1 - abs(here - there) / (0.1 * max(here, there)))
            share = same * (1 - distances.min() / reach_px)
            options.append(1 / (here * (1 + share * (mean - 1))))
        filled[row, column] = min(options, key=lambda one: abs(one - found[row, column]))
    return filled


def test_the_blended_depth_is_that_of_a_loop() -> None:
    measured_m, fitted_m = scene(1)
    measured_m[15:30, 10:50] = NAN
    agrees = compare_depth(measured_m, fitted_m).agrees
    found = fill_depth(measured_m, fitted_m, agrees, 0.25)
    expected = brute_force_fill(measured_m, fitted_m, agrees, 16.0, 4, found)
    assert_allclose(found, expected, rtol=3e-3)
    assert np.abs(found / fitted_m - 1)[~agrees].max() > 0.01, 'something is blended'


def test_there_is_no_step_at_the_border_of_a_hole_and_its_middle_is_the_fitted_depth() -> None:
    """The fit is 10 % too far; the correction fades out over 20 pixels."""
    fitted_m = np.full((120, 200), 2.2, np.float32)
    measured_m = np.full((120, 200), 2.0, np.float32)
    measured_m[20:100, 50:150] = NAN
    filled = fill_depth(measured_m, fitted_m, np.isfinite(measured_m), 0.1)
    row = filled[60, 49:76]
    assert (np.diff(row) >= 0).all() and np.diff(row).max() < 0.02
    assert row[0] == 2.0 and row[1] < 2.02 and (row[22:] == np.float32(2.2)).all()


def test_another_surface_is_not_blended() -> None:
    fitted_m = np.full(HW, 2.2, np.float32)
    fitted_m[:, 30:] = 4.0
    measured_m = np.full(HW, 2.0, np.float32)
    measured_m[:, 30:] = NAN
    filled = fill_depth(measured_m, fitted_m, np.isfinite(measured_m), 0.5)
    assert_array_equal(filled[:, 30:], fitted_m[:, 30:])


def test_infinity_and_unknown_depth_stay_and_nothing_is_measured_everywhere() -> None:
    measured_m, fitted_m = scene()
    fitted_m[:5], fitted_m[5:9] = np.inf, NAN
    agrees = np.isfinite(measured_m) & np.isfinite(fitted_m)
    filled = fill_depth(measured_m, fitted_m, agrees, 0.3)
    assert np.isposinf(filled[:5]).all() and np.isnan(filled[5:9]).all()
    nowhere = np.zeros(HW, bool)
    assert_array_equal(fill_depth(measured_m, fitted_m, nowhere, 0.3), fitted_m)


@pytest.mark.parametrize('factor', [1, 2, 4])
def test_a_measured_map_of_another_size_is_repeated(factor: int) -> None:
    small = np.arange(12, dtype=np.float32).reshape(3, 4)
    image_hw = (3 * factor, 4 * factor)
    assert_array_equal(measured_on_grid(small, image_hw, output_grid('input', 1, image_hw, HW)),
                       np.kron(small, np.ones((factor, factor))))


def test_a_smaller_grid_gets_the_nearest_measured_pixels() -> None:
    measured_m = np.arange(HW[0] * HW[1], dtype=np.float32).reshape(HW)
    native = output_grid('native', 1, HW, (14, 28))
    rows, columns = (np.floor(np.arange(network) * (image - 1) / (network - 1) + 0.5).astype(int)
                     for network, image in zip((14, 28), HW))
    assert_array_equal(measured_on_grid(measured_m, HW, native),
                       measured_m[rows[:, None], columns])
    half = measured_on_grid(measured_m, HW, output_grid('divisor', 2, HW, (14, 28)))
    assert half.shape == (20, 32)
    assert set(half[0, :3]) <= set(measured_m[:2, :6].ravel())
