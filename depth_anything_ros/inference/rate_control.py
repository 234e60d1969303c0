"""
Chooses the input size that reaches an image rate: first by measurement, then by the load.

Input sizes are numbered from the largest, 0, to the smallest.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
import time

import numpy as np

_MOST_SIZES = 8
_SMALLEST_SHARE = 1 / 3
# Decoding, publishing and other programs need time beside the inference.
_MARGIN = 1.1
_FEWEST_RUNS, _MOST_RUNS, _MEASURE_S = 3, 20, 0.5
_WINDOW_S = 1.0
_OLDEST_S = 30.0
_FEWEST_IMAGES = 3
_DOWN_AFTER_S = 2.0
_UP_AFTER_S = 5.0
_UP_RESERVE = 1.15
# A larger size that is too slow within this time was a mistake: the next try waits twice as long.
_PROBATION_S = 30.0
_LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class InputSizeChoice:
    """
    The input size to start with.

    ``index`` is its number. ``seconds`` is the time of one image at every size, measured or
    predicted. ``measured`` holds the measured times [s] by the number of network pixels.
    """

    index: int
    seconds: tuple[float, ...]
    measured: Mapping[int, float]


def candidate_input_sizes(largest: int, multiple: int) -> tuple[int, ...]:
    """
    Return up to eight input sizes [px] from ``largest`` to a third of it, in equal ratios.

    All but ``largest`` are multiples of ``multiple``.
    """
    ratios = (_SMALLEST_SHARE ** (step / (_MOST_SIZES - 1)) for step in range(1, _MOST_SIZES))
    smaller = {max(1, round(largest * ratio / multiple)) * multiple for ratio in ratios}
    return (largest, *sorted((size for size in smaller if size < largest), reverse=True))


def allowed_seconds(rate_hz: float) -> float:
    """Return the longest inference time [s] at which ``rate_hz`` is reached, with a margin."""
    return 1 / (rate_hz * _MARGIN)


def choose_input_size(pixels: Sequence[int], limit_s: float, measure: Callable[[int], float],
                      known: Mapping[int, float]) -> InputSizeChoice:
    """
    Return the largest input size that needs at most ``limit_s`` per image, else the smallest.

    ``pixels`` is the number of network pixels of every size. ``measure`` returns the time [s] of
    one image at a size; it is called for the largest and the smallest size and then for each size
    that the prediction chooses, until the chosen one is measured. With ``known`` times [s] by
    pixels nothing is measured.
    """
    last = len(pixels) - 1
    measured = dict(known) or {pixels[index]: measure(index) for index in sorted({0, last})}
    while True:
        seconds = _predicted_seconds(pixels, measured)
        index = next((index for index, value in enumerate(seconds) if value <= limit_s), last)
        if known or pixels[index] in measured:
            return InputSizeChoice(index, seconds, measured)
        measured[pixels[index]] = measure(index)


def median_seconds(run: Callable[[], object]) -> float:
    """Return the median time [s] of ``run``, called at least three times and for half a second."""
    times: list[float] = []
    while len(times) < _FEWEST_RUNS or (sum(times) < _MEASURE_S and len(times) < _MOST_RUNS):
        started = time.monotonic()
        run()
        times.append(time.monotonic() - started)
    return median(times)


def _predicted_seconds(pixels: Sequence[int], measured: Mapping[int, float]) -> tuple[float, ...]:
    """
    Return the time [s] of one image at every input size.

    A transformer of n tokens needs a*n + b*n*n, so the time per pixel is linear in the number of
    pixels; it is interpolated between the measured sizes.
    """
    known = sorted(measured)
    costs = np.interp(pixels, known, [measured[count] / count for count in known])
    return tuple(float(count * cost) for count, cost in zip(pixels, costs))


@dataclass(frozen=True)
class InputSizeChange:
    """
    Change to the input size number ``index``.

    ``possible_hz`` is the rate that the present size reaches, ``expected_hz`` that of the new one.
    """

    index: int
    possible_hz: float
    expected_hz: float


class RateControl:
    """
    Decides from the time of each image when to change the input size.

    ``seconds`` are the times of one image at every size; only their ratios are used. The size goes
    down after two seconds below ``rate_hz``. It goes up when the next larger size would have
    reached the rate with 15 % in reserve for five seconds. The rate is that of the mean time in
    the last second, or of the last three images, without the slowest and the fastest: so cameras
    of different cost count by their mean, and a single slow image changes nothing.
    """

    def __init__(self, rate_hz: float, seconds: Sequence[float], index: int) -> None:
        self._rate_hz = rate_hz
        self._seconds = tuple(seconds)
        self._index = index
        self._images: deque[tuple[float, float]] = deque()
        self._slow_since: float | None = None
        self._reserve_since: float | None = None
        self._went_up_at = float('-inf')
        self._up_after_s = _UP_AFTER_S

    @property
    def index(self) -> int:
        """Return the number of the present input size."""
        return self._index

    def observe(self, now_s: float, seconds: float) -> InputSizeChange | None:
        """
        Record an image that took ``seconds`` and ended at ``now_s``; return a change, if any.

        The new size is the present one from then on.
        """
        self._images.append((now_s, seconds))
        self._remove_old_images(now_s)
        if len(self._images) < _FEWEST_IMAGES:
            self._slow_since = self._reserve_since = None
            return None
        inner = sorted(value for _, value in self._images)[1:-1]
        possible_hz = 1 / max(1e-9, fmean(inner))
        down, up = self._index + 1, self._index - 1
        is_slow = down < len(self._seconds) and possible_hz < self._rate_hz
        has_reserve = up >= 0 and (
            self._expected_hz(up, possible_hz) >= _UP_RESERVE * self._rate_hz)
        self._slow_since = _true_since(self._slow_since, now_s, is_slow)
        self._reserve_since = _true_since(self._reserve_since, now_s, has_reserve)
        if self._slow_since is not None and now_s - self._slow_since >= _DOWN_AFTER_S:
            self._set_next_wait(now_s)
            return self._change(down, possible_hz)
        if self._reserve_since is not None and now_s - self._reserve_since >= self._up_after_s:
            self._went_up_at = now_s
            return self._change(up, possible_hz)
        return None

    def restart(self) -> None:
        """Forget all images, because other work slowed them down."""
        self._images.clear()
        self._slow_since = self._reserve_since = None

    def _remove_old_images(self, now_s: float) -> None:
        while self._images[0][0] < now_s - (
                _WINDOW_S if len(self._images) > _FEWEST_IMAGES else _OLDEST_S):
            self._images.popleft()

    def _expected_hz(self, index: int, possible_hz: float) -> float:
        return possible_hz * self._seconds[self._index] / self._seconds[index]

    def _set_next_wait(self, now_s: float) -> None:
        """Double the wait before the next larger size if the last one was soon too slow."""
        failed = now_s - self._went_up_at < _PROBATION_S
        self._up_after_s = min(_LONGEST_WAIT_S, 2 * self._up_after_s) if failed else _UP_AFTER_S

    def _change(self, index: int, possible_hz: float) -> InputSizeChange:
        change = InputSizeChange(index, possible_hz, self._expected_hz(index, possible_hz))
        self._index = index
        self.restart()
        return change


def _true_since(before: float | None, now_s: float, is_true: bool) -> float | None:
    """Return the time since when a condition is true, None while it is false."""
    if not is_true:
        return None
    return now_s if before is None else before
