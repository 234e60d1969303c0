"""The floor beside the points from motion: made rooms, wrong pitch, height and odometry."""

from dataclasses import replace

from depth_anything_ros.alignment.fit import AlignmentFrame, FittedSamples
from depth_anything_ros.alignment.motion import MotionSamples
from depth_anything_ros.alignment.motion_fit import MotionFitter
from depth_anything_ros.alignment.motion_ground import FloorWitness
from depth_anything_ros.errors import AlignmentError, AlignmentHeldError
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.parameters import Settings
import numpy as np
import pytest
from tools.measure.navigation_alignment import FLOOR_CAMERA, floor_view, FloorView, Room

ROOM = Room(0.6, 0.2, shift=0.1, noise=0.02)
HELD = 'the camera only turned; drive a little'


def settings(height_m: float = 0.6, pitch: float = 0.2, **alignment: float) -> Settings:
    """Return the parameters of a camera."""
    return Settings(camera_height=height_m, camera_pitch=pitch, alignment=AlignmentSettings(
        source='motion+ground', **alignment))


def frame_of(view: FloorView) -> AlignmentFrame:
    """Return what a source knows of a view."""
    return AlignmentFrame(view.inverse_depth, FLOOR_CAMERA, '', 1.0, 'camera')


def points_of(view: FloorView, error: float = 1.0, rows: tuple[int, int] = (2, 250),
              with_shift: bool = True) -> FittedSamples:
    """Return points from motion within ``rows`` whose metres are ``error`` times too long."""
    rng = np.random.default_rng(1)
    pixels = np.stack([rng.integers(2, 334, 300), rng.integers(*rows, 300)], axis=1)
    inverse_z = view.inverse_z[pixels[:, 1], pixels[:, 0]] / error
    return MotionFitter().fit(view.inverse_depth, MotionSamples(
        pixels.astype(float), inverse_z, np.ones(300), view.inverse_depth.shape, 1.0, 'samples',
        '', 300, 0.2), with_shift)


def error_of(fit: object, view: FloorView) -> float:
    """Return the mean relative error of depth up to 6 m after a fit."""
    near = view.inverse_z > 1 / 6
    found = fit.scale * view.inverse_depth[near] + fit.shift
    return float(np.mean(np.abs(view.inverse_z[near] / found - 1)))


@pytest.mark.parametrize('with_shift', [True, False])
def test_both_give_one_fit_that_halves_the_error_of_each(with_shift: bool) -> None:
    """The odometry is 6 % too long, the height of the camera 6 % too small."""
    view = floor_view(replace(ROOM, shift=0.1 if with_shift else 0.0), 0)
    motion = points_of(view, 1.06, with_shift=with_shift)
    witness = FloorWitness(lambda: settings(0.6 * 0.94))
    alone = witness.fit_alone(frame_of(view), with_shift, HELD)
    both = witness.fit_both(frame_of(view), motion, with_shift)
    assert error_of(both, view) < 0.7 * min(error_of(alone, view), error_of(motion.fit, view))
    assert (both.shift != 0) is with_shift
    assert both.support > 500 and both.outliers < 0.5


def test_points_at_one_distance_get_their_shift_from_the_floor() -> None:
    """Points on the wall alone fix a scale: nearer depth is far off without the floor."""
    view = floor_view(replace(ROOM, shift=0.15, boxes=0), 0)
    motion = points_of(view, rows=(2, 40))
    assert motion.fit.shift == 0.0 and error_of(motion.fit, view) > 0.1
    both = FloorWitness(lambda: settings()).fit_both(frame_of(view), motion, True)
    assert both.shift == pytest.approx(0.15, abs=0.02) and error_of(both, view) < 0.03


@pytest.mark.parametrize('error', [0.6, 1.5])
def test_a_contradiction_is_refused_with_both_scales(error: float) -> None:
    view = floor_view(replace(ROOM, shift=0.0), 0)
    motion = points_of(view, error, with_shift=False)
    now = settings()
    witness = FloorWitness(lambda: now)
    with pytest.raises(AlignmentError, match='contradict each other') as refused:
        witness.fit_both(frame_of(view), motion, False)
    assert f'scale {motion.fit.scale:.3g} and shift 0 by the motion' in str(refused.value)
    assert 'scale 0.251 and shift 0 by the floor' in str(refused.value)
    assert not isinstance(refused.value, AlignmentHeldError), 'the time-out counts'
    now = settings(max_disagreement=1.0)
    assert witness.fit_both(frame_of(view), motion, False).scale != motion.fit.scale


def test_after_a_contradiction_the_floor_alone_gives_no_metres_until_both_agree() -> None:
    """
    A camera of wrong height begins with wrong metres, which must not return at each stop.

    A view without floor proves nothing.
    """
    view = floor_view(ROOM, 0)
    motion = points_of(view)
    now = settings(height_m=0.9)
    witness = FloorWitness(lambda: now)
    witness.fit_alone(frame_of(view), True, HELD)
    with pytest.raises(AlignmentError):
        witness.fit_both(frame_of(view), motion, True)

    def assert_refused() -> None:
        with pytest.raises(AlignmentError, match='until both agree') as refused:
            witness.fit_alone(frame_of(view), True, HELD)
        assert not isinstance(refused.value, AlignmentHeldError), 'the time-out counts'

    assert_refused()
    wall = floor_view(replace(ROOM, pitch_rad=-0.8, wall_m=3.0), 0)
    now = settings(height_m=0.9, pitch=-0.8)
    on_the_wall = points_of(wall)
    assert witness.fit_both(frame_of(wall), on_the_wall, True) is on_the_wall.fit
    now = settings(height_m=0.9)
    assert_refused()
    now = settings()
    witness.fit_both(frame_of(view), motion, True)
    assert error_of(witness.fit_alone(frame_of(view), True, HELD), view) < 0.05


def test_without_a_floor_in_the_view_the_motion_serves_alone_and_a_stop_holds() -> None:
    view = floor_view(replace(ROOM, pitch_rad=-0.8, wall_m=3.0), 0)
    motion = points_of(view)
    witness = FloorWitness(lambda: settings(pitch=-0.8))
    assert witness.fit_both(frame_of(view), motion, True) is motion.fit
    with pytest.raises(AlignmentHeldError, match='only turned.*; no floor: '):
        witness.fit_alone(frame_of(view), True, HELD)


def test_a_floor_that_the_limits_refuse_is_no_witness() -> None:
    """Its height is wrong by half, but it is too small a part of the view to count."""
    view = floor_view(ROOM, 0)
    motion = points_of(view)
    witness = FloorWitness(lambda: settings(height_m=0.9, max_outliers=0.01))
    assert witness.fit_both(frame_of(view), motion, True) is motion.fit
