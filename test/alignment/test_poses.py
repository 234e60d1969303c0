"""Poses from numbers, and between measured ones."""

import cv2
from depth_anything_ros.alignment.poses import measured_pose, pose_matrix, PoseBuffer
from depth_anything_ros.errors import AlignmentError
import numpy as np
from numpy.testing import assert_allclose
import pytest

STILL = (0.0, 0.0, 0.0, 1.0)


def about_z(degrees: float) -> tuple[float, float, float, float]:
    """Return the quaternion of a turn about z."""
    half = np.radians(degrees) / 2
    return (0.0, 0.0, float(np.sin(half)), float(np.cos(half)))


def buffer(*poses: tuple[float, float, float]) -> PoseBuffer:
    """Return a buffer of poses: stamp, x and the turn about z in degrees."""
    made = PoseBuffer()
    for stamp_s, x, degrees in poses:
        made.add(stamp_s, (x, 0.0, 0.0), about_z(degrees))
    return made


def turn_degrees(pose: np.ndarray) -> float:
    """Return the turn about z of a matrix."""
    return float(np.degrees(np.arctan2(pose[1, 0], pose[0, 0])))


def test_a_pose_turns_by_roll_then_pitch_then_yaw_and_moves() -> None:
    """The optical frame of a camera that looks along x: z ahead, x to the right."""
    pose = pose_matrix((1.0, 2.0, 3.0, -np.pi / 2, 0.0, -np.pi / 2))
    assert_allclose(pose @ [0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 1.0], atol=1e-12)
    assert_allclose(pose @ [1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 3.0, 1.0], atol=1e-12)


def test_the_angles_are_those_about_fixed_axes() -> None:
    roll, pitch, yaw = (cv2.Rodrigues(angle * axis)[0]
                        for angle, axis in zip((0.3, -0.7, 1.9), np.eye(3)))
    pose = pose_matrix((0.0, 0.0, 0.0, 0.3, -0.7, 1.9))
    assert_allclose(pose[:3, :3], yaw @ pitch @ roll, atol=1e-12)


@pytest.mark.parametrize('length', [1.0, 2.0, 1e-3])
def test_a_quaternion_of_any_length_is_a_rotation(length: float) -> None:
    pose = measured_pose((1.0, 2.0, 3.0), [length * part for part in about_z(90.0)])
    assert_allclose(pose @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 3.0, 1.0], atol=1e-12)
    assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)


def test_a_quaternion_turns_about_its_axis() -> None:
    axis, angle = np.array([2.0, -1.0, 2.0]) / 3, 2.1
    pose = measured_pose((0.0, 0.0, 0.0), [*np.sin(angle / 2) * axis, np.cos(angle / 2)])
    assert_allclose(pose[:3, :3], cv2.Rodrigues(angle * axis)[0], atol=1e-12)


@pytest.mark.parametrize('xyzw', [(0.0,) * 4, (np.nan, 0.0, 0.0, 1.0), (np.inf, 0.0, 0.0, 1.0)])
def test_a_quaternion_that_is_no_rotation_is_refused(xyzw: tuple[float, ...]) -> None:
    with pytest.raises(AlignmentError, match='quaternion'):
        measured_pose((0.0, 0.0, 0.0), xyzw)


@pytest.mark.parametrize('last', [90.0, 0.001, -170.0])
@pytest.mark.parametrize('share', [0.0, 0.25, 0.5, 1.0])
def test_between_two_poses_both_parts_change_evenly(share: float, last: float) -> None:
    found = buffer((10.0, 1.0, 0.0), (10.2, 3.0, last)).at(10.0 + 0.2 * share, 0.25)
    assert_allclose(found[:3, 3], [1.0 + 2.0 * share, 0.0, 0.0], atol=1e-9)
    assert turn_degrees(found) == pytest.approx(last * share, abs=1e-6)


def test_a_quaternion_of_the_other_sign_is_the_same_rotation() -> None:
    """Else the camera would turn around the long way between two messages."""
    made = buffer((10.0, 0.0, 0.0))
    made.add(10.1, (0.0, 0.0, 0.0), [-part for part in about_z(100.0)])
    assert turn_degrees(made.at(10.02, 0.25)) == pytest.approx(20.0)


@pytest.mark.parametrize(('stamp_s', 'reason'), [
    (9.9, 'oldest pose is 0.100 s newer'), (11.7, 'newest pose is 0.500 s older'),
    (10.6, '1.000 s apart')])
def test_a_time_without_poses_on_both_sides_is_refused_with_the_distance(
        stamp_s: float, reason: str) -> None:
    made = buffer((10.0, 0.0, 0.0), (10.2, 0.1, 0.0), (11.2, 0.2, 0.0))
    with pytest.raises(AlignmentError, match=reason):
        made.at(stamp_s, 0.25)
    for same_s in (11.2, 11.2 + 1e-6, 11.2 - 1e-6):
        assert made.at(same_s, 0.25)[0, 3] == 0.2, 'at a message no other one is needed'


def test_an_empty_buffer_says_so() -> None:
    with pytest.raises(AlignmentError, match='no pose yet'):
        PoseBuffer().at(1.0, 0.25)


def test_older_and_repeated_poses_are_ignored_and_old_ones_are_forgotten() -> None:
    made = buffer((10.0, 1.0, 0.0), (10.1, 2.0, 0.0), (10.05, 9.0, 0.0), (10.1, 9.0, 0.0))
    assert made.newest_s == 10.1
    assert made.at(10.05, 0.25)[0, 3] == pytest.approx(1.5)
    for step in range(2000):
        made.add(10.2 + step / 100, (0.0, 0.0, 0.0), STILL)
    assert len(made._poses) <= 1001
    with pytest.raises(AlignmentError, match='oldest pose'):
        made.at(10.1, 0.25)
    made.clear()
    assert made.newest_s is None


@pytest.mark.parametrize('xyz', [(np.nan, 0.0, 0.0), (0.0, 0.0, -np.inf)])
def test_a_position_that_is_not_finite_is_refused(xyz: tuple[float, ...]) -> None:
    made = PoseBuffer()
    with pytest.raises(AlignmentError, match='not finite'):
        made.add(1.0, xyz, STILL)
    assert made.newest_s is None
