"""
State of the alignment of one camera: running average of the fits, waiting, stale or frozen.

All times are stamps of images in seconds; no other clock is used.
"""

from dataclasses import dataclass
import math
import threading
from typing import Literal

from depth_anything_ros.alignment.fit import check_fit, Fit
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.stamps import CLOCK_RESTART_S

State = Literal['waiting', 'fitted', 'frozen', 'stale']

# A fit contradicts the average if their depths differ, at one end of its range, by more than this
# share and by more than this multiple of its residual. This many consecutive fits that contradict
# the average, but not each other, replace it.
_CONTRADICTION, _RESIDUALS, _REPLACING_FITS = 0.1, 3.0, 3


@dataclass(frozen=True)
class Alignment:
    """
    The present alignment 1/z = ``scale`` * d + ``shift``, both in 1/m, and its quality.

    ``support``, ``outliers`` and ``residual`` belong to the last good fit, ``age_s`` is the time
    since then. Before the first fit the support is 0 and the other numbers are NaN. ``reason``
    explains why there is no fit or why the last one was rejected; it is empty otherwise.
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
    Running average of the fits of one camera; every method may be called from any thread.

    The weight of a fit depends on the time since the previous one. A single fit that contradicts
    the average is ignored; several consecutive ones that agree with each other replace it.
    """

    def __init__(self, settings: AlignmentSettings) -> None:
        self._lock = threading.Lock()
        self._settings = settings
        self._frozen = False
        self._forget()

    def reconfigure(self, settings: AlignmentSettings) -> None:
        """Use new limits and times; the average stays."""
        with self._lock:
            self._settings = settings

    def add(self, fit: Fit, stamp_s: float) -> None:
        """Add the fit of the image at ``stamp_s``, unless it is bad or older than the last one."""
        with self._lock:
            self._advance(stamp_s)
            self._judged_s = stamp_s
            if self._frozen or stamp_s < self._fitted_s:
                return
            try:
                check_fit(fit, self._settings)
            except AlignmentError as error:
                self._reason = str(error)
                return
            if self._contradicts(fit):
                self._contradict(fit, stamp_s)
            else:
                self._average(fit, stamp_s)

    def reject(self, reason: str, stamp_s: float) -> None:
        """Record why the image at ``stamp_s`` has no fit."""
        with self._lock:
            self._advance(stamp_s)
            self._judged_s = stamp_s
            self._reason = reason

    def hold(self, reason: str, stamp_s: float) -> None:
        """
        Record why the image at ``stamp_s`` needs no fit: the last one holds.

        The time since the previous call of ``add``, ``reject`` or ``hold`` does not count for the
        time-out.
        """
        with self._lock:
            self._advance(stamp_s)
            if self._fit is not None:
                self._held_s += max(0.0, stamp_s - self._judged_s)
            self._judged_s = stamp_s
            self._reason = reason

    @property
    def is_frozen(self) -> bool:
        """Return whether fits are ignored."""
        return self._frozen

    def at(self, stamp_s: float) -> Alignment:
        """Return the alignment for the image at ``stamp_s``."""
        with self._lock:
            self._advance(stamp_s)
            return self._alignment(stamp_s)

    def freeze(self, frozen: bool) -> Alignment:
        """
        Freeze the alignment, so that fits no longer change it, or release it; return it.

        AlignmentError if there is no fitted alignment to freeze.
        """
        with self._lock:
            now = self._alignment(self._now)
            if frozen and not now.usable:
                raise AlignmentError(f'there is no alignment to freeze: {now.reason}')
            self._frozen = frozen
            return self._alignment(self._now)

    def reset(self) -> None:
        """Forget the alignment unless it is frozen, for example when the node is deactivated."""
        with self._lock:
            if not self._frozen:
                self._forget()

    def _forget(self) -> None:
        self._fit: Fit | None = None
        self._scale = self._shift = 0.0
        self._count = 0
        self._fitted_s = self._now = -math.inf
        self._judged_s, self._held_s = -math.inf, 0.0
        self._contrary: list[Fit] = []
        self._reason = 'no fit to a reference yet'

    def _advance(self, stamp_s: float) -> None:
        """Advance the time to ``stamp_s``, or move it back after a jump, which keeps the age."""
        late_s = self._now - stamp_s
        if late_s > CLOCK_RESTART_S:
            self._fitted_s -= late_s
            self._now = stamp_s
        self._now = max(self._now, stamp_s)

    def _contradicts(self, fit: Fit) -> bool:
        if self._fit is None or self._settings.averaging_s == 0:
            return False
        return _differ(fit, self._scale, self._shift)

    def _contradict(self, fit: Fit, stamp_s: float) -> None:
        """Store a fit that contradicts the average; the last of several replaces the average."""
        if self._contrary and _differ(fit, self._contrary[-1].scale, self._contrary[-1].shift):
            self._contrary.clear()
        self._contrary.append(fit)
        if len(self._contrary) < _REPLACING_FITS:
            self._reason = ('the last fit contradicts the previous ones; check that the pose of '
                            'the reference has not changed')
            return
        self._count = 0
        self._average(fit, stamp_s)

    def _average(self, fit: Fit, stamp_s: float) -> None:
        self._count += 1
        # Equal weights at first, else the first fit would dominate with a long time constant.
        weight = 1 / self._count
        if self._settings.averaging_s == 0:
            weight = 1.0
        elif self._count > 1:
            passed = (stamp_s - self._fitted_s) / self._settings.averaging_s
            weight = max(weight, -math.expm1(-passed))
        self._scale += weight * (fit.scale - self._scale)
        self._shift += weight * (fit.shift - self._shift)
        self._fit, self._fitted_s, self._held_s = fit, stamp_s, 0.0
        self._contrary.clear()
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
        elif 0 < self._settings.timeout < age_s - self._held_s:
            state = 'stale'
            reason = f'no good fit for {age_s:.1f} s' + (f': {reason}' if reason else '')
        return Alignment(state, self._scale, self._shift, fit.support, fit.outliers, fit.residual,
                         age_s, reason)


def _differ(fit: Fit, scale: float, shift: float) -> bool:
    """Return whether the depths of ``fit`` and those of ``scale`` and ``shift`` contradict."""
    for inverse_z in fit.inverse_z:
        other = scale * (inverse_z - fit.shift) / fit.scale + shift
        allowed = max(_CONTRADICTION, _RESIDUALS * fit.residual)
        if other <= 0 or abs(math.log(other / inverse_z)) > allowed:
            return True
    return False
