"""
Stabilization of relative depth: no flicker of its scale from frame to frame.

The scale and shift of a relative model change from frame to frame. Here each map is fitted to the
previous ones. Pixels are never averaged over time, so edges neither lag nor smear.
"""

import cv2
from depth_anything_ros.arrays import AnyArray, F32
from depth_anything_ros.vision.depth import outer_values
import numpy as np

_GRID_WH = (80, 60)
_ITERATIONS = 3
# Residuals beyond this many robust standard deviations lose most of their weight: these pixels
# moved.
_OUTLIER = 2.5
# The nearest pixels weigh less than the farthest: they change most when the camera moves.
_NEAR_OFFSET = 0.3
# The fit is a cut if fewer than _MIN_AGREE of the pixels are within _TOLERANCE of the spread.
_TOLERANCE = 0.15
_MIN_AGREE, _MIN_VALID = 0.5, 0.25
# Residuals below this part of the spread are as good as none.
_EXACT = 1e-4
# Its fourth power is a float32.
_LARGEST_RATIO = 1e9


class Stabilizer:
    """
    Find the scale and the shift that align each frame to the running estimate.

    The whole view is first moved by the translation under which the two maps match best, then
    scale and shift are fitted robustly to what did not move. ``leak`` (0 to 1) pulls both towards
    the model's own scale, so that errors do not accumulate. A map that disagrees with the estimate
    in most pixels (a cut) or has another size resets the estimate; ``was_reset`` says whether the
    last one did.
    """

    def __init__(self, leak: float = 0.1) -> None:
        self.was_reset = False
        self._leak = leak
        self._window = cv2.createHanningWindow(_GRID_WH, cv2.CV_32F)
        self._size_hw: tuple[int, ...] = ()
        self._map: F32 = np.empty((0, 0), np.float32)
        self._estimate: F32 = self._map

    def update(self, inverse_depth: F32) -> tuple[float, float]:
        """
        Return (scale, shift) that stabilize this map [H, W]: scale * d + shift.

        (1, 0) after a reset, and for a map without enough valid pixels, which is ignored.
        """
        small: F32 = cv2.resize(inverse_depth[::2, ::2], _GRID_WH,  # type: ignore[assignment]
                                interpolation=cv2.INTER_AREA)
        finite = np.isfinite(small)
        small[~finite] = np.nan
        self.was_reset = False
        if _share(finite) < _MIN_VALID:
            return 1.0, 0.0
        fit = self._fit(small) if self._size_hw == inverse_depth.shape else None
        self.was_reset = fit is None
        scale, shift = fit or (1.0, 0.0)
        scale += self._leak * (1.0 - scale)
        shift -= self._leak * shift
        self._size_hw = inverse_depth.shape
        self._map, self._estimate = small, small * np.float32(scale) + np.float32(shift)
        return scale, shift

    def reset(self) -> None:
        """Forget the running estimate."""
        self._size_hw = ()

    def _fit(self, small: F32) -> tuple[float, float] | None:
        """Return the scale and shift from ``small`` to the estimate, None after a cut."""
        estimate = self._moved_estimate(small)
        valid = np.isfinite(small) & np.isfinite(estimate)
        if _share(valid) < _MIN_VALID:
            return None
        return _robust_fit(small[valid], estimate[valid])

    def _moved_estimate(self, small: F32) -> F32:
        """Return the estimate in the present view, NaN where the view is new."""
        (right, down), _ = cv2.phaseCorrelate(_filled(small), _filled(self._map), self._window)
        if not np.isfinite((right, down)).all():
            return self._estimate
        motion = np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]])
        return cv2.warpAffine(  # type: ignore[return-value]
            self._estimate, motion, _GRID_WH, borderMode=cv2.BORDER_CONSTANT,
            borderValue=(np.nan,))


def _filled(small: F32) -> F32:
    """Return a copy with zero mean and without NaN; phaseCorrelate writes into its arguments."""
    unknown = np.isnan(small)
    filled: F32 = small - small[~unknown].mean()
    filled[unknown] = 0.0
    return filled


def _share(chosen: AnyArray) -> float:
    """Return the share of the pixels that are true."""
    return np.count_nonzero(chosen) / chosen.size


def _robust_fit(values: F32, target: F32) -> tuple[float, float] | None:
    """Return scale and shift by reweighted least squares, None if too few pixels agree."""
    (low, high), (target_low, target_high) = outer_values(values), outer_values(target)
    if not (high > low and target_high > target_low):
        return None
    nearness = (values - low) / (high - low)
    far_weight = weight = 1.0 / np.square(_NEAR_OFFSET + np.clip(nearness, 0.0, 1.0))
    middle = len(values) // 2
    for _ in range(_ITERATIONS):
        total = float(weight.sum())
        mean, target_mean = float(weight @ nearness) / total, float(weight @ target) / total
        centred = nearness - mean
        weighted = weight * centred
        slope = float(weighted @ target) / float(weighted @ centred)
        residual = np.abs(slope * centred + target_mean - target)
        spread = _OUTLIER * 1.4826 * float(np.partition(residual, middle)[middle])
        ratio = np.minimum(
            residual / (spread + _EXACT * (target_high - target_low)), _LARGEST_RATIO)
        weight = far_weight / np.square(1.0 + np.square(ratio))
    agree = _share(residual < _TOLERANCE * (target_high - target_low))
    if slope <= 0 or agree < _MIN_AGREE:
        return None
    scale = slope / (high - low)
    return scale, target_mean - slope * mean - scale * low
