"""Metres from motion in made scenes: every way of moving, wrong odometry, objects that move."""

from collections.abc import Callable, Iterable

import cv2
from depth_anything_ros.alignment.motion import MotionSamples, MotionSettings, MotionTracker
from depth_anything_ros.alignment.point_tracks import PointTracks
from depth_anything_ros.arrays import F64, U8
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.vision.geometry import Intrinsics
from motion_scene import CAMERA, inverse_z_at, LENS, Plate, pose, view
import numpy as np
import pytest

SETTINGS = MotionSettings(points=150)


def drive(poses: Iterable[F64], camera: Intrinsics = CAMERA, *,
          odometry: Callable[[F64, int], F64] = lambda true, number: true,
          paint: Callable[[U8, int], U8] = lambda image, number: image,
          tracker: MotionTracker | None = None, start_s: float = 10.0,
          ) -> list[tuple[MotionSamples, F64]]:
    """Return the samples of each image at 10 Hz, with its true 1/z."""
    tracker = tracker or MotionTracker(SETTINGS)
    found = []
    for number, true in enumerate(poses):
        image, inverse_z = view(true, camera)
        samples = tracker.add(paint(image, number), camera, odometry(true, number),
                              start_s + number / 10)
        found.append((samples, inverse_z))
    return found


def sideways(number: int, step_m: float = 0.03) -> list[F64]:
    return [pose(step_m * index) for index in range(number)]


def ratios(samples: MotionSamples, inverse_z: F64) -> F64:
    """Return the found 1/z of each sample, divided by the true one."""
    return samples.inverse_z / inverse_z_at(inverse_z, samples.pixels)


@pytest.mark.parametrize('camera', [CAMERA, LENS], ids=['pinhole', 'lens'])
def test_points_have_their_distance_after_a_sideways_motion(camera: Intrinsics) -> None:
    samples, inverse_z = drive(sideways(9), camera)[-1]
    off = ratios(samples, inverse_z)
    assert samples.state == 'samples' and samples.usable and samples.reason == ''
    assert len(off) > 60 and samples.size_hw == (240, 320) and samples.stamp_s == 10.8
    assert np.median(off) == pytest.approx(1, abs=0.01)
    assert np.mean(np.abs(off - 1) < 0.1) > 0.8
    assert samples.baseline_m == pytest.approx(0.24, abs=0.1)


def test_the_points_are_spread_over_the_image() -> None:
    samples, _ = drive(sideways(9))[-1]
    fields = (samples.pixels // (80, 80)).astype(int)
    assert len(np.unique(fields, axis=0)) == 12


def test_a_lens_that_is_not_in_the_calibration_makes_the_distances_wrong() -> None:
    tracker = MotionTracker(SETTINGS)
    for number in range(9):
        image, inverse_z = view(pose(0.03 * number), LENS)
        samples = tracker.add(image, CAMERA, pose(0.03 * number), number / 10)
    outer = np.hypot(*(samples.pixels - (158, 121)).T) > 110
    assert np.abs(ratios(samples, inverse_z)[outer] - 1).mean() > 0.04


def test_weights_tell_which_points_are_precise() -> None:
    found = drive(sideways(9))[2:]
    errors = np.concatenate([samples.inverse_z - inverse_z_at(inverse_z, samples.pixels)
                             for samples, inverse_z in found])
    weights = np.concatenate([samples.weights for samples, _ in found])
    order = np.argsort(weights)
    light, heavy = (np.median(np.abs(errors[half])) for half in np.array_split(order, 2))
    assert heavy < 0.7 * light
    assert np.median(np.abs(errors) * np.sqrt(weights)) < 1


def test_driving_ahead_leaves_out_the_direction_of_motion() -> None:
    found = drive([pose(z_m=0.05 * number) for number in range(14)])
    samples, inverse_z = found[-1]
    assert samples.usable
    assert np.median(ratios(samples, inverse_z)) == pytest.approx(1, abs=0.03)
    from_centre = np.hypot(*((samples.pixels - (158, 121)) / (280, 275)).T)
    assert from_centre.min() > 0.95 * np.tan(np.radians(SETTINGS.min_epipole_angle))


def test_a_pure_rotation_gives_nothing() -> None:
    found = drive([pose(yaw_deg=1.5 * number) for number in range(12)])
    assert all(not samples.usable and len(samples.pixels) == 0 for samples, _ in found)
    assert found[-1][0].state == 'rotation' and 'turned' in found[-1][0].reason


def test_a_pure_rotation_with_noisy_odometry_gives_nothing() -> None:
    rng = np.random.default_rng(0)
    found = drive([pose(yaw_deg=1.5 * number) for number in range(12)],
                  odometry=lambda true, number: true @ pose(*rng.normal(0, 0.004, 3),
                                                            *rng.normal(0, 0.2, 2)))
    assert not any(samples.usable for samples, _ in found)


def test_standing_still_gives_nothing_until_the_camera_moves_and_keeps_points_after() -> None:
    tracker = MotionTracker(SETTINGS)
    found = drive([pose()] * 5, tracker=tracker)
    assert [samples.state for samples, _ in found] == ['start'] + ['still'] * 4
    moved = drive([*sideways(7), *[pose(0.18)] * 5], tracker=tracker, start_s=10.5)
    for samples, inverse_z in moved[5:]:
        assert samples.usable
        assert np.median(ratios(samples, inverse_z)) == pytest.approx(1, abs=0.02)


def test_a_motion_too_short_for_the_distance_gives_nothing() -> None:
    tracker = MotionTracker(SETTINGS)
    for number in range(6):
        image, _ = view(pose(0.012 * number), plates=(Plate(20.0),))
        samples = tracker.add(image, CAMERA, pose(0.012 * number), number / 10)
    assert samples.state == 'rotation' and 'move the camera further' in samples.reason


def test_noise_of_the_odometry_changes_the_scale_little() -> None:
    rng = np.random.default_rng(3)
    medians = [np.median(ratios(*found)) for found in drive(
        sideways(16), odometry=lambda true, number: true @ pose(
            *rng.normal(0, 0.002, 3), *rng.normal(0, 0.07, 2)))[4:] if found[0].usable]
    assert len(medians) >= 9
    assert np.median(medians) == pytest.approx(1, abs=0.03)
    assert np.abs(np.array(medians) - 1).max() < 0.15


def test_wheels_that_slip_scale_everything() -> None:
    samples, inverse_z = drive(sideways(9), odometry=lambda true, number: pose(
        2 * true[0, 3]))[-1]
    assert samples.usable
    assert np.median(ratios(samples, inverse_z)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize('odometry', [
    lambda true, number: pose(-true[0, 3]),
    lambda true, number: pose(0.0, 0.0, true[0, 3]),
    lambda true, number: pose(true[0, 3], yaw_deg=2.0 * number),
    lambda true, number: pose(true[0, 3] + (0.15 if number >= 6 else 0.0), true[1, 3]),
], ids=['backwards', 'other frame', 'turns', 'jump below the limits'])
def test_odometry_that_contradicts_the_images_gives_nothing(
        odometry: Callable[[F64, int], F64]) -> None:
    found = drive(sideways(9), odometry=odometry)
    for samples, inverse_z in found[6:]:
        assert not samples.usable, np.median(ratios(samples, inverse_z))
    reasons = [samples.reason for samples, _ in found if samples.state == 'contradiction']
    assert reasons and 'check its frame' in reasons[0]


def test_odometry_that_stands_still_while_the_image_moves_is_named() -> None:
    found = drive(sideways(9, 0.04), odometry=lambda true, number: pose())
    assert not any(samples.usable for samples, _ in found)
    assert any('odometry stands still' in samples.reason for samples, _ in found)


def test_samples_return_some_time_after_a_contradiction() -> None:
    found = drive(sideways(34, 0.025), odometry=lambda true, number: pose(
        true[0, 3], 0.0, 0.2 if number >= 8 else 0.0))
    states = [samples.state for samples, _ in found]
    assert 'contradiction' in states[8:10] and states[-1] == 'samples'
    assert np.median(ratios(*found[-1])) == pytest.approx(1, abs=0.03)


def test_a_moving_object_does_not_count() -> None:
    def paint(image: U8, number: int) -> U8:
        painted = image.copy()
        top = 40 + 6 * number
        painted[top:top + 80, 130:230] = view(pose(yaw_deg=40))[0][60:140, 100:200]
        return painted
    samples, inverse_z = drive(sideways(9), paint=paint)[-1]
    top = 40 + 6 * 8
    inside = ((samples.pixels > (136, top + 6)) & (samples.pixels < (224, top + 74))).all(axis=1)
    assert samples.usable and inside.sum() <= 2
    assert np.median(ratios(samples, inverse_z)[~inside]) == pytest.approx(1, abs=0.02)


def test_noise_and_changing_light_are_no_problem() -> None:
    rng = np.random.default_rng(1)
    samples, inverse_z = drive(sideways(9), paint=lambda image, number: np.clip(
        image * (1 - 0.02 * number) + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8))[-1]
    assert samples.usable
    assert np.median(ratios(samples, inverse_z)) == pytest.approx(1, abs=0.02)


def test_a_flash_of_the_exposure_loses_no_points() -> None:
    """A wall of little contrast, 100 to 150."""
    found = drive(sideways(9), paint=lambda image, number: np.clip(
        (90 + 0.3 * image) * (1.3 if number == 8 else 1.0), 0, 255).astype(np.uint8))
    (before, _), (samples, inverse_z) = found[-2:]
    assert len(samples.pixels) > 0.8 * len(before.pixels)
    assert np.median(ratios(samples, inverse_z)) == pytest.approx(1, abs=0.02)


def test_near_points_are_followed_at_few_images_per_second() -> None:
    """The plate at 1.5 m moves by 37 pixels, an eighth of the image."""
    samples, inverse_z = drive([pose(0.2 * number - 0.9) for number in range(5)])[-1]
    near = inverse_z_at(inverse_z, samples.pixels) > 0.6
    assert near.sum() > 40
    assert np.median(ratios(samples, inverse_z)[near]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize('structure, usable', [((1.0, 0.0, 100.0), False),
                                               ((100.0, 0.0, 1.0), True)])
def test_points_on_edges_along_the_motion_do_not_count(
        monkeypatch: pytest.MonkeyPatch, structure: tuple[float, float, float],
        usable: bool) -> None:
    monkeypatch.setattr(PointTracks, 'structure',
                        lambda tracks: np.tile(structure, (len(tracks.pixels), 1)))
    samples = drive(sideways(9))[-1][0]
    assert samples.usable is usable
    # The time-out counts, because the camera moves.
    assert usable or samples.state == 'few_tracks' and 'edges' in samples.reason


@pytest.mark.parametrize('level', [0, 128])
def test_an_image_without_texture_gives_nothing(level: int) -> None:
    found = drive(sideways(6), paint=lambda image, number: np.full_like(image, level))
    assert found[-1][0].state == 'few_tracks' and 'texture' in found[-1][0].reason


@pytest.mark.parametrize('moved, passed_s, state, reason', [
    (pose(0.21), 3.0, 'gap', '3.00 s between two images'),
    (pose(0.21), -5.0, 'gap', '-5.00 s between two images'),
    (pose(3.0), 0.1, 'jump', 'does not jump'),
    (pose(0.21, 0.4), 0.1, 'jump', r'jumped by 0.40 m'),
    (pose(0.21, yaw_deg=90), 0.1, 'jump', 'rad/s'),
])
def test_a_gap_or_a_jump_ends_all_key_frames(moved: F64, passed_s: float, state: str,
                                             reason: str) -> None:
    tracker = MotionTracker(SETTINGS)
    drive(sideways(7), tracker=tracker)
    samples = tracker.add(view(pose(0.21))[0], CAMERA, moved, 10.6 + passed_s)
    assert samples.state == state and reason in samples.reason
    again = drive(sideways(8), odometry=lambda true, number: moved @ true, tracker=tracker,
                  start_s=10.7 + passed_s)
    assert again[-1][0].usable


def test_a_steady_motion_beyond_the_speed_limit_is_a_jump() -> None:
    tracker = MotionTracker(MotionSettings(points=150, max_speed=0.2))
    found = drive(sideways(3), tracker=tracker)
    assert [samples.state for samples, _ in found] == ['start', 'jump', 'jump']
    assert 'changed by 0.3 m/s' in found[-1][0].reason


def test_a_reset_and_another_camera_end_all_key_frames() -> None:
    tracker = MotionTracker(SETTINGS)
    drive(sideways(7), tracker=tracker)
    tracker.reset('the covariance is too large')
    samples = tracker.add(view(pose(0.21))[0], CAMERA, pose(0.21), 10.7)
    assert (samples.state, samples.reason) == ('start', 'the covariance is too large')
    samples = tracker.add(view(pose(0.24), LENS)[0], LENS, pose(0.24), 10.8)
    assert samples.state == 'start' and 'calibration' in samples.reason


def test_colour_and_large_images_give_pixels_of_the_image_that_was_given() -> None:
    camera = Intrinsics(840.0, 825.0, 475.0, 364.0, (720, 960))
    tracker = MotionTracker(MotionSettings(points=150, tracked_width=320))
    for number in range(9):
        image, inverse_z = view(pose(0.03 * number))
        colour = cv2.cvtColor(cv2.resize(image, (960, 720)), cv2.COLOR_GRAY2BGR)
        samples = tracker.add(colour, camera, pose(0.03 * number), number / 10)
    assert samples.pixels[:, 0].max() > 800 and samples.size_hw == (720, 960)
    small = samples.pixels / 3 - 1 / 3
    off = samples.inverse_z / inverse_z_at(inverse_z, small)
    assert np.median(off) == pytest.approx(1, abs=0.02)


SCALED = pose()
SCALED[:3, :3] *= 1.1
NAN = pose()
NAN[0, 3] = np.nan


@pytest.mark.parametrize('image, odom_from_camera, stamp_s, message', [
    (np.zeros((240, 320), np.float32), pose(), 1.0, 'give uint8'),
    (np.zeros((240, 320, 4), np.uint8), pose(), 1.0, r'\[H, W, 3\]'),
    (np.zeros((480, 640), np.uint8), pose(), 1.0, '640x480 pixels .* for 320x240'),
    (np.zeros((240, 320), np.uint8), pose(), np.nan, 'stamp of the image is nan'),
    (np.zeros((240, 320), np.uint8), pose()[:3], 1.0, '4x4 matrix'),
    (np.zeros((240, 320), np.uint8), NAN, 1.0, 'finite numbers'),
    (np.zeros((240, 320), np.uint8), SCALED, 1.0, 'quaternion'),
])
def test_bad_input_is_an_error_that_changes_nothing(image: U8, odom_from_camera: F64,
                                                    stamp_s: float, message: str) -> None:
    tracker = MotionTracker(SETTINGS)
    drive(sideways(7), tracker=tracker)
    with pytest.raises(AlignmentError, match=message):
        tracker.add(image, CAMERA, odom_from_camera, stamp_s)
    samples = tracker.add(view(pose(0.21))[0], CAMERA, pose(0.21), 10.7)
    assert samples.usable


@pytest.mark.parametrize('size_hw', [(1, 1), (3, 300), (300, 15), (40, 4000)])
def test_an_image_too_small_to_follow_points_in_is_an_error_that_says_so(
        size_hw: tuple[int, int]) -> None:
    """Also a long one that is small once it is reduced for tracking."""
    with pytest.raises(AlignmentError, match='no points can be followed in an image of'):
        MotionTracker(SETTINGS).add(np.zeros(size_hw, np.uint8),
                                    Intrinsics(100.0, 100.0, 0.0, 0.0, size_hw), pose(), 1.0)


@pytest.mark.parametrize('name, value', [
    ('points', 10), ('tracked_width', 50), ('key_frames', 0), ('min_parallax', 0.0),
    ('max_gap', float('nan')), ('min_baseline', -1.0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(AlignmentError, match=name):
        MotionSettings(**{name: value})
