"""
Schedules the frames of one camera or several: the newest first, results in order, all counted.

It works with any engine and knows nothing of OpenVINO.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
import threading
import time
from typing import Any, Protocol

from depth_anything_ros.inference.pool import OnDone, Outcome
from depth_anything_ros.stamps import CLOCK_RESTART_NS
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np

# Each thread gets this long to end, even if draining took all the time.
_SHORTEST_JOIN_S = 0.1
_LATENCIES_KEPT = 256


class InferenceEngine(Protocol):
    """What the scheduler needs of an engine."""

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight."""

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        """Start inference; ``on_done`` is called once, from any thread."""


@dataclass(frozen=True)
class Frame:
    """
    One image to compute.

    ``stamp_ns`` is its time stamp. ``read`` returns the image; it is called once, and only for
    frames that are computed, and its error becomes the frame's outcome. ``context`` is handed back
    with the result. ``source`` is the camera's name where several cameras share one engine.
    """

    stamp_ns: int
    read: Callable[[], ColorImage]
    context: Any = None
    source: str = ''


@dataclass(frozen=True)
class Result:
    """A frame, its image (None if unreadable), and its depth map [H, W] or the error."""

    frame: Frame
    image: ColorImage | None
    outcome: Outcome


@dataclass(frozen=True)
class FrameStats:
    """
    Counts since the start, and times of the last 256 results of each camera.

    offered = delivered + failed + dropped (replaced by a newer frame) + late (older than the
    previous frame) + those not finished yet. Latency is the time from ``offer`` to the end of
    ``on_result``. Times are NaN before the first result.
    """

    offered: int
    delivered: int
    failed: int
    dropped: int
    late: int
    latency_p50_ms: float
    latency_p95_ms: float
    last_depth_age_s: float
    last_error: str


@dataclass
class FrameCounters:
    """The counts of one camera while they grow; not thread-safe."""

    offered: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    late: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    last_depth_at: float = float('-inf')
    last_failure_at: float = float('-inf')
    last_error: str = ''

    def add_result(self, offered_at: float, error: Exception | None) -> None:
        """Count a result that was just delivered; ``offered_at`` is on the monotonic clock."""
        now = time.monotonic()
        if error is None:
            self.delivered += 1
            self.last_depth_at = now
            self.latencies_ms.append((now - offered_at) * 1000)
        else:
            self.failed += 1
            self.last_failure_at, self.last_error = now, str(error)


def _frame_stats(cameras: Sequence[FrameCounters]) -> FrameStats:
    """Return the counts and times of all cameras together."""
    latencies = [value for camera in cameras for value in camera.latencies_ms] or [float('nan')]
    p50, p95 = (float(value) for value in np.percentile(latencies, (50, 95)))
    last_at = max((camera.last_depth_at for camera in cameras), default=float('-inf'))
    age_s = time.monotonic() - last_at if np.isfinite(last_at) else float('nan')
    last_failed = max(cameras, key=lambda camera: camera.last_failure_at, default=FrameCounters())
    offered, delivered, failed, dropped, late = (
        sum(getattr(camera, name) for camera in cameras)
        for name in ('offered', 'delivered', 'failed', 'dropped', 'late'))
    return FrameStats(offered, delivered, failed, dropped, late, p50, p95, age_s,
                      last_failed.last_error)


@dataclass
class _Job:
    frame: Frame
    offered_at: float
    image: ColorImage | None = None
    outcome: Outcome | None = None


@dataclass
class _Source:
    """One camera: its waiting frame, its latest stamp, the turn in which it was last served."""

    waiting: _Job | None = None
    last_stamp_ns: int | None = None
    last_turn: int = 0
    counters: FrameCounters = field(default_factory=FrameCounters)

    def drop_waiting(self) -> None:
        self.counters.dropped += self.waiting is not None
        self.waiting = None


class FrameScheduler:
    """
    Computes the newest frame of each camera and delivers results in order; nothing queues up.

    Of the cameras that wait, the one served longest ago is next. So under load every camera gets
    the same share of the engine, and the share that one camera does not use goes to the others.
    Cameras need no registration.

    Threading: ``offer`` may be called from any thread and never blocks; it replaces the waiting
    frame of its camera. The thread ``dispatch`` reads and submits frames and may block there. The
    engine's ``on_done`` only stores the outcome. The thread ``deliver`` alone calls
    ``on_result``, one result at a time, in the order of submission. One lock guards all state and
    is never held during ``read``, ``submit`` or ``on_result``. Each thread waits on a condition of
    its own, because every needless wake-up takes time from the inference. At most ``capacity``
    frames are in flight, and ``capacity`` + 2 between submission and the end of delivery, so a
    slow receiver slows the frames down instead of filling memory.
    """

    def __init__(self, engine: InferenceEngine, on_result: Callable[[Result], None]) -> None:
        self._engine = engine
        self._on_result = on_result
        self._state = threading.Lock()
        self._work = threading.Condition(self._state)
        self._results = threading.Condition(self._state)
        self._idle = threading.Condition(self._state)
        self._sources: dict[str, _Source] = {}
        self._turn = 0
        self._jobs: deque[_Job] = deque()
        self._delivering = False
        self._accepting = True
        self._closed = False
        self._threads = [threading.Thread(target=target, name=name, daemon=True)
                         for target, name in ((self._dispatch, 'dispatch'),
                                              (self._deliver, 'deliver'))]
        for thread in self._threads:
            thread.start()

    def offer(self, frame: Frame) -> bool:
        """Make ``frame`` the newest of its camera; False if it is late or frames are refused."""
        with self._state:
            if not self._accepting:
                return False
            source = self._sources.setdefault(frame.source, _Source())
            source.counters.offered += 1
            last = source.last_stamp_ns
            if last is not None and last - CLOCK_RESTART_NS < frame.stamp_ns < last:
                source.counters.late += 1
                return False
            source.last_stamp_ns = frame.stamp_ns
            source.drop_waiting()
            source.waiting = _Job(frame, time.monotonic())
            if self._has_room():
                self._work.notify()
            return True

    def resume(self) -> None:
        """Accept frames again after ``drain``, with any stamp."""
        with self._state:
            self._accepting = not self._closed
            for source in self._sources.values():
                source.last_stamp_ns = None

    def drain(self, timeout_s: float) -> bool:
        """Refuse frames, drop the waiting ones; return whether the others finished in time."""
        with self._state:
            self._accepting = False
            for source in self._sources.values():
                source.drop_waiting()
            return self._idle.wait_for(lambda: not self._jobs and not self._delivering, timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Drain and end both threads, within ``timeout_s`` even if something hangs; idempotent."""
        deadline = time.monotonic() + timeout_s
        self.drain(timeout_s)
        with self._state:
            self._closed = True
            self._work.notify()
            self._results.notify()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(_SHORTEST_JOIN_S, deadline - time.monotonic()))

    def stats(self, source: str | None = None) -> FrameStats:
        """Return the counts of one camera, or of all together; zeros for an unknown one."""
        with self._state:
            return _frame_stats([found.counters for name, found in self._sources.items()
                                 if source in (None, name)])

    def _dispatch(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                job.image = job.frame.read()
                self._engine.submit(job.image, partial(self._done, job))
            except Exception as error:  # noqa: B902 - one bad frame must not end the thread
                self._done(job, error)

    def _next_job(self) -> _Job | None:
        with self._state:
            self._work.wait_for(lambda: self._closed or (
                self._has_room() and any(self._waiting_sources())))
            if self._closed:
                return None
            source = min(self._waiting_sources(), key=lambda waiting: waiting.last_turn)
            self._turn += 1
            source.last_turn = self._turn
            job, source.waiting = source.waiting, None
            assert job is not None
            self._jobs.append(job)
            return job

    def _waiting_sources(self) -> Iterator[_Source]:
        return (source for source in self._sources.values() if source.waiting is not None)

    def _has_room(self) -> bool:
        in_flight = sum(job.outcome is None for job in self._jobs)
        return in_flight < self._engine.capacity and len(self._jobs) <= self._engine.capacity

    def _done(self, job: _Job, outcome: Outcome) -> None:
        with self._state:
            job.outcome = outcome
            self._results.notify()
            self._work.notify()

    def _deliver(self) -> None:
        while (job := self._next_result()) is not None:
            assert job.outcome is not None
            outcome: Outcome = job.outcome
            try:
                self._on_result(Result(job.frame, job.image, outcome))
            except Exception as error:  # noqa: B902 - it must not end the thread
                outcome = error
            with self._state:
                self._delivering = False
                self._sources[job.frame.source].counters.add_result(
                    job.offered_at, outcome if isinstance(outcome, Exception) else None)
                self._work.notify()
                self._idle.notify_all()

    def _next_result(self) -> _Job | None:
        def ready() -> bool:
            return bool(self._jobs) and self._jobs[0].outcome is not None
        with self._state:
            self._results.wait_for(lambda: self._closed or ready())
            if not ready():
                return None
            self._delivering = True
            return self._jobs.popleft()
