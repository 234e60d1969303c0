"""
Depth of all images of a source: no image is dropped, and memory is bounded.

One thread reads, the caller's thread starts inference, other threads write results. Each queue
holds a few images, so that memory does not grow with the source, and the device does not wait for
the disk or the encoder.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
import math
from queue import Queue
import threading
import time

import cv2
from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import DepthAnythingError, InferenceError, line_of
from depth_anything_ros.inference.engine import Engine
from depth_anything_ros.inference.pool import Outcome
from depth_anything_ros.media.source import ImageItem
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.transforms import resize_depth

# Receives the image and its depth [H, W] of the same size.
Write = Callable[[ImageItem, ColorImage, F32], None]

_LOOK_AHEAD = 4


@dataclass(frozen=True)
class Failure:
    """An image without a result and the reason; ``name`` is empty if the source itself failed."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f'{self.name}: {self.reason}' if self.name else self.reason


@dataclass(frozen=True)
class RunSummary:
    """How many images were written, which failed, and seconds from first read to last write."""

    done: int
    failed: tuple[Failure, ...]
    seconds: float

    @property
    def rate(self) -> float:
        """Return the images written per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class _Job:
    """An image on its way; ``outcome`` comes from the engine, in any order."""

    item: ImageItem
    image: ColorImage
    outcome: 'Future[Outcome]' = field(default_factory=Future)


def run_images(engine: Engine, items: Iterable[ImageItem], write: Write, *, writers: int = 1,
               stop: threading.Event | None = None,
               on_progress: Callable[[], None] = lambda: None) -> RunSummary:
    """
    Compute and write all ``items``; the summary lists those that cannot be read or computed.

    With one writer ``write`` is called in the order of ``items``, with more from several threads
    at once. ``stop`` ends the run after the images in flight. ImageError of ``write`` counts as a
    failure of that image; any other error, such as a full disk, stops the run and is raised.
    ``on_progress`` is called after each image, from any thread.
    """
    return _Run(engine, write, stop or threading.Event(), on_progress).run(items, writers)


class _Run:
    """The state of one call of ``run_images``."""

    def __init__(self, engine: Engine, write: Write, stop: threading.Event,
                 on_progress: Callable[[], None]) -> None:
        self._engine = engine
        self._write = write
        self._stop = stop
        self._on_progress = on_progress
        self._decoded: Queue[tuple[ImageItem, ColorImage] | None] = Queue(_LOOK_AHEAD)
        self._jobs: Queue[_Job | None] = Queue(engine.capacity + _LOOK_AHEAD)
        self._lock = threading.Lock()
        self._done = 0
        self._failed: list[tuple[float, Failure]] = []
        self._fatal: BaseException | None = None

    def run(self, items: Iterable[ImageItem], writers: int) -> RunSummary:
        """Run all threads to the end and return the summary; call it once."""
        start = time.monotonic()
        threads = [threading.Thread(target=self._read_all, args=(items,), name='read',
                                    daemon=True)]
        threads += [threading.Thread(target=self._write_all, name=f'write_{index}', daemon=True)
                    for index in range(writers)]
        for thread in threads:
            thread.start()
        try:
            while (entry := self._decoded.get()) is not None:
                if not self._ending():
                    self._submit(_Job(*entry))
        except BaseException:
            # A second Ctrl-C: do not wait for a device that hangs, and write no more files.
            self._fatal = InferenceError('interrupted')
            raise
        for _ in range(writers):
            self._jobs.put(None)
        for thread in threads:
            thread.join()
        if self._fatal is not None:
            raise self._fatal
        failed = tuple(failure for _, failure in sorted(self._failed, key=lambda pair: pair[0]))
        return RunSummary(self._done, failed, time.monotonic() - start)

    def _ending(self) -> bool:
        return self._stop.is_set() or self._fatal is not None

    def _read_all(self, items: Iterable[ImageItem]) -> None:
        try:
            for item in items:
                if self._ending():
                    break
                try:
                    image = item.read()
                except DepthAnythingError as error:
                    self._fail(Failure(item.name, str(error)), item.index)
                else:
                    self._decoded.put((item, image))
        except DepthAnythingError as error:
            self._fail(Failure('', str(error)), math.inf)
        except BaseException as error:  # noqa: B902 - the caller gets it, not the thread
            self._fatal = error
        finally:
            self._decoded.put(None)

    def _submit(self, job: _Job) -> None:
        self._jobs.put(job)
        try:
            self._engine.submit(job.image, job.outcome.set_result)
        except Exception as error:  # noqa: B902 - one bad image must not end the run
            job.outcome.set_result(error)

    def _write_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            depth = job.outcome.result()
            try:
                if self._fatal is None:
                    self._write_one(job, depth)
            except BaseException as error:  # noqa: B902 - the caller gets it, not the thread
                self._fatal = error

    def _write_one(self, job: _Job, depth: Outcome) -> None:
        try:
            if isinstance(depth, Exception):
                raise depth
            self._write(job.item, job.image, resize_depth(depth, job.image.size_hw))
        except (DepthAnythingError, cv2.error) as error:
            self._fail(Failure(job.item.name, line_of(error)), job.item.index)
        else:
            with self._lock:
                self._done += 1
            self._on_progress()

    def _fail(self, failure: Failure, index: float) -> None:
        with self._lock:
            self._failed.append((index, failure))
        self._on_progress()
