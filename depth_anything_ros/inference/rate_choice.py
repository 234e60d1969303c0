"""Which input size allows a rate: a few sizes are measured, the others predicted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
import time

import numpy as np

_RUNGS = 8
_SMALLEST_SHARE = 1 / 3
# Decoding, publishing and everything else on the machine take time as well.
_MARGIN = 1.1
_FEWEST_RUNS, _MOST_RUNS, _ENOUGH_S = 3, 20, 0.5


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
