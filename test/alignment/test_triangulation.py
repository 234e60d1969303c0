"""Inverse depth of points in two cameras: against exact geometry, brute force and noise."""

import cv2
from depth_anything_ros.alignment.triangulation import (
    epipolar_directions, Errors, Motions, nearest_known, ray_angles, relative_motions,
    rotation_angles, triangulate, turned_rays)
from depth_anything_ros.arrays import F64
import numpy as np
import pytest

ERRORS = Errors(1e-3, 1e-9, 1e-9)
RNG = np.random.default_rng(0)
POINTS = np.column_stack([RNG.uniform(-2, 2, (200, 2)), RNG.uniform(1.5, 8, 200)])
TURNS = np.stack([cv2.Rodrigues(np.array(turn))[0]
                  for turn in ((0.02, -0.1, 0.01), (0.0, 0.0, 0.0), (-0.05, 0.02, 0.2))])
MOVES = np.array([[0.3, 0.05, -0.02], [0.0, 0.0, 0.4], [-0.1, 0.2, 0.1]])
MOTIONS = Motions(TURNS, MOVES)


def rays_of(points: F64) -> F64:
    return points[..., :2] / points[..., 2:]


def seen_by_keys(points: F64, motions: Motions = MOTIONS) -> F64:
    return rays_of(points @ motions.rotation.swapaxes(1, 2) + motions.translation_m[:, None])


def test_exact_points_have_their_inverse_depth_and_no_error() -> None:
    found = triangulate(seen_by_keys(POINTS), rays_of(POINTS), MOTIONS, ERRORS)
    assert found.inverse_z == pytest.approx(np.tile(1 / POINTS[:, 2], (3, 1)), rel=1e-6)
    assert found.epipolar.max() < 1e-9
    apart = POINTS @ TURNS[0].T
    cosine = np.einsum('ni,ni->n', apart, apart + MOVES[0]) / (
        np.linalg.norm(apart, axis=1) * np.linalg.norm(apart + MOVES[0], axis=1))
    assert found.parallax[0] == pytest.approx(np.arccos(cosine), abs=1e-6)
    ahead = np.arccos(np.abs(POINTS[:, 2]) / np.linalg.norm(POINTS, axis=1))
    assert found.from_epipole[1] == pytest.approx(ahead, abs=1e-6)


def test_the_motion_between_two_poses_moves_points_from_one_camera_to_the_other() -> None:
    keys = np.tile(np.eye(4), (2, 1, 1))
    keys[0, :3, :3], keys[0, :3, 3] = TURNS[0], (1.0, 2.0, 3.0)
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = TURNS[2], (0.5, 2.0, 2.5)
    found = relative_motions(keys, camera)
    for number, key in enumerate(keys):
        expected = np.linalg.inv(key) @ camera
        assert found.rotation[number] == pytest.approx(expected[:3, :3])
        assert found.translation_m[number] == pytest.approx(expected[:3, 3])
    assert found.baseline_m == pytest.approx([np.sqrt(0.5), np.linalg.norm([0.5, 2.0, 2.5])])


def test_noisy_points_are_where_the_reprojection_error_is_smallest() -> None:
    seen = seen_by_keys(POINTS) + RNG.normal(0, 1e-3, (3, 200, 2))
    found = triangulate(seen, rays_of(POINTS), MOTIONS, ERRORS)
    candidates = np.linspace(0.8, 1.25, 2001)
    for key in range(3):
        for point in range(0, 200, 20):
            start = found.inverse_z[key, point]
            if start <= 0 or found.from_epipole[key, point] < 0.05:
                continue
            ray = np.append(rays_of(POINTS)[point], 1)
            places = ray @ TURNS[key].T + (start * candidates)[:, None] * MOVES[key]
            errors = np.linalg.norm(rays_of(places) - seen[key, point], axis=1)
            assert candidates[errors.argmin()] == pytest.approx(1, abs=2e-3)


def test_the_sampson_error_is_the_distance_by_which_both_rays_must_move() -> None:
    seen = seen_by_keys(POINTS) + RNG.normal(0, 1e-3, (3, 200, 2))
    found = triangulate(seen, rays_of(POINTS), MOTIONS, ERRORS)
    essential = np.stack([np.cross(np.eye(3), -move) @ turn for turn, move in zip(TURNS, MOVES)])
    for key in range(3):
        moved, fixed = cv2.correctMatches(essential[key], rays_of(POINTS)[None], seen[key][None])
        distance = np.sqrt(((moved[0] - rays_of(POINTS)) ** 2).sum(1)
                           + ((fixed[0] - seen[key]) ** 2).sum(1))
        known = found.from_epipole[key] > 0.1
        assert found.epipolar[key][known] == pytest.approx(distance[known], rel=0.05, abs=2e-6)


def test_the_variance_is_that_of_many_noisy_measurements() -> None:
    rng = np.random.default_rng(1)
    errors = Errors(5e-4, 1e-9, 1e-9)
    runs = np.stack([
        triangulate(seen_by_keys(POINTS) + rng.normal(0, errors.ray, (3, 200, 2)),
                    rays_of(POINTS + 0.0) + rng.normal(0, errors.ray, (200, 2)), MOTIONS,
                    errors).inverse_z for _ in range(400)])
    exact = triangulate(seen_by_keys(POINTS), rays_of(POINTS), MOTIONS, errors)
    known = exact.from_epipole > 0.2
    ratio = runs.var(axis=0)[known] / exact.variance[known]
    assert np.percentile(ratio, 5) > 0.6 and np.percentile(ratio, 95) < 1.6


def test_an_error_of_the_direction_counts_more_near_the_direction_of_motion() -> None:
    found = triangulate(seen_by_keys(POINTS), rays_of(POINTS), MOTIONS, Errors(1e-9, 1e-9, 0.02))
    tilted = Motions(TURNS, MOVES + 0.02 * np.array([[0, 0, .3], [.4, 0, 0], [.1, 0, .2]]))
    changed = triangulate(seen_by_keys(POINTS), rays_of(POINTS), tilted, ERRORS)
    known = found.from_epipole > 0.05
    deviation = np.abs(changed.inverse_z - found.inverse_z) / np.sqrt(found.variance)
    assert np.percentile(deviation[known], 95) < 3
    share = np.sqrt(found.variance[1]) * POINTS[:, 2]
    order = np.argsort(found.from_epipole[1])
    assert share[order[:20]].mean() > 1.5 * share[order[-20:]].mean()


def test_points_that_would_be_behind_a_camera_have_no_positive_depth() -> None:
    backwards = Motions(TURNS, -MOVES)
    found = triangulate(seen_by_keys(POINTS), rays_of(POINTS), backwards, ERRORS)
    assert (found.inverse_z < 0).all()
    assert found.epipolar.max() < 1e-9


def test_a_point_that_a_key_frame_has_not_seen_and_a_camera_that_stood_still_give_nan() -> None:
    seen = seen_by_keys(POINTS)
    seen[0, 3] = np.nan
    still = Motions(TURNS, MOVES * np.array([[1], [1], [0]]))
    found = triangulate(seen, rays_of(POINTS), still, ERRORS)
    assert np.isnan(found.inverse_z[0, 3]) and np.isfinite(found.inverse_z[0, 4])
    assert not (found.inverse_z[2] > 0).any()


def test_a_point_at_another_distance_from_a_key_frame_is_farther_along_the_epipolar_line() -> None:
    seen = seen_by_keys(POINTS)
    directions = epipolar_directions(rays_of(POINTS), MOTIONS)
    for key, (turn, move) in enumerate(zip(TURNS, MOVES)):
        distances = (turn @ POINTS.T).T[:, 2] + move[2]
        place = np.column_stack([seen[key], np.ones(len(POINTS))]) * distances[:, None] * 1.001
        moved = rays_of((place - move) @ turn) - rays_of(POINTS)
        cross = moved[:, 0] * directions[key, :, 1] - moved[:, 1] * directions[key, :, 0]
        lengths = np.hypot(*moved.T) * np.hypot(*directions[key].T)
        assert np.abs(cross / lengths).max() < 0.01


def test_a_point_without_a_distance_has_that_of_the_nearest_one() -> None:
    values, rays = 1 / POINTS[:, 2], rays_of(POINTS)
    values[RNG.random(200) < 0.4] = np.nan
    known = np.flatnonzero(np.isfinite(values))
    for value, ray, found in zip(values, rays, nearest_known(values, rays)):
        nearest = min(known, key=lambda index: float(np.hypot(*(rays[index] - ray))))
        assert found == (value if np.isfinite(value) else values[nearest])
    assert not nearest_known(np.full(3, np.nan), rays[:3]).any()


def test_a_pure_rotation_has_no_parallax() -> None:
    turn = Motions(TURNS, np.zeros((3, 3)))
    turned = turned_rays(rays_of(POINTS), turn)
    assert ray_angles(seen_by_keys(POINTS, turn), turned).max() < 1e-7
    angles = rotation_angles(TURNS, np.eye(3)[None])
    assert angles == pytest.approx(np.linalg.norm([cv2.Rodrigues(t)[0][:, 0] for t in TURNS],
                                                  axis=1))
    half = cv2.Rodrigues(np.array([0.0, 3.0, 0.0]))[0]
    assert rotation_angles(half[None], np.eye(3)[None]) == pytest.approx(3.0)
