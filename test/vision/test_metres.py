"""From what a model gives to metres."""

from depth_anything_ros.node.frame_products import correction
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.depth import corrected, Correction, inverse_depth, metres
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

CAMERA = Intrinsics(240.0, 240.0, 79.5, 59.5, (120, 160))
DEPTH = np.array([[0.5, 2.0, 4.0]], np.float32)


def test_a_metric_model_is_left_alone_by_default() -> None:
    rule = correction('metric', Settings(), CAMERA)
    assert rule == Correction()
    assert metres(DEPTH, 'metric', rule, None) is DEPTH


def test_scale_and_offset_correct_a_metric_model_and_what_ends_behind_the_camera_is_nan() -> None:
    rule = correction('metric', Settings(metric_scale=2.0, metric_offset=-1.5), CAMERA)
    assert_array_equal(corrected(DEPTH, rule), [[np.nan, 2.5, 6.5]])


def test_the_focal_length_scales_metres_by_that_of_the_training_camera() -> None:
    """Twice the focal length in short sides: things are twice as far as they look."""
    settings = Settings(metric_focal=1.0)
    assert correction('metric', settings, CAMERA).factor == 2.0
    assert correction('metric', settings, None).factor == 1.0
    assert correction('relative', settings, CAMERA) == Correction()


def test_a_relative_model_has_no_metres_until_scale_and_shift_are_known() -> None:
    assert metres(DEPTH, 'relative', Correction(), None) is None
    found = metres(DEPTH, 'relative', Correction(), (0.5, -1.0))
    assert_allclose(found, [[np.inf, np.inf, 1.0]])


def test_an_alignment_of_a_metric_model_is_in_its_corrected_inverse_depth() -> None:
    rule = Correction(2.0, 0.0)
    d = inverse_depth(DEPTH, 'metric', rule)
    assert_allclose(d, 1 / (2 * DEPTH))
    assert_allclose(metres(DEPTH, 'metric', rule, (0.5, 0.1)), 1 / (0.5 * d + 0.1), rtol=1e-6)


def test_what_is_not_a_number_stays_so() -> None:
    depth = np.array([[np.nan, 1.0]], np.float32)
    for kind in ('relative', 'metric'):
        found = metres(depth, kind, Correction(1.5, 0.0), (1.0, 0.0))
        assert np.isnan(found[0, 0]) and np.isfinite(found[0, 1])
