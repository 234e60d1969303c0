"""A fixed set of infer requests of one compiled model, each with its own buffers and thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
import threading
import time
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import InferenceError, InferenceTimeoutError
from depth_anything_ros.inference.ir import error_reason
import numpy as np

if TYPE_CHECKING:
    import openvino as ov

# A depth map f32 [H, W] of the network's size, or the error of this image.
Outcome = F32 | Exception
OnDone = Callable[[Outcome], None]
# Returns the part of a depth map that is wanted.
Cut = Callable[[F32], F32]
# What is called with the outcome, the time-out of the start [s] if this is a start, and the cut.
_Job = tuple[OnDone, float | None, Cut]

# Makes a depth map of the maps [H, W] that a network returned, the depth first, all to be copied.
Finish = Callable[[Sequence[F32]], F32]

ENGINE_CLOSED = 'the engine is closed; configure the node or load the model again'


def copy_depth(maps: Sequence[F32]) -> F32:
    """Return a copy of the first map."""
    return maps[0].copy()


def whole_map(depth: F32) -> F32:
    """Return the map itself."""
    return depth


@dataclass
class _Slot:
    """One infer request, the buffers bound to it and the jobs of the thread that waits for it."""

    request: 'ov.InferRequest'
    image_nhwc: U8
    maps: tuple[F32, ...]
    jobs: 'SimpleQueue[_Job | None]' = field(default_factory=SimpleQueue)


class RequestPool:
    """
    Asynchronous inference with a time-out per request.

    ``submit`` starts a request and returns; a thread per request waits for it, copies the output
    and calls ``on_done`` exactly once with a depth map [H, W] of the network's size or an
    exception. ``finish`` makes the depth map of the network's output maps, which the next image
    overwrites. A request that times out is reported at once and becomes idle again when the device
    has released it. ``warn`` gets what ``on_done`` raises.

    OpenVINO's completion callback is not used, because it is not called for a request that fails
    or is cancelled; ``wait_for`` returns in all three cases.
    """

    def __init__(self, compiled: 'ov.CompiledModel', count: int, timeout_s: float, device: str,
                 finish: Finish = copy_depth,
                 warn: Callable[[str], None] = lambda line: None) -> None:
        self._finish = finish
        self._warn = warn
        self._timeout_s = timeout_s
        self._device = device
        self._lock = threading.Lock()
        self._closed = False
        self._idle: SimpleQueue[_Slot | None] = SimpleQueue()
        self._slots = [_make_slot(compiled) for _ in range(count)]
        self._threads: list[threading.Thread] = []
        try:
            for index, slot in enumerate(self._slots):
                thread = threading.Thread(target=self._serve, args=(slot,), daemon=True,
                                          name=f'infer_request_{index}')
                thread.start()
                self._threads.append(thread)
                self._idle.put(slot)
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """Return how many requests may be in flight."""
        return len(self._slots)

    def submit(self, fill: Callable[[U8], object], on_done: OnDone,
               start_timeout_s: float | None = None, cut: Cut = whole_map) -> None:
        """
        Let ``fill`` write the input u8 [H, W, 3] and start; blocks while no request is idle.

        ``on_done`` gets what ``cut`` returns of the depth map. ``start_timeout_s`` replaces the
        time-out for the self-check and the warm-up of a start.
        Raises any error of ``fill``, with the request idle again, and InferenceError if the pool
        is closed, also while a call waits.
        """
        slot = self._idle.get()
        try:
            if slot is not None:
                fill(slot.image_nhwc[0])
            with self._lock:
                if self._closed or slot is None:
                    raise InferenceError(ENGINE_CLOSED)
                slot.request.start_async(share_inputs=True)
                slot.jobs.put((on_done, start_timeout_s, cut))
        except BaseException:
            self._idle.put(slot)
            raise

    def close(self) -> None:
        """Wait for the requests in flight, at most the time-out, end the threads; idempotent."""
        with self._lock:
            self._closed = True
            for slot in self._slots:
                slot.jobs.put(None)
        self._idle.put(None)
        deadline = time.monotonic() + self._timeout_s + 1
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self, slot: _Slot) -> None:
        while (job := slot.jobs.get()) is not None:
            on_done, start_timeout_s, cut = job
            outcome = self._await(slot, start_timeout_s, cut)
            if not isinstance(outcome, InferenceTimeoutError):
                self._idle.put(slot)
                self._answer(on_done, outcome)
                continue
            self._answer(on_done, outcome)
            _release(slot.request)
            self._idle.put(slot)

    def _answer(self, on_done: OnDone, outcome: Outcome) -> None:
        try:
            on_done(outcome)
        except Exception as error:  # noqa: B902 - a fault of ``on_done`` must not end the thread
            self._warn(f'{type(error).__name__} after an image was computed: {error}')

    def _await(self, slot: _Slot, start_timeout_s: float | None, cut: Cut) -> Outcome:
        timeout_s = self._timeout_s if start_timeout_s is None else start_timeout_s
        try:
            if not slot.request.wait_for(max(1, round(timeout_s * 1000))):
                return InferenceTimeoutError(self._device, timeout_s, start_timeout_s is not None)
            if not np.isfinite(slot.maps[0]).any():
                return InferenceError(f'{self._device} returned no finite depth; try precision '
                                      'f32 or another device')
            return cut(self._finish(slot.maps))
        except Exception as error:  # noqa: B902 - also for lack of memory each image is answered
            return InferenceError(f'{self._device} failed: {error_reason(error)}; if this '
                                  'happens again, use another device')


def wait_for_one(submit: Callable[[OnDone], None]) -> F32:
    """Call ``submit`` and wait; return the depth map f32 [H, W] or raise the error."""
    done: SimpleQueue[Outcome] = SimpleQueue()
    submit(done.put)
    outcome = done.get()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _make_slot(compiled: 'ov.CompiledModel') -> _Slot:
    import openvino as ov
    request = compiled.create_infer_request()
    image = np.zeros(list(compiled.input(0).shape), np.uint8)
    request.set_input_tensor(ov.Tensor(image, shared_memory=True))
    maps = []
    for index, port in enumerate(compiled.outputs):
        values = np.zeros(list(port.shape), np.float32)
        if values.ndim < 2 or values.size != values.shape[-2] * values.shape[-1]:
            raise InferenceError(
                f'the network returns an array of {list(values.shape)} instead of one '
                'depth map; copy the model again, its weights seem damaged')
        request.set_output_tensor(index, ov.Tensor(values, shared_memory=True))
        maps.append(values.reshape(values.shape[-2:]))
    return _Slot(request, image, tuple(maps))


def _release(request: 'ov.InferRequest') -> None:
    """Cancel a request and wait until the device has released it."""
    try:
        request.cancel()
        while not request.wait_for(1000):
            pass
    except RuntimeError:
        return
