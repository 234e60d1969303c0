"""
Whether depth and images belong together: registered, and of the same moment.

The relative model sees the edges of depth in the image. They are compared with those of the
measured depth, shifted in the image and in time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.distill.metric.frames import nearest
from depth_anything_ros.distill.metric.objective import MetricPair
from depth_anything_ros.errors import DatasetError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.media.depth_files import encode_png
from depth_anything_ros.vision.colorize import color_table, colorize
from depth_anything_ros.vision.depth import inverse_from_metric, outer_values
import numpy as np

_COMPARED_HW = (96, 128)
# Shifts of up to this many pixels of _COMPARED_HW, and of frames, are tried.
_REACH_PX, _REACH_FRAMES = 10, 3
_MOST_FRAMES = 40
# A shift is a mistake if it is longer, and its agreement better by this factor, than none.
_ALLOWED_PX, _BETTER = 1.5, 1.15
_PICTURES, _PICTURE_WIDTH, _COLUMNS = 12, 320, 3


@dataclass(frozen=True)
class Agreement:
    """
    Where measured depth fits the images best.

    ``shift_xy`` is the position of the depth relative to the image, as shares of its width;
    ``lag`` is the number of frames by which it is late; ``gain`` is how many times better the
    edges agree there than without a shift.
    """

    shift_xy: tuple[float, float]
    lag: int
    gain: float

    @property
    def problem(self) -> str:
        """Return what is wrong with the data, '' if nothing is."""
        if self.gain < _BETTER:
            return ''
        if self.lag:
            word = 'late' if self.lag > 0 else 'early'
            frames = 'frame' if abs(self.lag) == 1 else 'frames'
            return f'its depth is {abs(self.lag)} {frames} {word} while the camera moves'
        if np.hypot(*self.shift_xy) * _COMPARED_HW[1] > _ALLOWED_PX:
            x, y = (100 * value for value in self.shift_xy)
            return (f'its depth is shifted against the image by {x:.1f} % of the width in x and '
                    f'{y:.1f} % in y, so it is not registered')
        return ''


def check_pairs(pairs: Sequence[MetricPair], names: Mapping[int, str]) -> dict[str, Agreement]:
    """
    Return the agreement of each source that has pairs, by its name in ``names``.

    DatasetError for a source whose depth is not that of its images.
    """
    found = {}
    for source, name in names.items():
        own = [pair for pair in pairs if pair.frame.source == source]
        if not own:
            continue
        agreement = measure_agreement(own)
        if agreement.problem:
            raise DatasetError(
                Path(name), agreement.problem, 'register the depth to the colour image, or '
                'correct its time stamps; pairs.png in the work folder shows them, and '
                '--trust-data trains nevertheless')
        found[name] = agreement
    return found


def measure_agreement(pairs: Sequence[MetricPair]) -> Agreement:
    """Return where the measured depth of consecutive frames fits the relative model's maps."""
    ordered = sorted(pairs, key=lambda one: one.frame.number)
    middle = max(0, (len(ordered) - _MOST_FRAMES) // 2)
    ordered = ordered[middle:middle + _MOST_FRAMES]
    seen = [_edges(pair.labelled.read()[1]) for pair in ordered]
    measured = [_edges(inverse_from_metric(pair.frame.read_depth())) for pair in ordered]
    side = 2 * _REACH_PX + 1
    none = (0, _REACH_PX, _REACH_PX)
    scores: dict[tuple[int, int, int], float] = {}
    for lag in range(-_REACH_FRAMES, _REACH_FRAMES + 1):
        rows = [_correlation(seen[index], measured[index + lag])
                for index in range(max(0, -lag), min(len(seen), len(seen) - lag))]
        if len(rows) < max(2, len(seen) // 2) and lag:
            continue
        mean = np.mean(rows, axis=0)
        for row in range(side):
            for column in range(side):
                if lag == 0 or (row, column) == none[1:]:
                    scores[lag, row, column] = float(mean[row, column])
    lag, row, column = max(scores, key=lambda one: scores[one])
    width = _COMPARED_HW[1]
    return Agreement(((column - _REACH_PX) / width, (row - _REACH_PX) / width), lag,
                     scores[lag, row, column] / max(scores[none], 1e-6))


def draw_pairs(pairs: Sequence[MetricPair], path: Path) -> None:
    """Write a picture of images and of their depth on top of them, up to twelve over time."""
    chosen = [pairs[index] for index in np.unique(
        np.linspace(0, len(pairs) - 1, min(_PICTURES, len(pairs))).astype(int))]
    tiles = [_overlay(pair) for pair in chosen]
    height = max(tile.shape[0] for tile in tiles)
    tiles = [cv2.copyMakeBorder(  # type: ignore[misc]
        tile, 0, height - tile.shape[0], 0, 0, cv2.BORDER_CONSTANT) for tile in tiles]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[index:index + _COLUMNS], axis=1)
            for index in range(0, len(tiles), _COLUMNS)]
    with atomic_path(path) as file:
        file.write_bytes(encode_png(np.concatenate(rows)))


def _overlay(pair: MetricPair) -> U8:
    """Return an image with the colours of its depth mixed into it where there is depth."""
    image, _ = pair.labelled.read()
    inverse = inverse_from_metric(pair.frame.read_depth())
    seen = np.isfinite(inverse)
    low, high = outer_values(inverse[seen]) if seen.any() else (0.0, 1.0)
    colors = colorize(inverse, low, high, color_table('spectral_r'))
    mixed = np.where(seen[..., None], image // 3 + colors // 3 * 2, image).astype(np.uint8)
    size_wh = _PICTURE_WIDTH, round(_PICTURE_WIDTH * image.shape[0] / image.shape[1])
    return cv2.resize(mixed, size_wh, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _edges(inverse: F32) -> F32:
    """Return the edges [H, W] of inverse depth, mean 0 and length 1; unknown depth has none."""
    small = nearest(inverse, _COMPARED_HW)
    unknown = ~np.isfinite(small)
    if unknown.all():
        return np.zeros(_COMPARED_HW, np.float32)
    filled = np.where(unknown, np.float32(0), small)
    low, high = outer_values(small[~unknown])
    filled = np.clip((filled - low) / max(high - low, 1e-9), 0, 1).astype(np.float32)
    across, down = (cv2.Sobel(filled, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    strength: F32 = np.minimum(np.hypot(across, down), np.float32(1))
    # Edges of holes are not edges of depth.
    strength[cv2.dilate(unknown.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0] = 0
    strength -= strength.mean()
    return strength / np.float32(max(float(np.linalg.norm(strength)), 1e-9))


def _correlation(seen: F32, measured: F32) -> F64:
    """Return [21, 21]: the correlation of two maps for each shift of the second one."""
    reach = _REACH_PX
    inner = seen[reach:-reach, reach:-reach]
    found: F64 = cv2.matchTemplate(
        measured, inner, cv2.TM_CCOEFF_NORMED).astype(np.float64)
    return np.nan_to_num(found)
