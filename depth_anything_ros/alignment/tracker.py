"""
The alignment that holds now: fits averaged over time, frozen, gone stale or not there yet.

Time is that of the stamps handed in, in seconds; there is no other clock.
"""

from dataclasses import dataclass
import math
import threading
from typing import Literal

from depth_anything_ros.alignment.fit import check_fit, Fit
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.parameters import AlignmentSettings

State = Literal['waiting', 'fitted', 'frozen', 'stale']

# Stamps that step back by more than this [s] begin anew: a bag that loops, a simulation reset.
_JUMP_BACK_S = 1.0
# A fit contradicts an alignment if somewhere in its range their depths differ by more than this
# share and this multiple of its residual; that many in a row which agree replace the alignment.
_CONTRADICTION, _RESIDUALS, _IN_A_ROW = 0.1, 3.0, 3


@dataclass(frozen=True)
class Alignment:
    """
    1/z = ``scale`` * d + ``shift`` in 1/m, and how far to believe it.

    ``support``, ``outliers`` and ``residual`` are those of the last good fit and ``age_s`` the
    time since then; all numbers but the support are NaN as long as there was none. ``reason``
    says why it is not fitted or why the last fit was refused, '' if neither.
    """

    state: State
    scale: float
    shift: float
    support: int
    outliers: float
    residual: float
    age_s: float
    reason: str

    @property
    def usable(self) -> bool:
        """Return whether metric depth may be published."""
        return self.state in ('fitted', 'frozen')


class AlignmentTracker:
    """
    Average the fits of one camera; every method may be called from any thread.

    A fit is averaged in with the weight of the time since the one before it; the first one is
    taken as it is. A single fit that contradicts the average is passed over, several that agree
    among themselves replace it.
    """

    def __init__(self, settings: AlignmentSettings) -> None:
        self._lock = threading.Lock()
        self._settings = settings
        self._frozen = False
        self._forget()

    def reconfigure(self, settings: AlignmentSettings) -> None:
        """Take other limits and times from now on; what is fitted stays."""
        with self._lock:
            self._settings = settings

    def add(self, fit: Fit, stamp_s: float) -> None:
        """Average in a fit made at ``stamp_s``, unless it is refused or older than the last."""
        with self._lock:
            self._advance(stamp_s)
            if self._frozen or stamp_s < self._fitted_s:
                return
            try:
                check_fit(fit, self._settings)
            except AlignmentError as error:
                self._reason = str(error)
                return
            if self._contradicts(fit):
                self._doubt(fit, stamp_s)
            else:
                self._average(fit, stamp_s)

    def refuse(self, reason: str, stamp_s: float) -> None:
        """Note why there was nothing to fit to at ``stamp_s``."""
        with self._lock:
            self._advance(stamp_s)
            self._reason = reason

    def at(self, stamp_s: float) -> Alignment:
        """Return the alignment that holds at ``stamp_s``."""
        with self._lock:
            self._advance(stamp_s)
            return self._alignment(stamp_s)

    def freeze(self, frozen: bool) -> Alignment:
        """
        Keep the alignment as it is whatever the fits say, or let it go on; return it.

        AlignmentError if nothing is fitted that could be kept.
        """
        with self._lock:
            now = self._alignment(self._now)
            if frozen and not now.usable:
                raise AlignmentError(f'there is no alignment to freeze: {now.reason}')
            self._frozen = frozen
            return self._alignment(self._now)

    def reset(self) -> None:
        """Forget all but a frozen alignment, as when the node is deactivated."""
        with self._lock:
            if not self._frozen:
                self._forget()

    def _forget(self) -> None:
        self._fit: Fit | None = None
        self._scale = self._shift = 0.0
        self._count = 0
        self._fitted_s = self._now = -math.inf
        self._doubts: list[Fit] = []
        self._reason = 'no fit to a reference so far'

    def _advance(self, stamp_s: float) -> None:
        """Move the time on to ``stamp_s``, or back to it on a jump, which keeps the age."""
        late_s = self._now - stamp_s
        if late_s > _JUMP_BACK_S:
            self._fitted_s -= late_s
            self._now = stamp_s
        self._now = max(self._now, stamp_s)

    def _contradicts(self, fit: Fit) -> bool:
        if self._fit is None or self._settings.time_constant == 0:
            return False
        return _differ(fit, self._scale, self._shift)

    def _doubt(self, fit: Fit, stamp_s: float) -> None:
        """Remember a fit that contradicts the average; begin anew with the last of several."""
        if self._doubts and _differ(fit, self._doubts[-1].scale, self._doubts[-1].shift):
            self._doubts.clear()
        self._doubts.append(fit)
        if len(self._doubts) < _IN_A_ROW:
            self._reason = 'the last fit contradicts those before it; check that the reference ' \
                           'is still where it was'
            return
        self._count = 0
        self._average(fit, stamp_s)

    def _average(self, fit: Fit, stamp_s: float) -> None:
        self._count += 1
        # The first fits count alike: a long time constant would else hold on to the first one.
        weight = 1 / self._count
        if self._settings.time_constant == 0:
            weight = 1.0
        elif self._count > 1:
            passed = (stamp_s - self._fitted_s) / self._settings.time_constant
            weight = max(weight, -math.expm1(-passed))
        self._scale += weight * (fit.scale - self._scale)
        self._shift += weight * (fit.shift - self._shift)
        self._fit, self._fitted_s = fit, stamp_s
        self._doubts.clear()
        self._reason = ''

    def _alignment(self, stamp_s: float) -> Alignment:
        fit, reason = self._fit, self._reason
        if fit is None:
            return Alignment('waiting', math.nan, math.nan, 0, math.nan, math.nan, math.nan,
                             reason)
        age_s = max(0.0, stamp_s - self._fitted_s)
        state: State = 'fitted'
        if self._frozen:
            state, reason = 'frozen', ''
        elif 0 < self._settings.timeout < age_s:
            state = 'stale'
            reason = f'no good fit for {age_s:.1f} s' + (f': {reason}' if reason else '')
        return Alignment(state, self._scale, self._shift, fit.support, fit.outliers, fit.residual,
                         age_s, reason)


def _differ(fit: Fit, scale: float, shift: float) -> bool:
    """Return whether depths by ``fit`` and by ``scale`` and ``shift`` contradict each other."""
    for inverse_z in fit.inverse_z:
        other = scale * (inverse_z - fit.shift) / fit.scale + shift
        allowed = max(_CONTRADICTION, _RESIDUALS * fit.residual)
        if other <= 0 or abs(math.log(other / inverse_z)) > allowed:
            return True
    return False
