"""Fits of a depth map to triangulated points: scale and shift, scale alone, or nothing."""

from depth_anything_ros.alignment.fit import Fit, fit_alignment, Samples
from depth_anything_ros.alignment.motion import MotionSamples, MotionState
from depth_anything_ros.alignment.motion_fit import MotionFitter
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import AlignmentError
import numpy as np
import pytest

SIZE_HW, MAP_HW = (480, 640), (121, 161)
SCALE, SHIFT = 0.4, 0.1


def samples_of(pixels: F64, inverse_z: F64, weights: F64 | None = None,
               state: MotionState = 'samples', reason: str = '',
               stamp_s: float = 1.0) -> MotionSamples:
    return MotionSamples(pixels, inverse_z, np.ones(len(pixels)) if weights is None else weights,
                         SIZE_HW, stamp_s, state, reason, 100, 0.1)


def fit_motion(inverse_depth: F32, samples: MotionSamples, with_shift: bool) -> Fit:
    """Return the fit of a first image."""
    return MotionFitter().fit(inverse_depth, samples, with_shift).fit


def points(number: int = 200, right: float = 630.0) -> F64:
    return np.random.default_rng(0).uniform((5, 5), (right, 470), (number, 2))


def ramp(low: float, high: float) -> tuple[F32, F64, F64]:
    """Return a map whose d grows from left to right, points, and their true 1/z."""
    d = np.tile(np.linspace(low, high, MAP_HW[1]), (MAP_HW[0], 1)).astype(np.float32)
    pixels = points()
    exact = low + (high - low) * pixels[:, 0] / (SIZE_HW[1] - 1)
    return d, pixels, SCALE * exact + SHIFT


def test_scale_and_shift_are_found_between_the_pixels_of_the_map() -> None:
    d, pixels, inverse_z = ramp(0.5, 4.0)
    fit = fit_motion(d, samples_of(pixels, inverse_z), True)
    assert (fit.scale, fit.shift) == pytest.approx((SCALE, SHIFT), rel=1e-4)
    assert fit.support == 200 and fit.residual < 1e-5


def test_points_in_the_corners_of_the_image_are_in_the_map() -> None:
    d, _, _ = ramp(0.5, 4.0)
    pixels = np.array([(column, row) for row in (0.0, 240.0, 479.0)
                       for column in (0.0, 320.0, 639.0)])
    exact = 0.5 + 3.5 * pixels[:, 0] / (SIZE_HW[1] - 1)
    fit = fit_motion(d, samples_of(pixels, SCALE * exact + SHIFT), True)
    assert (fit.scale, fit.shift, fit.support) == pytest.approx((SCALE, SHIFT, 9), rel=1e-4)


def test_without_a_shift_only_the_scale_is_fitted() -> None:
    d, pixels, inverse_z = ramp(0.5, 4.0)
    fit = fit_motion(d, samples_of(pixels, inverse_z - SHIFT), False)
    assert (fit.scale, fit.shift) == pytest.approx((SCALE, 0.0), rel=1e-4)


def test_points_that_span_little_depth_keep_the_ratio_of_scale_and_shift() -> None:
    fitter = MotionFitter()
    d, pixels, inverse_z = ramp(0.5, 4.0)
    fitter.fit(d, samples_of(pixels, inverse_z), True)
    d, pixels, inverse_z = ramp(2.0, 2.2)
    noise = 1 + 0.02 * np.random.default_rng(1).normal(size=len(pixels))
    seen = samples_of(pixels, 1.3 * inverse_z * noise, stamp_s=9.0)
    fit = fitter.fit(d, seen, True).fit
    assert (fit.scale, fit.shift) == pytest.approx((1.3 * SCALE, 1.3 * SHIFT), rel=0.02)
    alone = fit_motion(d, seen, True)
    assert alone.shift == 0.0
    assert alone.scale * 2.1 == pytest.approx(1.3 * (SCALE * 2.1 + SHIFT), rel=0.02)


def test_the_ratio_is_the_median_of_the_last_images_and_the_scale_that_of_each() -> None:
    fitter = MotionFitter()
    d, pixels, _ = ramp(0.5, 4.0)
    exact = 0.5 + 3.5 * pixels[:, 0] / (SIZE_HW[1] - 1)

    def fitted(scale: float, ratio: float, stamp_s: float) -> tuple[float, float]:
        fit = fitter.fit(d, samples_of(pixels, scale * (exact + ratio), stamp_s=stamp_s), True).fit
        return fit.scale, fit.shift / fit.scale

    assert fitted(0.4, 0.2, 1.0) == pytest.approx((0.4, 0.2), rel=1e-3)
    assert fitted(0.5, 0.2, 1.3) == pytest.approx((0.5, 0.2), rel=1e-3)
    scale, ratio = fitted(0.3, 1.4, 1.6)
    assert ratio == pytest.approx(0.2, rel=1e-3) and 0.3 < scale < 0.6, 'one image is not followed'
    assert fitted(0.3, 1.4, 2.0)[1] == pytest.approx(1.4, rel=1e-3), 'two of three are'
    assert fitted(0.4, 0.6, 9.0) == pytest.approx((0.4, 0.6), rel=1e-3), 'the others are old'
    fitted(0.4, 1.4, 9.1)
    fitter.correct(Fit(0.4, 0.04, 99, 0.0, 0.01, (0.3, 2.0)))
    assert fitted(0.4, 0.7, 9.2)[1] == pytest.approx(0.6, rel=1e-3), 'the newest became 0.1'


def test_points_in_one_part_of_the_image_fit_the_scale_alone() -> None:
    d, _, _ = ramp(0.5, 4.0)
    pixels = points(right=300.0)
    pixels[:, 1] %= 150
    exact = 0.5 + 3.5 * pixels[:, 0] / (SIZE_HW[1] - 1)
    assert fit_motion(d, samples_of(pixels, SCALE * exact), True).shift == 0.0
    pixels[:, 0] %= 150
    with pytest.raises(AlignmentError, match='one part of the image'):
        fit_motion(d, samples_of(pixels, SCALE * exact), True)


def test_no_samples_are_an_error_with_the_reason_of_the_motion() -> None:
    nothing = samples_of(np.empty((0, 2)), np.empty(0), None, 'still', 'drive a little')
    with pytest.raises(AlignmentError, match='drive a little'):
        fit_motion(ramp(0.5, 4.0)[0], nothing, True)


def test_points_at_edges_and_where_the_map_is_unknown_do_not_count() -> None:
    d, pixels, inverse_z = ramp(1.0, 4.0)
    d[:, 80:] += 4
    inverse_z = np.where(pixels[:, 0] > 79.5 / 160 * 639, inverse_z + 4 * SCALE, inverse_z)
    edge = np.column_stack([np.full(50, 79.4 / 160 * 639), np.linspace(5, 470, 50)])
    wrong = np.concatenate([inverse_z, np.full(50, 9.0)])
    d[:10] = np.nan
    fit = fit_motion(d, samples_of(np.concatenate([pixels, edge]), wrong), True)
    assert fit.support <= 200 and fit.outliers < 0.05
    assert (fit.scale, fit.shift) == pytest.approx((SCALE, SHIFT), rel=1e-2)
    d[::7] = np.nan
    assert fit_motion(d, samples_of(pixels, inverse_z), True).support > 50
    with pytest.raises(AlignmentError, match='no value'):
        fit_motion(np.full_like(d, np.nan), samples_of(pixels, inverse_z), True)


def test_precise_points_count_more() -> None:
    d = np.full(MAP_HW, 2.0, np.float32)
    pixels = points(400)
    inverse_z = np.where(pixels[:, 0] < 320, 1.00, 1.015)
    heavy_left = np.where(pixels[:, 0] < 320, 100.0, 1.0)
    scale = [fit_motion(d, samples_of(pixels, inverse_z, weights), False).scale
             for weights in (heavy_left, 101.0 - heavy_left)]
    assert scale[0] < scale[1]


@pytest.mark.parametrize('unknown_rows', [0, 30])
def test_a_crowd_of_points_counts_no_more_than_other_parts_of_the_map(unknown_rows: int) -> None:
    """Most corners are far away; near, bare surfaces fill as much of the image."""
    d, pixels, _ = ramp(1.0, 4.0)
    d[:unknown_rows] = np.nan
    pixels = np.concatenate([pixels, np.tile((20.0, 460.0), (400, 1))])
    noise = 1 + 0.005 * np.random.default_rng(2).normal(size=600)
    exact = 1.0 + 3.0 * pixels[:, 0] / (SIZE_HW[1] - 1)
    inverse_z = SCALE * exact * np.where(np.arange(600) < 200, 1.0, 1.015) * noise
    crowded = fit_motion(d, samples_of(pixels, inverse_z), False).scale
    equal = fit_alignment(Samples(exact, inverse_z), False).scale
    assert crowded < 1.005 * SCALE < 1.01 * SCALE < equal


def test_a_surface_that_the_map_shows_at_a_wrong_distance_stays_in_the_fit() -> None:
    """A near wall fills half of the map and has a tenth of the points."""
    d, _, _ = ramp(1.0, 4.0)
    d[:, 80:] += 2
    rng = np.random.default_rng(3)
    far = rng.uniform((5, 5), (300, 470), (270, 2))
    near = rng.uniform((340, 5), (630, 470), (30, 2))
    pixels = np.concatenate([far, near])
    shown = 1.0 + 3.0 * pixels[:, 0] / (SIZE_HW[1] - 1) + 2 * (pixels[:, 0] > 320)
    inverse_z = SCALE * shown * np.where(np.arange(300) < 270, 1.0, 1.4)
    fit = fit_motion(d, samples_of(pixels, inverse_z), True)
    found = (fit.scale * shown + fit.shift) / inverse_z
    assert np.abs(found[270:] - 1).max() < 0.2 and np.abs(np.median(found[:270]) - 1) < 0.2
    assert fit.support == 300


def test_weights_move_a_fit_towards_the_heavy_points() -> None:
    d = np.linspace(1, 2, 100)
    inverse_z = d * np.where(np.arange(100) % 2, 1.0, 1.04)
    even, odd = (np.where(np.arange(100) % 2 == rest, 50.0, 1.0) for rest in (0, 1))
    assert fit_alignment(Samples(d, inverse_z, even), False).scale > 1.03
    assert fit_alignment(Samples(d, inverse_z, odd), False).scale < 1.01
