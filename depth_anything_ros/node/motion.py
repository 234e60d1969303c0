"""Metres from the motion of one camera: tracks points in its images on a thread of its own."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
import threading
import time

from depth_anything_ros.alignment.fit import AlignmentFrame, check_fit, Fit
from depth_anything_ros.alignment.motion import MotionSamples, MotionSettings, MotionTracker
from depth_anything_ros.alignment.motion_fit import MotionFitter
from depth_anything_ros.alignment.motion_ground import FloorWitness
from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import (
    AlignmentError, AlignmentHeldError, CameraInfoError, DepthAnythingError)
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.node.odometry import CameraPoses
from depth_anything_ros.parameters import Settings
from depth_anything_ros.ros.callbacks import failure
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.stamps import CLOCK_RESTART_S
from depth_anything_ros.vision.color_image import ColorImage, to_bgr

THREAD_NAME = 'motion'
# An image waits this long for its pose, which arrives after it. At most so many images wait, at
# this distance in time, so that memory does not grow with the rate of the camera.
_WAIT_S, _WAITING, _WAITING_STEP_S = 0.5, 6, 0.08
# How often poses are looked for while images wait.
_POLL_S = 0.01
# Kept until depth and samples of the same image are there: the depth may be slow, or the odometry.
# So many maps of tracked images are enough for all images that wait.
_MAPS_KEPT, _MAP_AGE_S, _SAMPLES_KEPT = 8, 1.0, 256
# Depth and samples of one image must meet within this time.
_UNMATCHED_S = 3.0
# An image may arrive twice; the same stamp more often is a fault of the driver.
_REPEATED = 4
# Limits for the number of points that the tracker needs; check_fit compares with the parameter.
_FEWEST, _MOST = 5, 1000
_HELD = ('still', 'rotation')
# States after which the tracker has forgotten its images.
_LOGGED = ('gap', 'jump')


@dataclass(frozen=True, eq=False)
class TrackedImage:
    """An image as it was received, and the functions that decode it and return its camera."""

    serialized: SerializedMessage
    decode: Callable[[SerializedMessage], ColorImage]
    view: Callable[[tuple[int, int]], CameraView]


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: TrackedImage
    stamp_s: float
    since: float


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What the latest image gave: ``reason`` is empty if it gave samples."""

    reason: str
    held: bool


class MotionSource:
    """
    Points that are triangulated with the motion of the camera, as an ``AlignmentSource``.

    ``offer`` may be called from any thread and never blocks; images that come while the tracker is
    busy are skipped. ``fit`` must be called from one thread. It never waits: if the samples of
    its frame are not there yet, a later call fits them. ``poses`` is closed with this object.
    With ``alignment.source`` motion+ground the floor is a second witness.
    """

    def __init__(self, read_settings: Callable[[], Settings], poses: CameraPoses,
                 warn: Callable[[str], None]) -> None:
        self._read_settings = read_settings
        self._poses = poses
        self._warn = warn
        settings = read_settings()
        self._floor = (FloorWitness(read_settings) if settings.alignment.uses('ground') else None)
        self._tracker = MotionTracker(MotionSettings(
            points=settings.motion.points, max_speed=settings.motion.max_speed))
        self._changed = threading.Condition()
        self._closing = False
        self._waiting: deque[_Waiting] = deque()
        self._accepted: deque[float] = deque(maxlen=_SAMPLES_KEPT)
        self._samples: deque[MotionSamples] = deque(maxlen=_SAMPLES_KEPT)
        self._outcome = _Outcome('no image was tracked yet', False)
        self._frames: deque[AlignmentFrame] = deque(maxlen=_MAPS_KEPT)
        self._offered_s = self._fitted_s = self._asked_s = self._matched_s = -float('inf')
        self._repeated = 0
        self._fitter = MotionFitter()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def offer(self, image: TrackedImage) -> None:
        """Track a newer image as soon as its pose is known; skip it if others wait for theirs."""
        stamp_s = image.serialized.stamp_s
        with self._changed:
            # Late images, as the scheduler drops them, and images that arrive twice.
            if self._closing or 0 <= self._offered_s - stamp_s < CLOCK_RESTART_S:
                return
            if self._waiting and 0 <= stamp_s - self._waiting[-1].stamp_s < _WAITING_STEP_S:
                return
            # A newer image must not push out the oldest before it has waited long enough to fail.
            if len(self._waiting) == _WAITING:
                return
            self._offered_s = stamp_s
            self._accepted.append(stamp_s)
            self._waiting.append(_Waiting(image, stamp_s, time.monotonic()))
            self._changed.notify()

    def fit(self, frame: AlignmentFrame, with_shift: bool) -> Fit | None:
        """
        Return the fit of the newest frame that has samples, None if there is no new one.

        If the camera does not move, the fit of this frame to the floor, or AlignmentHeldError if
        there is none. AlignmentError if something else is wrong.
        """
        if frame.stamp_s < self._asked_s:
            self._forget()
        if not abs(frame.stamp_s - self._asked_s) <= _UNMATCHED_S:
            # There was no image that could have been matched.
            self._matched_s = frame.stamp_s
        self._check_stamp(frame.stamp_s)
        self._asked_s = frame.stamp_s
        with self._changed:
            samples = {sample.stamp_s: sample for sample in self._samples}
            outcome = self._outcome
            is_tracked = frame.stamp_s in self._accepted
        if is_tracked:
            self._frames.append(frame)
        while self._frames and frame.stamp_s - self._frames[0].stamp_s > _MAP_AGE_S:
            self._frames.popleft()
        tracked = [frame for frame in self._frames
                   if frame.stamp_s in samples and frame.stamp_s > self._fitted_s]
        if not tracked:
            if outcome.held and self._floor is not None:
                return self._floor.fit_alone(frame, with_shift, outcome.reason)
            self._check_outcome(outcome, frame.stamp_s)
            return None
        frame = tracked[-1]
        self._fitted_s = self._matched_s = frame.stamp_s
        motion = self._fitter.fit(frame.inverse_depth, samples[frame.stamp_s], with_shift)
        check_fit(motion.fit, self._read_settings().alignment)
        if self._floor is None:
            return motion.fit
        both = self._floor.fit_both(frame, motion, with_shift)
        self._fitter.correct(both)
        return both

    def close(self) -> None:
        """End the thread, unsubscribe and forget all images; idempotent."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()
        self._poses.close()
        self._frames.clear()
        self._samples.clear()

    def _check_stamp(self, stamp_s: float) -> None:
        """Raise AlignmentError if many images in a row have this stamp."""
        self._repeated = self._repeated + 1 if stamp_s == self._asked_s else 0
        if self._repeated >= _REPEATED:
            raise AlignmentError(f'all images have the stamp {stamp_s:g} s, so their motion is '
                                 'unknown; correct the driver of the camera')

    def _check_outcome(self, outcome: _Outcome, stamp_s: float) -> None:
        """Explain why there is no fit, unless one may follow."""
        if outcome.held:
            raise AlignmentHeldError(outcome.reason)
        if outcome.reason:
            raise AlignmentError(outcome.reason)
        if stamp_s - self._matched_s > _UNMATCHED_S:
            raise AlignmentError('no image has both depth and tracked points; the computer is too '
                                 'slow, so lower input_size or motion.points')

    def _forget(self) -> None:
        """Start over, because the clock did."""
        self._frames.clear()
        self._fitted_s = -float('inf')
        self._fitter = MotionFitter()
        with self._changed:
            self._samples.clear()

    def _run(self) -> None:
        while (waiting := self._next()) is not None:
            try:
                self._track(waiting)
            except DepthAnythingError as error:
                self._failed(str(error))
            except Exception as error:  # noqa: B902 - one bad image must not end the thread
                self._failed(failure('an image was not tracked', error))
        self._tracker = MotionTracker()  # releases the images

    def _next(self) -> _Waiting | None:
        """Return the oldest image that waits, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return None if self._closing else self._waiting[0]

    def _track(self, waiting: _Waiting) -> None:
        """Track an image, or leave it in the queue until its pose is known."""
        pose = self._pose(waiting)
        if pose is None:
            return
        image = waiting.image
        pixels = image.decode(image.serialized)
        view = image.view(pixels.size_hw)
        if view.camera is None:
            raise CameraInfoError(view.problem)
        if reason := self._poses.take_restart():
            self._tracker.reset(reason)
            self._warn(f'metres from motion start over: {reason}')
        self._tracker.settings = replace(self._tracker.settings, min_points=min(max(
            self._read_settings().alignment.min_support, _FEWEST), _MOST))
        samples = self._tracker.add(to_bgr(pixels), view.camera, pose, waiting.stamp_s)
        with self._changed:
            if samples.usable:
                self._samples.append(samples)
            self._outcome = _Outcome(samples.reason, samples.state in _HELD)
        if samples.state in _LOGGED:
            self._warn(f'metres from motion start over: {samples.reason}')

    def _pose(self, waiting: _Waiting) -> F64 | None:
        """Return the pose of an image, None after a pause if it may still come."""
        image, may_come = waiting.image, False
        try:
            return self._poses.pose(image.serialized.header.frame_id,
                                    waiting.stamp_s + self._read_settings().motion.time_offset)
        except AlignmentError:
            may_come = time.monotonic() - waiting.since < _WAIT_S
            if not may_come:
                raise
            with self._changed:
                self._changed.wait(_POLL_S)
            return None
        finally:
            # Whatever else is wrong with an image, the next ones must have their turn.
            if not may_come:
                self._remove(waiting)

    def _remove(self, waiting: _Waiting) -> None:
        with self._changed:
            # ``close`` forgets all of them.
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def _failed(self, reason: str) -> None:
        with self._changed:
            self._outcome = _Outcome(reason, False)
