"""What became of the frames of one source: counts, latencies, the last error."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
import time

import numpy as np

_LATENCIES_KEPT = 256


@dataclass(frozen=True)
class FrameStats:
    """
    Counts since the start and times of the last 256 results of each source.

    offered = delivered + failed + dropped (a newer frame came) + late (older than its
    predecessor) + those on their way. Latency runs from ``offer`` to the end of delivery.
    """

    offered: int
    delivered: int
    failed: int
    dropped: int
    late: int
    latency_p50_ms: float
    latency_p95_ms: float
    last_result_age_s: float
    last_error: str


@dataclass
class FrameCounters:
    """The counts of one source while they grow; the caller guards them."""

    offered: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    late: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    last_result_at: float = float('-inf')
    last_failure_at: float = float('-inf')
    last_error: str = ''

    def add_result(self, offered_at: float, error: Exception | None) -> None:
        """Count a result that has just been delivered; ``offered_at`` on the monotonic clock."""
        self.last_result_at = time.monotonic()
        if error is None:
            self.delivered += 1
            self.latencies_ms.append((self.last_result_at - offered_at) * 1000)
        else:
            self.failed += 1
            self.last_failure_at, self.last_error = self.last_result_at, str(error)


def summary(tallies: Sequence[FrameCounters]) -> FrameStats:
    """Return the counts and times of all ``tallies``; times are NaN before the first result."""
    latencies = [value for tally in tallies for value in tally.latencies_ms] or [float('nan')]
    p50, p95 = (float(value) for value in np.percentile(latencies, (50, 95)))
    last_at = max((tally.last_result_at for tally in tallies), default=float('-inf'))
    age_s = time.monotonic() - last_at if np.isfinite(last_at) else float('nan')
    failed_last = max(tallies, key=lambda tally: tally.last_failure_at, default=FrameCounters())
    offered, delivered, failed, dropped, late = (
        sum(getattr(tally, name) for tally in tallies)
        for name in ('offered', 'delivered', 'failed', 'dropped', 'late'))
    return FrameStats(offered, delivered, failed, dropped, late, p50, p95, age_s,
                     failed_last.last_error)
