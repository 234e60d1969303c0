"""Metres from motion without topics: which images wait, which depth meets which points, when."""

from collections.abc import Callable, Iterator
from dataclasses import replace
import threading
import time
from typing import Any

from depth_anything_ros.alignment.fit import AlignmentFrame, Fit, FittedSamples
from depth_anything_ros.alignment.motion import MotionSamples, MotionSettings
from depth_anything_ros.errors import AlignmentError, AlignmentHeldError
from depth_anything_ros.motion_parameters import MotionParameters
from depth_anything_ros.node import motion
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.node.motion import MotionSource, TrackedImage
from depth_anything_ros.parameters import AlignmentSettings, Settings
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
import pytest
from robot import as_received, image_message
from waiting import until, within

HW = (48, 64)
MAP = np.broadcast_to(np.linspace(0.2, 1.0, HW[1], dtype=np.float32), HW)
PIXELS = np.stack(np.meshgrid(np.arange(4, 60, 4), np.arange(4, 44, 4)), -1).reshape(-1, 2)
RGB = ColorImage(np.full((*HW, 3), (1, 2, 3), np.uint8), 'rgb')
VIEW = CameraView(None, Intrinsics(50.0, 50.0, 31.5, 23.5, HW))


def samples_at(stamp_s: float, scale: float = 1.0, state: str = 'samples', reason: str = '',
               shift: float = 0.0) -> MotionSamples:
    """Return points whose 1/z is ``scale`` times the map, and ``shift`` more."""
    inverse_z = scale * MAP[PIXELS[:, 1], PIXELS[:, 0]].astype(float) + shift
    return MotionSamples(PIXELS.astype(float), inverse_z, np.ones(len(PIXELS)), HW, stamp_s, state,
                         reason, len(PIXELS), 0.2)


def frame_at(stamp_s: float) -> AlignmentFrame:
    """Return the map as that of the image of a time."""
    return AlignmentFrame(MAP, VIEW.camera, '', stamp_s, 'camera')


class Poses:
    """A ``CameraPoses`` whose pose is known or not."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self.restart = ''
        self.closed = 0
        self.asked: list[tuple[str, float]] = []

    def pose(self, frame_id: str, stamp_s: float) -> np.ndarray:
        """Return the same pose at any time."""
        self.asked.append((frame_id, stamp_s))
        if not self.known.is_set():
            raise AlignmentError('no pose')
        return np.eye(4)

    def take_restart(self) -> str:
        """Return ``restart`` once."""
        reason, self.restart = self.restart, ''
        return reason

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1


class Tracker:
    """Stands for the MotionTracker: keeps what it gets and gives ``result`` for each image."""

    result: Callable[[float], MotionSamples] = staticmethod(samples_at)

    def __init__(self, settings: MotionSettings | None = None) -> None:
        self.settings = settings
        self.added: list[tuple[Any, ...]] = []
        self.resets: list[str] = []

    def add(self, *image: Any) -> MotionSamples:
        """Keep the image."""
        self.added.append(image)
        return type(self).result(image[-1])

    def reset(self, reason: str) -> None:
        """Keep the reason."""
        self.resets.append(reason)


class Rig:
    """A MotionSource with a tracker and poses that the test controls."""

    def __init__(self, alignment: AlignmentSettings, **settings: Any) -> None:
        self.settings = Settings(alignment=alignment, **settings)
        self.poses = Poses()
        self.warned: list[str] = []
        self.source = MotionSource(lambda: self.settings, self.poses, self.warned.append)
        self.tracker: Any = self.source._tracker

    def offer(self, *stamps_s: float, view: CameraView = VIEW) -> None:
        """Offer images of these times."""
        for stamp_s in stamps_s:
            message = image_message(RGB.pixels, stamp_ns=round(stamp_s * 1e9))
            self.source.offer(TrackedImage(as_received(message), lambda _: RGB, lambda _: view))

    def track(self, *stamps_s: float, **view: CameraView) -> None:
        """Offer images and wait until all of them were tracked."""
        self.poses.known.set()
        for stamp_s in stamps_s:
            before = self.source._outcome
            self.offer(stamp_s, **view)
            assert until(lambda before=before: self.source._outcome is not before), stamp_s

    def waiting_s(self) -> list[float]:
        """Return the stamps of the images that wait for their pose."""
        return [waiting.stamp_s for waiting in self.source._waiting]

    def fit(self, stamp_s: float, is_tracked: bool = True) -> float | None:
        """Return the scale that the depth of a time gives, None for no new fit."""
        fit = self.fit_of(stamp_s, False, is_tracked)
        return None if fit is None else round(fit.scale, 6)

    def fit_of(self, stamp_s: float, with_shift: bool, is_tracked: bool = True) -> Fit | None:
        """Return the fit of the depth of a time, whose image was offered before."""
        if is_tracked:
            self.source._accepted.append(stamp_s)
        return self.source.fit(frame_at(stamp_s), with_shift)

    def give(self, stamp_s: float, scale: float = 1.0) -> None:
        """Let the image of a time have points."""
        self.source._samples.append(samples_at(stamp_s, scale))
        self.source._outcome = motion._Outcome('', False)


@pytest.fixture
def make_rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Return a function that makes a source with these parameters."""
    monkeypatch.setattr(motion, 'MotionTracker', Tracker)
    monkeypatch.setattr(Tracker, 'result', staticmethod(samples_at))
    made: list[Rig] = []

    def make(source: str = 'motion', alignment: dict[str, Any] | None = None,
             **settings: Any) -> Rig:
        made.append(Rig(AlignmentSettings(source=source, **(alignment or {})), **settings))
        return made[-1]

    yield make
    for rig in made:
        within(20, rig.source.close)


def test_few_images_wait_for_their_pose_and_none_pushes_out_the_oldest(
        make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """At most six, 80 ms apart; a clock that is set back starts over at once."""
    monkeypatch.setattr(motion, '_WAIT_S', 60.0)
    rig = make_rig(motion=MotionParameters(time_offset=5.0))
    rig.offer(10.0, 10.0, 10.079, 10.0801, 10.1, 10.2, 8.5, 8.6, 8.7, 8.8, 8.9)
    expected_s = [10.0, 10.0801, 10.2, 8.5, 8.6, 8.7]
    assert rig.waiting_s() == expected_s
    assert until(lambda: len(rig.poses.asked) > 2)
    assert rig.source._outcome.reason == 'no image was tracked yet', 'none failed so far'
    assert set(rig.poses.asked) == {('camera_optical', 15.0)}
    rig.poses.known.set()
    assert until(lambda: not rig.waiting_s() and len(rig.tracker.added) == 6)
    assert [image[-1] for image in rig.tracker.added] == expected_s
    bgr, camera, pose, _ = rig.tracker.added[0]
    assert tuple(bgr[0, 0]) == (3, 2, 1) and camera is VIEW.camera
    assert np.array_equal(pose, np.eye(4))


def test_late_images_and_those_that_arrive_twice_are_not_tracked(
        make_rig: Callable[..., Rig]) -> None:
    """The tracker would start over; what goes back by more than a second is another run."""
    rig = make_rig()
    rig.track(10.0, 10.1)
    rig.offer(10.1, 10.05, 9.2)
    rig.track(10.2)
    rig.offer(10.2)
    rig.track(5.0, 5.1)
    assert [image[-1] for image in rig.tracker.added] == [10.0, 10.1, 10.2, 5.0, 5.1]


def test_an_image_whose_pose_does_not_come_makes_room_with_its_reason(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    with pytest.raises(AlignmentError, match='no image was tracked yet') as raised:
        rig.fit(9.9)
    assert raised.type is AlignmentError
    rig.offer(10.0, 10.1)
    assert until(lambda: rig.source._outcome.reason == 'no pose' and not rig.waiting_s())
    times = [stamp_s for _, stamp_s in rig.poses.asked]
    assert times == sorted(times) and set(times) == {10.0, 10.1} and not rig.tracker.added
    with pytest.raises(AlignmentError, match='no pose'):
        rig.fit(10.0)


def test_an_image_whose_camera_is_unknown_or_that_fails_unexpectedly_is_a_reason(
        make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig()
    rig.track(10.0, view=CameraView(None, None, 'not calibrated'))
    assert rig.source._outcome.reason == 'not calibrated' and not rig.tracker.added
    monkeypatch.setattr(Tracker, 'result', lambda stamp_s: 1 / 0)
    rig.track(10.1)
    assert 'an image was not tracked' in rig.source._outcome.reason
    monkeypatch.setattr(Tracker, 'result', staticmethod(samples_at))
    rig.track(10.2)
    assert rig.source._outcome.reason == '' and not rig.waiting_s()


def test_odometry_that_starts_over_and_a_tracker_that_does_are_logged(
        make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig()
    rig.track(10.0)
    rig.poses.restart = 'the clock'
    rig.track(10.1, 10.2)
    assert rig.tracker.resets == ['the clock']
    for second, state in enumerate(('gap', 'jump', 'still', 'start'), start=11):
        monkeypatch.setattr(Tracker, 'result', lambda stamp_s, state=state: samples_at(
            stamp_s, state=state, reason=f'a {state}'))
        rig.track(second)
        assert rig.source._outcome.reason == f'a {state}'
        error = AlignmentHeldError if state == 'still' else AlignmentError
        with pytest.raises(error, match=f'a {state}') as raised:
            rig.fit(second)
        assert raised.type is error
    assert rig.warned == [f'metres from motion start over: {reason}'
                          for reason in ('the clock', 'a gap', 'a jump')]
    assert [samples.stamp_s for samples in rig.source._samples] == [10.0, 10.1, 10.2]


def test_depth_and_points_of_an_image_meet_in_any_order_and_once(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.give(1.0)
    rig.give(10.0, 1.0)
    assert rig.fit(10.0) == 1.0
    assert rig.fit(10.0) is None
    assert rig.fit(10.1) is None and rig.fit(10.2) is None
    rig.give(10.1, 2.0)
    assert rig.fit(10.3) == 2.0
    rig.give(10.3, 4.0)
    rig.give(10.2, 3.0)
    assert rig.fit(10.4) == 4.0, 'the newest that has points'
    assert rig.fit(10.5) is None, 'and no older one later'


def test_depth_is_kept_for_a_second_and_eight_images(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.give(99.0)
    assert rig.fit(10.0) is None
    rig.give(10.0, 2.0)
    assert rig.fit(11.0) == 2.0
    rig.give(11.0, 3.0)
    assert rig.fit(12.001) is None
    for number in range(1, 9):
        rig.fit(12.1 + number / 100)
    assert [round(frame.stamp_s, 2) for frame in rig.source._frames] == [
        round(12.1 + number / 100, 2) for number in range(1, 9)]


def test_odometry_may_be_as_late_as_images_wait_for_it(make_rig: Callable[..., Rig]) -> None:
    """Images that wait are further apart than those of the camera: maps of the others go."""
    rig = make_rig()
    rig.give(99.0)
    scales = []
    for number in range(60):
        stamp_s = 10 + number / 60
        scales.append(rig.fit(stamp_s, is_tracked=number % 5 == 0))
        if number >= 30 and number % 5 == 0:
            rig.give(stamp_s - 0.5, float(number))
    assert [scale for scale in scales if scale] == [30.0, 35.0, 40.0, 45.0, 50.0, 55.0]


def test_images_without_a_stamp_of_their_own_are_named(make_rig: Callable[..., Rig]) -> None:
    """Those that arrive twice are not."""
    rig = make_rig()
    rig.give(99.0)
    for number in range(12):
        rig.fit(10.0 + number // 2 / 10)
    with pytest.raises(AlignmentError, match='all images have the stamp 0 s'):
        for _ in range(6):
            rig.fit(0.0)


def test_points_whose_depth_does_not_come_take_limited_room(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    for number in range(300):
        rig.give(10.0 + number / 30)
    assert len(rig.source._samples) < 300


def test_a_clock_that_is_set_back_forgets_depth_and_points(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.give(100.0)
    rig.give(10.0, 3.0)
    assert rig.fit(100.0) == 1.0
    assert rig.fit(10.0) is None, 'points of the first round'
    assert [frame.stamp_s for frame in rig.source._frames] == [10.0]
    rig.give(10.0, 2.0)
    assert rig.fit(10.1) == 2.0


def test_a_clock_that_is_set_back_forgets_the_ratio_of_shift_and_scale(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.source._outcome = motion._Outcome('', False)
    for stamp_s, shift in ((100.0, 0.5), (10.0, 0.0)):
        assert rig.fit_of(stamp_s, True) is None
        rig.source._samples.append(samples_at(stamp_s, shift=shift))
        fit = rig.fit_of(stamp_s + 0.1, True)
        assert fit.shift == pytest.approx(shift, abs=1e-6)


def test_a_computer_that_is_too_slow_is_called_so_after_three_seconds_with_images(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.give(0.0)
    for stamp_s in (10.0, 12.0, 13.0, 20.0, 22.0, 23.0):
        assert rig.fit(stamp_s) is None, stamp_s
    with pytest.raises(AlignmentError, match='too slow, so lower input_size or motion.points'):
        rig.fit(23.5)
    rig.give(23.5)
    assert rig.fit(24.0) == 1.0
    assert rig.fit(26.5) is None, 'three seconds after the last one that had both'
    with pytest.raises(AlignmentError, match='too slow'):
        rig.fit(26.6)


def test_the_limits_of_the_parameters_hold_and_an_image_beyond_them_is_not_fitted_again(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(alignment={'min_support': 1000})
    rig.give(10.0)
    with pytest.raises(AlignmentError, match='at least 1000 are needed'):
        rig.fit(10.0)
    assert rig.fit(10.1) is None


class Floor:
    """Stands for the FloorWitness: its fits have scales of their own."""

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self.asked: list[Any] = []

    def fit_alone(self, frame: AlignmentFrame, *reasons: Any) -> Fit:
        """Return a fit to the floor."""
        self.asked.append((frame.stamp_s, *reasons))
        return Fit(7.0, 0.0, 100, 0.0, 0.0, (0.1, 1.0))

    def fit_both(self, frame: AlignmentFrame, points: FittedSamples, with_shift: bool) -> Fit:
        """Return a fit to the floor and to the points."""
        self.asked.append((frame.stamp_s, points.fit.scale, with_shift))
        return replace(points.fit, scale=8.0, shift=4.0)


def test_the_floor_has_its_say_and_is_alone_while_the_camera_does_not_move(
        make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, 'FloorWitness', Floor)
    assert make_rig().source._floor is None
    rig = make_rig('motion+ground', camera_height=1.0)
    rig.source._outcome = motion._Outcome('standing', True)
    assert rig.fit(10.0) == 7.0
    rig.give(10.1, 2.0)
    assert rig.fit(10.1) == 8.0
    assert rig.fit(10.2) is None
    rig.source._outcome = motion._Outcome('dark', False)
    with pytest.raises(AlignmentError, match='dark'):
        rig.fit(10.3)
    assert rig.source._floor.asked == [(10.0, False, 'standing'),
                                       (10.1, pytest.approx(2.0), False)]
    rig.give(10.4, 2.0)
    assert rig.fit_of(10.4, True).shift == 4.0
    assert rig.source._fitter._ratios[-1][1] == 0.5, 'the ratio of both, not of the points alone'


@pytest.mark.parametrize(('min_support', 'points'), [(3, 5), (20, 20), (5000, 1000)])
def test_the_tracker_gets_the_parameters(
        make_rig: Callable[..., Rig], min_support: int, points: int) -> None:
    rig = make_rig(alignment={'min_support': min_support},
                   motion=MotionParameters(points=120, max_speed=3.0))
    assert rig.tracker.settings == MotionSettings(points=120, max_speed=3.0)
    rig.track(10.0)
    assert rig.tracker.settings.min_points == points
    rig.settings = replace(rig.settings, alignment=AlignmentSettings(
        source='motion', min_support=20))
    rig.track(10.1)
    assert rig.tracker.settings.min_points == 20


def test_a_closed_source_holds_no_image_and_takes_none(
        make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    begun, tracker = threading.Event(), Tracker.add

    def slow(*image: Any) -> MotionSamples:
        begun.set()
        assert until(lambda: rig.source._closing)
        time.sleep(0.05)
        return tracker(*image)

    monkeypatch.setattr(Tracker, 'add', slow)
    rig = make_rig()
    rig.give(10.0)
    rig.fit(10.0)
    rig.poses.known.set()
    rig.offer(10.1)
    assert begun.wait(20)
    rig.offer(10.2)
    within(20, rig.source.close)
    assert not rig.source._thread.is_alive() and len(rig.tracker.added) == 1
    rig.offer(11.0)
    assert not rig.waiting_s()
    within(20, rig.source.close)
    source = rig.source
    assert not source._samples and not source._frames and source._tracker is not rig.tracker
    assert rig.poses.closed == 2
