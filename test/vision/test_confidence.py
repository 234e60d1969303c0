"""Confidence of metric depth: what speaks against a pixel lowers it, and only there."""

from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.confidence import (
    confidence, disagreement, log_measures, mirror, ONE_LOOK, TWO_LOOKS, TYPICAL_RESIDUAL)
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

HW = (120, 160)
SCALE_SHIFT = (0.5, 0.1)
BLOB = np.s_[40:80, 60:100]


def slope() -> np.ndarray:
    """Return inverse depth that rises from 1 to 3 over the rows."""
    return np.repeat(np.linspace(1, 3, HW[0], dtype=np.float32)[:, None], HW[1], axis=1)


def test_the_mirrored_image_has_left_and_right_exchanged() -> None:
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert_array_equal(mirror(ColorImage(gray, 'mono')).pixels, [[2, 1, 0], [5, 4, 3]])
    colored = mirror(ColorImage(np.stack([gray] * 3, axis=-1), 'rgb'))
    assert colored.order == 'rgb' and colored.pixels.flags.c_contiguous
    assert_array_equal(colored.pixels[..., 1], [[2, 1, 0], [5, 4, 3]])


def test_a_mirrored_map_of_another_scale_and_shift_agrees() -> None:
    first = slope() + np.linspace(0, 1, HW[1], dtype=np.float32)
    assert disagreement(first, 3 * first[:, ::-1] + 2, SCALE_SHIFT).max() < 1e-5


def test_the_disagreement_is_the_share_of_depth_where_the_maps_differ() -> None:
    first, second = slope(), slope()
    second[BLOB] += 0.5
    found = disagreement(first, second[:, ::-1], SCALE_SHIFT)
    scale, shift = SCALE_SHIFT
    assert_allclose(found[60, 80], 0.5 * scale / (first[60, 80] * scale + shift), rtol=0.25)
    assert found[60, 80] > 5 * found[60, 20] and found[60, 80] > 5 * found[5, 80]


def test_another_size_and_pixels_without_depth_do_not_count() -> None:
    first = slope()
    smaller = first[::2, ::2].copy()
    smaller += np.linspace(0, 1e-3, 80, dtype=np.float32)
    first[10:20, 10:20] = np.nan
    found = disagreement(first, smaller, SCALE_SHIFT)
    assert found.shape == HW
    assert np.isnan(found[10:20, 10:20]).all()
    assert np.nanmax(found) < 0.01 and np.isnan(found).sum() == 100


@pytest.mark.parametrize('mirrored', [np.ones(HW, np.float32), np.full(HW, np.nan, np.float32)])
def test_a_flat_or_empty_second_map_gives_numbers(mirrored: np.ndarray) -> None:
    assert np.isfinite(disagreement(slope(), mirrored, SCALE_SHIFT)).all()


def test_confidence_falls_with_disagreement_depth_and_residual() -> None:
    inverse_z = np.full(HW, 0.5, np.float32)
    small, large = np.full(HW, 0.01, np.float32), np.full(HW, 0.3, np.float32)
    reference = confidence(inverse_z, 0.05, small)
    assert ((reference > 0) & (reference < 1)).all()
    for worse in (confidence(inverse_z, 0.05, large), confidence(inverse_z / 8, 0.05, small),
                  confidence(inverse_z, 0.15, small)):
        assert (worse < reference - 0.01).all()
    for worse in (confidence(inverse_z / 8, 0.05, None), confidence(inverse_z, 0.15, None)):
        assert (worse < confidence(inverse_z, 0.05, None) - 0.01).all()


@pytest.mark.parametrize('disagreeing', [None, np.full(HW, 0.02, np.float32)])
def test_confidence_falls_at_a_jump_but_not_on_a_slope(disagreeing: np.ndarray | None) -> None:
    inverse_z = slope()
    inverse_z[:, 80:] += 2
    found = confidence(inverse_z, 0.05, disagreeing)
    assert (found[:, 79:81].max(axis=1) < found[:, 40] - 0.1).all()
    assert np.abs(np.diff(found[10:-10, 40])).max() < 0.02


@pytest.mark.parametrize(('disagreeing', 'weights'), [
    (None, ONE_LOOK), (np.full(HW, 0.02, np.float32), TWO_LOOKS)])
def test_confidence_is_the_logistic_of_the_weighted_measures(
        disagreeing: np.ndarray | None, weights: tuple[float, ...]) -> None:
    measures = [np.ones(HW), *log_measures(slope(), 0.05, disagreeing)]
    odds = np.tensordot(weights, np.stack(measures), axes=1)
    assert_allclose(confidence(slope(), 0.05, disagreeing), 1 / (1 + np.exp(-odds)), rtol=1e-4)


def test_what_is_not_positive_is_very_far_and_nan_stays_nan() -> None:
    inverse_z = slope()
    inverse_z[:20], inverse_z[50, 70] = -1.0, np.nan
    found = confidence(inverse_z, 0.05, None)
    assert np.isnan(found[50, 70]) and np.isnan(found).sum() == 1
    assert_allclose(found[:10], confidence(np.full(HW, 0.01, np.float32), 0.05, None)[0, 0])


def test_an_unknown_residual_counts_as_the_typical_one() -> None:
    assert_array_equal(confidence(slope(), np.nan, None),
                       confidence(slope(), TYPICAL_RESIDUAL, None))


def test_the_measures_are_logarithms_in_the_order_of_the_weights() -> None:
    jump, depth, residual, change = log_measures(
        np.full(HW, 0.25, np.float32), 0.05, np.full((60, 80), 0.1, np.float32))
    assert_allclose(depth, np.log(4), rtol=1e-6)
    assert_allclose(residual, np.log(0.05), rtol=1e-5)
    assert_allclose(change, np.log(0.1), rtol=1e-5)
    assert_allclose(jump, np.log(1e-4), rtol=1e-6)
