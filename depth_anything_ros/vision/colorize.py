"""Colour maps for depth, and a range that changes slowly so that a video does not flicker."""

import math
from typing import Literal

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.vision.depth import outer_values
import numpy as np

ColorMap = Literal['spectral_r', 'inferno', 'magma', 'viridis', 'turbo', 'gray']

# ColorBrewer's 11-class Spectral, red to blue, as RGB; matplotlib interpolates the same anchors.
_SPECTRAL_RGB = ((158, 1, 66), (213, 62, 79), (244, 109, 67), (253, 174, 97), (254, 224, 139),
                 (255, 255, 191), (230, 245, 152), (171, 221, 164), (102, 194, 165),
                 (50, 136, 189), (94, 79, 162))
_OPENCV_MAPS = {'inferno': cv2.COLORMAP_INFERNO, 'magma': cv2.COLORMAP_MAGMA,
                'viridis': cv2.COLORMAP_VIRIDIS, 'turbo': cv2.COLORMAP_TURBO}
# The range is that of about as many pixels, which are spread evenly.
_RANGE_PIXELS = 5000


def color_table(name: str) -> U8:
    """
    Return 256 BGR colours [256, 1, 3] from far to near.

    ValueError unless ``name`` is spectral_r, gray, inferno, magma, viridis or turbo.
    """
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    if name == 'gray':
        return np.repeat(ramp[:, :, None], 3, axis=2)
    if name in _OPENCV_MAPS:
        return cv2.applyColorMap(ramp, _OPENCV_MAPS[name])  # type: ignore[return-value]
    if name != 'spectral_r':
        raise ValueError(f'unknown color map {name!r}')
    anchors = np.array(_SPECTRAL_RGB[::-1], np.float64)
    positions = np.linspace(0, 255, len(anchors))
    channels = [np.interp(np.arange(256), positions, anchors[:, channel]) for channel in (2, 1, 0)]
    return np.stack(channels, axis=-1).astype(np.uint8)[:, None, :]


class RangeTracker:
    """
    Running 2nd and 98th percentile of a stream of maps.

    The first map sets the range, each later one moves it by ``gain`` of the difference.
    """

    def __init__(self, gain: float = 0.1) -> None:
        self._gain = gain
        self._range: tuple[float, float] | None = None

    def update(self, values: F32, scale: float = 1.0, shift: float = 0.0
               ) -> tuple[float, float]:
        """
        Return (low, high) after the map scale * values + shift, [H, W], with a positive scale.

        A map without finite values is ignored.
        """
        step = max(1, round(math.sqrt(values.size / _RANGE_PIXELS)))
        sample = values[::step, ::step]
        finite = sample[np.isfinite(sample)]
        if finite.size:
            low, high = (scale * value + shift for value in outer_values(finite))
            old = self._range or (low, high)
            self._range = (old[0] + self._gain * (low - old[0]),
                           old[1] + self._gain * (high - old[1]))
        return self._range or (0.0, 1.0)

    def reset(self) -> None:
        """Forget the range; the next map sets it."""
        self._range = None


def colorize(values: F32, low: float, high: float, table: U8) -> U8:
    """Return BGR [H, W, 3] of a map [H, W] with the colours of ``table``; NaN becomes black."""
    above = np.clip(values, np.float32(low), np.float32(high))
    above -= np.float32(low)
    # It rounds, so that just under half less is the next smaller level.
    index = cv2.convertScaleAbs(above, alpha=255 / max(high - low, 1e-12), beta=-0.498)
    colors: U8 = cv2.applyColorMap(index, table)  # type: ignore[assignment]
    if np.isnan(values.min()):
        colors[np.isnan(values)] = 0
    return colors
