"""Flying pixels go, surfaces stay."""

import cv2
from depth_anything_ros.vision.edge_filter import without_edges
import numpy as np
import pytest


def box_before_wall(box_m: float = 1.0, wall_m: float = 3.0) -> np.ndarray:
    """Return a box before a wall as a network draws them: the edge is a ramp of inverse depth."""
    inverse = np.full((120, 160), 1 / wall_m, np.float32)
    inverse[40:80, 60:100] = 1 / box_m
    return 1 / cv2.GaussianBlur(inverse, (0, 0), 1.0)


def floor(height_m: float, size_hw: tuple[int, int] = (480, 640)) -> np.ndarray:
    """Return a floor that a level camera sees below the horizon, NaN above."""
    rows = (np.arange(size_hw[0]) - size_hw[0] / 2) / (0.75 * size_hw[1])
    below = np.where(rows > 0, rows, np.nan)
    return np.repeat((height_m / below)[:, None], size_hw[1], axis=1).astype(np.float32)


def test_the_points_between_two_surfaces_go() -> None:
    depth_m = box_before_wall()
    flying = (depth_m > 1.1) & (depth_m < 2.8)
    filtered = without_edges(depth_m, 0.05)
    assert flying.sum() > 200
    assert np.isnan(filtered[flying]).mean() > 0.99


def test_the_surfaces_on_both_sides_stay() -> None:
    filtered = without_edges(box_before_wall(), 0.05)
    assert np.isfinite(filtered[45:75, 65:95]).all()
    assert np.isfinite(filtered[:33]).all() and np.isfinite(filtered[:, :53]).all()


@pytest.mark.parametrize('height_m', [0.2, 0.5, 1.5])
def test_a_floor_seen_at_a_flat_angle_stays_whole(height_m: float) -> None:
    depth_m = floor(height_m)
    near = depth_m < 15
    from_row_to_row = -np.diff(depth_m[near[:, 0], 0]) / depth_m[near[:, 0], 0][1:]
    assert from_row_to_row.max() > 0.02
    assert np.isfinite(without_edges(depth_m, 0.02))[near].all()


def test_a_higher_threshold_keeps_smaller_jumps() -> None:
    depth_m = box_before_wall(2.8, 3.0)
    assert np.isnan(without_edges(depth_m, 0.01)).any()
    assert np.isfinite(without_edges(depth_m, 0.2)).all()


def test_the_same_scene_in_twice_the_pixels_loses_the_same_share() -> None:
    large = cv2.resize(box_before_wall(), (1280, 960), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(box_before_wall(), (640, 480), interpolation=cv2.INTER_LINEAR)
    lost = [np.isnan(without_edges(depth_m, 0.02)).mean() for depth_m in (small, large)]
    assert lost[0] > 0.02
    assert lost[1] == pytest.approx(lost[0], rel=0.1)


def test_an_invalid_pixel_takes_no_neighbour_with_it() -> None:
    depth_m = np.full((60, 80), 2.0, np.float32)
    depth_m[20:30, 20:30] = np.nan
    assert np.array_equal(np.isnan(without_edges(depth_m, 0.05)), np.isnan(depth_m))


def test_infinity_stays_and_what_blends_into_it_goes() -> None:
    depth_m = np.full((60, 80), 2.0, np.float32)
    depth_m[:30] = np.inf
    filtered = without_edges(depth_m, 0.05)
    assert np.isinf(filtered[:29]).all() and (filtered[31:] == 2.0).all()
    assert np.isnan(filtered[29:31]).all()


def test_threshold_0_returns_the_input_and_others_leave_it_alone() -> None:
    depth_m = box_before_wall()
    before = depth_m.copy()
    assert without_edges(depth_m, 0.0) is depth_m
    without_edges(depth_m, 0.05)
    assert np.array_equal(depth_m, before)
