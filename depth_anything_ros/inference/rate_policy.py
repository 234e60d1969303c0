"""When to take a smaller or a larger input size while the load changes: no clock, no thread."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

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
class Step:
    """
    Go to ``rung``, because of the rates in Hz.

    ``possible_hz`` is what the present rung allows, ``expected_hz`` what the new one should.
    """

    rung: int
    possible_hz: float
    expected_hz: float


class RatePolicy:
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
