"""Leaves out messages of a topic whose subscribers need fewer than there are images."""

import math

# Stamps of cameras come this share of the period too early, and count as in time.
_EARLY = 0.1


class RateLimit:
    """
    Lets at most ``rate_hz`` stamps per second pass, on average.

    Stamps that go back, or have a gap, start over. Equal stamps pass: a driver that does not stamp
    its images gives no rate to limit.
    """

    def __init__(self) -> None:
        self._next_s = self._last_s = -math.inf

    def passes(self, stamp_s: float, rate_hz: float) -> bool:
        """Return whether the message with this stamp [s] is published; 0 Hz is no limit."""
        repeated, self._last_s = stamp_s == self._last_s, stamp_s
        if rate_hz <= 0 or repeated:
            return True
        period_s = 1 / rate_hz
        late_s = stamp_s - (self._next_s - _EARLY * period_s)
        if -period_s <= late_s < 0:
            return False
        is_in_time = 0 <= late_s < period_s
        self._next_s = (self._next_s if is_in_time else stamp_s) + period_s
        return True
