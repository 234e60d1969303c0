"""Which input size allows a rate: a few sizes are measured, the others predicted."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
import time

import numpy as np

_RUNGS = 8
_SMALLEST_SHARE = 1 / 3
# Decoding, publishing and everything else on the machine take time as well.
_MARGIN = 1.1
_FEWEST_RUNS, _MOST_RUNS, _ENOUGH_S = 3, 20, 0.5
_WINDOW_S = 1.0
_STALE_S = 30.0
_FEWEST = 3
_SLOW_S = 2.0
_SPARE_S = 5.0
_SPARE_SHARE = 1.15
# A larger size that did not hold for this long was a mistake; the next try waits twice as long.
_PROBATION_S = 30.0
_LONGEST_WAIT_S = 300.0


@dataclass(frozen=True)
class Choice:
    """
    The rung to start on and what is known of all, the largest input size first.

    ``seconds`` is the time of one image on each rung, measured or predicted; ``measured`` holds
    the times that were measured by the number of the network's pixels.
    """

    rung: int
    seconds: tuple[float, ...]
    measured: Mapping[int, float]


def ladder(largest: int, multiple: int) -> tuple[int, ...]:
    """
    Return up to eight input sizes in px from ``largest`` to about a third of it, in equal ratios.

    All but ``largest`` are multiples of ``multiple``.
    """
    ratios = (_SMALLEST_SHARE ** (step / (_RUNGS - 1)) for step in range(1, _RUNGS))
    smaller = {max(1, round(largest * ratio / multiple)) * multiple for ratio in ratios}
    return (largest, *sorted((size for size in smaller if size < largest), reverse=True))


def longest_s(rate_hz: float) -> float:
    """Return how long one image may take where ``rate_hz`` of them a second are wanted."""
    return 1 / (rate_hz * _MARGIN)


def choose(pixels: Sequence[int], limit_s: float, measure: Callable[[int], float],
           known: Mapping[int, float]) -> Choice:
    """
    Return the first rung that takes at most ``limit_s``, or the last where none does.

    ``pixels`` counts those of the network on each rung, falling. ``measure`` returns the seconds
    of one image on a rung; it is asked for both ends and then for whatever the prediction names,
    until that has been measured. ``known`` seconds by pixels replace all measurements.
    """
    last = len(pixels) - 1
    measured = dict(known) or {pixels[rung]: measure(rung) for rung in sorted({0, last})}
    while True:
        seconds = _expected(pixels, measured)
        rung = next((rung for rung, value in enumerate(seconds) if value <= limit_s), last)
        if known or pixels[rung] in measured:
            return Choice(rung, seconds, measured)
        measured[pixels[rung]] = measure(rung)


def seconds_of(run: Callable[[], object]) -> float:
    """Return the median time of ``run``, called at least three times and for half a second."""
    times: list[float] = []
    while len(times) < _FEWEST_RUNS or (sum(times) < _ENOUGH_S and len(times) < _MOST_RUNS):
        started = time.monotonic()
        run()
        times.append(time.monotonic() - started)
    return median(times)


def _expected(pixels: Sequence[int], measured: Mapping[int, float]) -> tuple[float, ...]:
    """
    Return the seconds of each rung.

    A transformer of n tokens takes a*n + b*n*n: what a pixel costs is a straight line in their
    number, drawn here between the measured sizes next to each rung.
    """
    known = sorted(measured)
    costs = np.interp(pixels, known, [measured[count] / count for count in known])
    return tuple(float(count * cost) for count, cost in zip(pixels, costs))


@dataclass(frozen=True)
class Step:
    """
    Go to ``rung``, because of the rates in Hz.

    ``possible_hz`` is what the present rung allows, ``expected_hz`` what the new one should.
    """

    rung: int
    possible_hz: float
    expected_hz: float


class RateControl:
    """
    Judges the time of each image on the present rung; rungs count from the largest input size.

    ``seconds`` are the times of one image on every rung, of which only the ratios matter. Down
    after two seconds below ``rate_hz``; up when the next larger size would have held it with
    15 % to spare for five. What counts is the mean of the last second, or of the last three
    images, without the slowest and the fastest: cameras of different cost get the rate of the
    mean, and one hiccup is no load.
    """

    def __init__(self, rate_hz: float, seconds: Sequence[float], rung: int) -> None:
        self._rate_hz = rate_hz
        self._seconds = tuple(seconds)
        self._rung = rung
        self._images: deque[tuple[float, float]] = deque()
        self._slow_since: float | None = None
        self._spare_since: float | None = None
        self._climbed_at = float('-inf')
        self._wait_s = _SPARE_S

    @property
    def rung(self) -> int:
        """Return the rung that is judged."""
        return self._rung

    def observe(self, now_s: float, seconds: float) -> Step | None:
        """
        Take note of an image that was done at ``now_s``; return the step to take, if any.

        The policy goes on as if the step had been taken.
        """
        self._images.append((now_s, seconds))
        self._forget_before(now_s)
        if len(self._images) < _FEWEST:
            self._slow_since = self._spare_since = None
            return None
        inner = sorted(value for _, value in self._images)[1:-1]
        possible_hz = 1 / max(1e-9, fmean(inner))
        down, up = self._rung + 1, self._rung - 1
        slow = down < len(self._seconds) and possible_hz < self._rate_hz
        spare = up >= 0 and (
            self._expected_hz(up, possible_hz) >= _SPARE_SHARE * self._rate_hz)
        self._slow_since = _since(self._slow_since, now_s, slow)
        self._spare_since = _since(self._spare_since, now_s, spare)
        if self._slow_since is not None and now_s - self._slow_since >= _SLOW_S:
            self._lose_patience(now_s)
            return self._step(down, possible_hz)
        if self._spare_since is not None and now_s - self._spare_since >= self._wait_s:
            self._climbed_at = now_s
            return self._step(up, possible_hz)
        return None

    def restart(self) -> None:
        """Forget the images seen, because something else was in their way."""
        self._images.clear()
        self._slow_since = self._spare_since = None

    def _forget_before(self, now_s: float) -> None:
        while self._images[0][0] < now_s - (
                _WINDOW_S if len(self._images) > _FEWEST else _STALE_S):
            self._images.popleft()

    def _expected_hz(self, rung: int, possible_hz: float) -> float:
        return possible_hz * self._seconds[self._rung] / self._seconds[rung]

    def _lose_patience(self, now_s: float) -> None:
        failed = now_s - self._climbed_at < _PROBATION_S
        self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s) if failed else _SPARE_S

    def _step(self, rung: int, possible_hz: float) -> Step:
        step = Step(rung, possible_hz, self._expected_hz(rung, possible_hz))
        self._rung = rung
        self.restart()
        return step


def _since(before: float | None, now_s: float, holds: bool) -> float | None:
    """Return since when something holds, None while it does not."""
    if not holds:
        return None
    return now_s if before is None else before
