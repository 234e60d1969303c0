"""Which frame is computed next and in what order results leave: the flow policy, no OpenVINO."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
import threading
import time
from typing import Any, Protocol

from depth_anything_ros.inference.frame_stats import FrameStats, summary, FrameCounters
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
import numpy.typing as npt

Outcome = npt.NDArray[np.float32] | Exception
# A stamp this much older than the one before is a restarted clock, not a late frame.
CLOCK_RESTART_NS = 1_000_000_000
# What an idle thread gets to end when draining has taken all the time there was.
_LAST_MOMENT_S = 0.1


class InferenceEngine(Protocol):
    """What the estimator needs of an engine."""

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight."""

    def submit(self, image: ColorImage, on_done: Callable[[Outcome], None]) -> None:
        """Start inference; ``on_done`` is called once, from any thread."""


@dataclass(frozen=True)
class Frame:
    """
    One image on its way: when it was taken, how to read it, and what belongs to it.

    ``read`` is called once, for frames that are really computed; what it raises becomes the
    frame's outcome. ``context`` comes back untouched with the result. ``source`` names the camera
    where several share one engine.
    """

    stamp_ns: int
    read: Callable[[], ColorImage]
    context: Any = None
    source: str = ''


@dataclass(frozen=True)
class Result:
    """A frame, its image (None if unreadable) and its depth map or the error."""

    frame: Frame
    image: ColorImage | None
    outcome: Outcome


@dataclass
class _Job:
    frame: Frame
    offered_at: float
    image: ColorImage | None = None
    outcome: Outcome | None = None


@dataclass
class _Source:
    """One camera: the frame that waits, the stamp it may not precede, when it was last served."""

    waiting: _Job | None = None
    last_stamp_ns: int | None = None
    last_turn: int = 0
    tally: FrameCounters = field(default_factory=FrameCounters)

    def drop_waiting(self) -> None:
        self.tally.dropped += self.waiting is not None
        self.waiting = None


class FrameScheduler:
    """
    Newest frame of each source wins, results leave in order, nothing queues up.

    Among the sources that wait, the one that was served longest ago is next: under load each gets
    the same share of the engine, what one leaves goes to the others, and none has to register.

    Threading: ``offer`` may be called from any thread and never blocks; it replaces the waiting
    frame of its source. The thread ``dispatch`` owns reading and submitting and may block there.
    ``on_done`` of the engine only stores the outcome. The thread ``deliver`` alone calls
    ``on_result``, one at a time, in the order of submission. One lock guards all state and is
    never held during ``read``, ``submit`` or ``on_result``; whoever waits is woken only for what
    it waits for, because waking takes time from the inference. At most ``capacity`` frames are in
    flight and ``capacity`` + 2 between submission and the end of delivery, so a slow receiver
    slows the intake down instead of filling memory.
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
        """Take ``frame`` as the newest; False if it is late or nothing is taken now."""
        with self._state:
            if not self._accepting:
                return False
            source = self._sources.setdefault(frame.source, _Source())
            source.tally.offered += 1
            last = source.last_stamp_ns
            if last is not None and last - CLOCK_RESTART_NS < frame.stamp_ns < last:
                source.tally.late += 1
                return False
            source.last_stamp_ns = frame.stamp_ns
            source.drop_waiting()
            source.waiting = _Job(frame, time.monotonic())
            if self._has_room():
                self._work.notify()
            return True

    def resume(self) -> None:
        """Take frames again after ``drain``, whatever their stamps."""
        with self._state:
            self._accepting = not self._closed
            for source in self._sources.values():
                source.last_stamp_ns = None

    def drain(self, timeout_s: float) -> bool:
        """Take no more frames, drop those that wait, return whether the rest left in time."""
        with self._state:
            self._accepting = False
            for source in self._sources.values():
                source.drop_waiting()
            return self._idle.wait_for(lambda: not self._jobs and not self._delivering, timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Drain, then end both threads, in ``timeout_s`` whatever hangs; idempotent."""
        deadline = time.monotonic() + timeout_s
        self.drain(timeout_s)
        with self._state:
            self._closed = True
            self._work.notify()
            self._results.notify()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(_LAST_MOMENT_S, deadline - time.monotonic()))

    def stats(self, source: str | None = None) -> FrameStats:
        """Return what one source or all together came to; of an unknown one, nothing yet."""
        with self._state:
            return summary([found.tally for name, found in self._sources.items()
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
            except Exception as error:  # noqa: B902 - the receiver's fault must not end the thread
                outcome = error
            with self._state:
                self._delivering = False
                self._sources[job.frame.source].tally.add_result(
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
