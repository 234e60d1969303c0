"""Sky by a network's own map, and by inverse depth alone."""

from dataclasses import replace

from depth_anything_ros.vision.sky import sky_mask, with_sky
import numpy as np
import pytest
from tiny import TINY_INFO

METRIC = replace(TINY_INFO, kind='metric', max_depth_m=20.0)
NAMED = replace(TINY_INFO, sky_threshold=0.3)


def scene() -> np.ndarray:
    """Return inverse depth: noise near 0 above a horizon, a tree that reaches the border."""
    depth = np.full((40, 60), 2.0, np.float32)
    depth[:20] = np.random.default_rng(0).random((20, 60)).astype(np.float32) * 0.01
    depth[:22, 30:33] = 1.0
    return depth


def test_sky_of_inverse_depth_is_what_is_far_and_touches_the_upper_border() -> None:
    depth = scene()
    expected = np.zeros(depth.shape, bool)
    expected[:20] = True
    expected[:, 30:33] = False
    far_window = depth.copy()
    far_window[30:35, 10:20] = 0
    holed = depth.copy()
    holed[30:35, 10:20] = np.nan
    for found in (depth, far_window, holed):
        np.testing.assert_array_equal(sky_mask(found, TINY_INFO), expected)


def test_what_is_far_below_something_near_is_no_sky() -> None:
    depth = scene()
    depth[0, 30:] = 1.0
    found = sky_mask(depth, TINY_INFO)
    assert found[:20, :30].all() and not found[:, 30:].any()
    depth[0] = 1.0
    assert not sky_mask(depth, TINY_INFO).any()


def test_a_view_of_nothing_but_sky_is_sky() -> None:
    assert sky_mask(np.zeros((8, 9), np.float32), TINY_INFO).all()


def test_the_noise_is_a_share_of_the_near_depth() -> None:
    for scale in (0.01, 1.0, 100.0):
        assert sky_mask(scene() * np.float32(scale), TINY_INFO).sum() == 20 * 57
    assert not sky_mask(scene() + np.float32(0.1), TINY_INFO).any()


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('depth', [
    np.ones((8, 9), np.float32), np.full((8, 9), np.nan, np.float32)])
def test_maps_without_sky_have_none(depth: np.ndarray) -> None:
    assert not sky_mask(depth, TINY_INFO).any()


def test_a_metric_model_that_does_not_name_sky_has_none() -> None:
    assert not sky_mask(scene(), METRIC).any()


def test_the_networks_own_map_wins_and_needs_no_border() -> None:
    depth, sky = np.ones((4, 5), np.float32), np.zeros((4, 5), np.float32)
    sky[2, 2], sky[3, 3] = 0.3, 0.29
    marked = with_sky(NAMED, (depth, sky))
    np.testing.assert_array_equal(marked == 0, sky >= 0.3)
    np.testing.assert_array_equal(sky_mask(marked, NAMED), sky >= 0.3)
    metric = replace(METRIC, sky_threshold=0.3)
    metres = with_sky(metric, (depth, sky))
    np.testing.assert_array_equal(np.isnan(metres), sky >= 0.3)
    np.testing.assert_array_equal(sky_mask(metres, metric), sky >= 0.3)
    assert (depth == 1).all()


def test_without_a_map_of_sky_the_depth_is_copied() -> None:
    depth = scene()
    copied = with_sky(TINY_INFO, (depth,))
    assert copied is not depth
    np.testing.assert_array_equal(copied, depth)
