"""Cost of several cameras on one engine, and delay of frames while the engine is switched."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
import statistics
import threading
import time

from depth_anything_ros.errors import InferenceError
from depth_anything_ros.inference.engine import EngineOptions
from depth_anything_ros.inference.scheduler import Frame, FrameScheduler, Result
from depth_anything_ros.inference.switchable_engine import SwitchableEngine
from depth_anything_ros.model_info import Size
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np

_IMAGE_HW = (480, 640)
_OFFER_EVERY_S = 0.005
_CAMERAS = (1, 2, 4)
_ROUNDS, _RESULTS = 5, 20
_SIZES = (518, 392)
_SWITCH_ROUNDS, _UNDISTURBED = 3, 10


class _Saturated:
    """Cameras that always have a newer frame, and the time and source of each result."""

    def __init__(self, engine: SwitchableEngine, cameras: int) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (*_IMAGE_HW, 3), np.uint8)
        self._image = ColorImage(pixels, 'bgr')
        self._names = [f'camera_{number}' for number in range(cameras)]
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.results: list[tuple[float, str, Size]] = []
        self._scheduler = FrameScheduler(engine, self._on_result)
        self._thread = threading.Thread(target=self._offer, name='cameras', daemon=True)
        self._thread.start()

    def wait(self, count: int) -> None:
        """Wait for ``count`` results; InferenceError if one failed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.results) >= count)
        if self._scheduler.stats().failed:
            raise InferenceError(self._scheduler.stats().last_error)

    def close(self) -> None:
        """Stop the cameras and the scheduler."""
        self._stop.set()
        self._thread.join()
        self._scheduler.close()

    def _offer(self) -> None:
        while not self._stop.wait(_OFFER_EVERY_S):
            for name in self._names:
                self._scheduler.offer(Frame(time.monotonic_ns(), lambda: self._image, source=name))

    def _on_result(self, result: Result) -> None:
        height, width = getattr(result.outcome, 'shape', (0, 0))
        with self._changed:
            self.results.append((time.monotonic(), result.frame.source, (height, width)))
            self._changed.notify_all()


def cameras_figures(model: Path) -> dict[str, float]:
    """
    Return the figures ``cameras_*`` and ``switch_gap_*`` and print the result of each round.

    ``cameras_N_ratio`` is results/s of N saturating 640x480 cameras over those of one, the median
    of the rounds; ``cameras_4_smallest_share`` is the share of the camera with the fewest results
    of four, over a quarter. ``switch_gap_frames`` is the longest time between two results while
    input_size changes from 518 to 392 and back, in undisturbed frame periods, the median of the
    rounds.
    """
    options = EngineOptions(input_size=_SIZES[0], image_hw=_IMAGE_HW, timeout_s=300.0)
    with closing(SwitchableEngine(model, options, print)) as engine:
        return {**_shares(engine), 'switch_gap_frames': _switch_gap(engine)}


def _shares(engine: SwitchableEngine) -> dict[str, float]:
    rates: dict[int, list[float]] = {cameras: [] for cameras in _CAMERAS}
    served: Counter[str] = Counter()
    for number in range(_ROUNDS):
        for cameras in _CAMERAS[::-1 if number % 2 else 1]:
            with closing(_Saturated(engine, cameras)) as flow:
                flow.wait(_RESULTS + 1)
                results = flow.results[:_RESULTS + 1]
            rates[cameras].append(_RESULTS / (results[-1][0] - results[0][0]))
            if cameras == _CAMERAS[-1]:
                served.update(source for _, source, _ in results[1:])
        print(f'round {number + 1}: ' + ', '.join(
            f'{cameras} cameras {rates[cameras][-1]:.2f}/s' for cameras in _CAMERAS), flush=True)
    ratios = {cameras: statistics.median(
        many / one for many, one in zip(rates[cameras], rates[1])) for cameras in _CAMERAS}
    least = min(served[f'camera_{number}'] for number in range(_CAMERAS[-1]))
    return {'cameras_2_ratio': ratios[2], 'cameras_4_ratio': ratios[4],
            'cameras_4_smallest_share': least * _CAMERAS[-1] / sum(served.values())}


def _switch_gap(engine: SwitchableEngine) -> float:
    options, longest = engine.options, []
    for number in range(_SWITCH_ROUNDS):
        with closing(_Saturated(engine, 1)) as flow:
            flow.wait(_UNDISTURBED)
            disturbed = [_switch(engine, flow, replace(options, input_size=size))
                         for size in reversed(_SIZES)]
            results = [(at, size_hw) for at, _, size_hw in flow.results]
        longest.append(longest_gap(results, disturbed))
        print(f'round {number + 1}: switching takes up to {longest[-1]:.2f} frames', flush=True)
    return statistics.median(longest)


def _switch(engine: SwitchableEngine, flow: _Saturated, options: EngineOptions) -> range:
    """Switch, wait for undisturbed results and return the indices of the disturbed ones."""
    done: SimpleQueue[Exception | None] = SimpleQueue()
    start = len(flow.results)
    engine.switch(options, [_IMAGE_HW], done.put)
    if (failure := done.get()) is not None:
        raise failure
    stop = len(flow.results) + 2
    flow.wait(stop + _UNDISTURBED)
    return range(start, stop)


def longest_gap(results: Sequence[tuple[float, Size]], disturbed: Sequence[range]) -> float:
    """
    Return the longest gap between two results during a switch, in frame periods.

    ``results`` are times [s] and sizes, ``disturbed`` are indices of results during switches. The
    period of a size is the median gap of its undisturbed results; between two sizes the longer
    period is used.
    """
    inside = {index for indices in disturbed for index in indices}
    gaps: dict[Size, list[float]] = {}
    for index, ((before, size_hw), (after, next_hw)) in enumerate(pairwise(results), 1):
        if index not in inside and size_hw == next_hw:
            gaps.setdefault(size_hw, []).append(after - before)
    periods = {size_hw: statistics.median(found) for size_hw, found in gaps.items()}
    return max((results[index][0] - results[index - 1][0])
               / max(periods[results[index][1]], periods[results[index - 1][1]])
               for index in inside)
