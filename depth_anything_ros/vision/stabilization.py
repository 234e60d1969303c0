"""
Relative depth without the flicker of its scale.

A network answers each frame up to a scale and a shift, which jump from frame to frame. Here each
map is fitted to the one before. Pixels are never averaged over time, so nothing lags or smears.
"""

import cv2
from depth_anything_ros.arrays import F32
import numpy as np
import numpy.typing as npt

_GRID_WH = (80, 60)
_STEPS = 3
# Residuals that count half less, in robust standard deviations: beyond, a pixel has moved.
_MOVED = 2.5
# Weight of the farthest pixels over that of the nearest: a camera that moves changes near ones.
_NEAR_OFFSET = 0.3
# A pixel agrees when its residual is below this share of the map's spread.
_AGREES = 0.15
_FEWEST_AGREE, _FEWEST_VALID = 0.5, 0.25


class Stabilizer:
    """
    Find the scale and the shift that align each frame to the running estimate.

    They are fitted on what stands still, after the shift of the whole view by which the two maps
    fit best. ``leak`` is the share of the map's own scale and shift in the result: it takes the
    estimate back to the model's scale, so that errors do not add up. A map that disagrees with
    the estimate in most pixels (a cut) or has another size starts anew; ``began_anew`` tells
    whether the last one did.
    """

    def __init__(self, leak: float = 0.1) -> None:
        self.began_anew = False
        self._leak = leak
        self._window = cv2.createHanningWindow(_GRID_WH, cv2.CV_32F)
        self._size_hw: tuple[int, ...] = ()
        self._map: F32 = np.empty((0, 0), np.float32)
        self._estimate: F32 = self._map

    def update(self, inverse_depth: F32) -> tuple[float, float]:
        """
        Return (scale, shift) that make this map [H, W] steady: scale * d + shift.

        (1, 0) for a map that starts anew, and for one that is invalid nearly everywhere, which
        changes nothing.
        """
        small: F32 = cv2.resize(inverse_depth[::2, ::2], _GRID_WH,  # type: ignore[assignment]
                                interpolation=cv2.INTER_AREA)
        small[~np.isfinite(small)] = np.nan
        self.began_anew = False
        if np.isfinite(small).mean() < _FEWEST_VALID:
            return 1.0, 0.0
        fit = self._fit(small) if self._size_hw == inverse_depth.shape else None
        self.began_anew = fit is None
        scale, shift = fit or (1.0, 0.0)
        scale += self._leak * (1.0 - scale)
        shift -= self._leak * shift
        self._size_hw = inverse_depth.shape
        self._map, self._estimate = small, small * np.float32(scale) + np.float32(shift)
        return scale, shift

    def reset(self) -> None:
        """Forget the running estimate; the next map starts anew."""
        self._size_hw = ()

    def _fit(self, small: F32) -> tuple[float, float] | None:
        """Return scale and shift that take ``small`` to the estimate, None after a cut."""
        estimate = self._moved_estimate(small)
        valid = np.isfinite(small) & np.isfinite(estimate)
        if valid.mean() < _FEWEST_VALID:
            return None
        return _robust_fit(small[valid].astype(np.float64), estimate[valid].astype(np.float64))

    def _moved_estimate(self, small: F32) -> F32:
        """Return the estimate as the camera sees it now, NaN where it comes into view."""
        (right, down), _ = cv2.phaseCorrelate(_filled(small), _filled(self._map), self._window)
        if not np.isfinite((right, down)).all():
            return self._estimate
        motion = np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]])
        return cv2.warpAffine(  # type: ignore[return-value]
            self._estimate, motion, _GRID_WH, borderMode=cv2.BORDER_CONSTANT,
            borderValue=(np.nan,))


def _filled(small: F32) -> F32:
    """Return a copy around zero without NaN; phaseCorrelate writes into what it is given."""
    filled: F32 = small - np.float32(np.nanmean(small))
    filled[np.isnan(filled)] = 0.0
    return filled


def _robust_fit(values: npt.NDArray[np.float64],
                target: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return scale and shift by reweighted least squares, None if too few pixels agree."""
    low, high = np.percentile(values, (2, 98))
    if not high > low:
        return None
    far = 1.0 / (_NEAR_OFFSET + np.clip((values - low) / (high - low), 0.0, 1.0)) ** 2
    weight = far
    for _ in range(_STEPS):
        mean, target_mean = np.average(np.stack([values, target]), axis=1, weights=weight)
        centred = values - mean
        scale = (weight * centred) @ target / ((weight * centred) @ centred)
        shift = target_mean - scale * mean
        residual = np.abs(scale * values + shift - target)
        spread = _MOVED * 1.4826 * np.median(residual) + 1e-9 * (high - low)
        weight = far / (1.0 + np.square(residual / spread)) ** 2
    low, high = np.percentile(target, (2, 98))
    if scale <= 0 or np.mean(residual < _AGREES * (high - low)) < _FEWEST_AGREE:
        return None
    return float(scale), float(shift)
