"""
Points that are followed from image to image: corners spread over a grid, and Lucas-Kanade.

Corners are the largest minimal eigenvalue of each cell (Shi and Tomasi, CVPR 1994). They are
followed with image pyramids (Bouguet, 2000) and followed back; those that do not return are lost.
A camera that changes its exposure is compensated for.
"""

import cv2
from depth_anything_ros.arrays import Bools, F32, F64, U8
import numpy as np

# Window and pyramid of Lucas-Kanade [px], and where its iterations end.
_WINDOW, _NEAR_LEVELS, _LEVELS = 11, 1, 3
_END = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 0.03)
# A corner is at least this share of the median of the strongest third of the cells, and the
# smallest eigenvalue of a corner in an image without noise.
_CORNER_SHARE, _LEAST_CORNER = 0.02, 1e-5
_BORDER = 6
# Brightness is compared in blocks of this many pixels, and compensated for if it differs by more
# than this share, at no fewer points than these.
_LIGHT_BLOCK, _LIGHT_DIFFERS, _LIGHT_POINTS = 8, 0.05, 15


class PointTracks:
    """
    The points of the last image, ``pixels`` [N, 2] float32: column and row.

    A grid of about ``most`` cells gets one new corner for each free cell. A point is lost if it
    does not return within ``max_forward_backward`` pixels.
    """

    def __init__(self, most: int, max_forward_backward: float) -> None:
        self._most = most
        self._max_return = max_forward_backward
        self._image: U8 = np.empty((0, 0), np.uint8)
        self._light: F64 = np.empty((0, 0))
        self.pixels: F32 = np.empty((0, 2), np.float32)

    def start(self, image: U8) -> None:
        """Forget all points; ``image`` [H, W] is the first of the next ones."""
        self.pixels = np.empty((0, 2), np.float32)
        self._image, self._light = image, _blocks(image)

    def follow(self, image: U8, expected: F64, otherwise: F64) -> Bools:
        """
        Follow the points into ``image`` [H, W] and return which of them were found.

        ``expected`` [N, 2] is where the points are searched first. Those that do not return are
        searched farther around ``otherwise`` [N, 2]. ``pixels`` keeps those found.
        """
        before, self._image = self._image, image
        light, self._light = self._light, _blocks(image)
        if not len(self.pixels):
            return np.empty(0, bool)
        # The brighter image is compared as dark as the other one.
        gain = _gain(light, self._light, self.pixels, expected)
        before, image = _darker(before, gain), _darker(image, 1 / gain)
        found = self._returning(before, image, self.pixels, expected, _NEAR_LEVELS)
        lost = np.isnan(found[:, 0])
        if lost.any():
            found[lost] = self._returning(before, image, self.pixels[lost], otherwise[lost],
                                          _LEVELS)
        height, width = image.shape
        # A point that was not found is NaN, for which every comparison is false.
        kept = np.asarray((found >= _BORDER).all(axis=1)
                          & (found < (width - _BORDER, height - _BORDER)).all(axis=1))
        self.pixels = found[kept]
        return kept

    def _returning(self, first: U8, second: U8, pixels: F32, expected: F64, levels: int) -> F32:
        """Return where points of ``first`` are in ``second``, NaN if they do not return."""
        found = self._flow(first, second, pixels, expected.astype(np.float32), levels)
        # Searched first where the point came from, displaced as it was expected to move.
        back = self._flow(second, first, found, (found - expected + pixels).astype(np.float32),
                          levels)
        found[~(np.hypot(*(back - pixels).T) <= self._max_return)] = np.nan
        return found

    @staticmethod
    def _flow(first: U8, second: U8, pixels: F32, expected: F32, levels: int) -> F32:
        """Return where points of ``first`` are in ``second``, NaN where they were not found."""
        found, seen, _ = cv2.calcOpticalFlowPyrLK(
            first, second, np.nan_to_num(pixels), np.nan_to_num(expected),
            winSize=(_WINDOW, _WINDOW), maxLevel=levels, criteria=_END,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW)
        return np.where(seen == 1, found, np.nan).astype(np.float32)

    def structure(self) -> F64:
        """
        Return the structure tensor [N, 3] of each point: the sums of gx², gx gy and gy².

        gx and gy are the derivatives of the image in the window in which a point is followed.
        """
        reach = np.arange(_WINDOW) - _WINDOW // 2
        columns, rows = (np.rint(self.pixels).astype(np.intp)[:, :, None] + reach).swapaxes(0, 1)
        places = (rows[:, :, None], columns[:, None, :])
        across, down = (found[places].reshape(len(self.pixels), -1).astype(np.float32)
                        for found in cv2.spatialGradient(self._image))
        return np.stack([np.einsum('np,np->n', *pair) for pair in (
            (across, across), (across, down), (down, down))], axis=1).astype(np.float64)

    def thin_out(self) -> Bools:
        """Keep the oldest point of each cell and return which points were kept."""
        _, columns, cell = self._grid()
        cells = (self.pixels / cell).astype(np.intp)
        kept = np.zeros(len(self.pixels), bool)
        kept[np.unique(cells[:, 1] * (columns + 1) + cells[:, 0], return_index=True)[1]] = True
        self.pixels = self.pixels[kept]
        return kept

    def add_corners(self) -> int:
        """Append corners of the last image, in cells without a point; return how many."""
        rows, columns, cell = self._grid()
        half = cv2.resize(self._image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        if not rows or not columns:
            return 0
        corners = _cells(np.asarray(cv2.cornerMinEigenVal(half, 3), np.float32), cell // 2)
        places = corners.argmax(axis=2)
        strength = np.take_along_axis(corners, places[..., None], axis=2)[..., 0]
        strong = np.sort(strength, axis=None)[-max(1, strength.size // 3):]
        wanted = strength > max(_CORNER_SHARE * float(np.median(strong)), _LEAST_CORNER)
        taken = (self.pixels / cell).astype(np.intp)
        taken = taken[(taken < (columns, rows)).all(axis=1)]
        wanted[taken[:, 1], taken[:, 0]] = False
        found_rows, found_columns = np.nonzero(wanted)
        down, across = np.divmod(places[wanted], cell // 2)
        found = np.stack([found_columns * cell + 2 * across + 0.5,
                          found_rows * cell + 2 * down + 0.5], axis=1)
        height, width = self._image.shape
        inside = ((found >= _BORDER) & (found < (width - _BORDER, height - _BORDER))).all(axis=1)
        found = found[inside].astype(np.float32)
        self.pixels = np.concatenate([self.pixels, found])
        return len(found)

    def _grid(self) -> tuple[int, int, int]:
        """Return the numbers of rows and columns of cells, and the even side of a cell [px]."""
        height, width = self._image.shape
        cell = 2 * max(4, round(np.sqrt(height * width / self._most) / 2))
        return height // cell, width // cell, cell


def along_edge(structure: F64, directions: F64) -> F64:
    """
    Return the error of points along ``directions`` [..., N, 2], relative to that of a corner.

    ``structure`` [N, 3] is that of ``PointTracks.structure``. 1 is a corner, less is across an
    edge; a large value is along an edge, where a point slides.
    """
    xx, xy, yy = structure.T
    x, y = directions[..., 0], directions[..., 1]
    with np.errstate(divide='ignore', invalid='ignore'):
        variance = (x * x * yy - 2 * x * y * xy + y * y * xx) / (xx * yy - xy * xy)
        errors: F64 = np.sqrt(variance * (xx + yy) / (2 * (x * x + y * y)))
    return errors


def _blocks(image: U8) -> F64:
    """Return the mean brightness of each block of the image [H, W], plus 1."""
    means: F64 = cv2.resize(image, None, fx=1 / _LIGHT_BLOCK, fy=1 / _LIGHT_BLOCK,
                            interpolation=cv2.INTER_AREA).astype(np.float64) + 1
    return means


def _gain(first: F64, second: F64, pixels: F32, expected: F64) -> float:
    """Return how much brighter the points are in the blocks of the second image, 1 if unknown."""
    height, width = first.shape
    places = (np.stack([pixels, expected]) / _LIGHT_BLOCK).astype(np.intp)
    before, after = places[:, ((places >= 0) & (places < (width, height))).all(axis=(0, 2))]
    if len(before) < _LIGHT_POINTS:
        return 1.0
    gain = float(np.median(second[after[:, 1], after[:, 0]] / first[before[:, 1], before[:, 0]]))
    return gain if abs(gain - 1) > _LIGHT_DIFFERS else 1.0


def _darker(image: U8, gain: float) -> U8:
    return image if gain >= 1 else cv2.convertScaleAbs(image, alpha=gain).astype(np.uint8)


def _cells(values: F32, cell: int) -> F32:
    """Return the values [H, W] by cells [rows, columns, cell * cell]; a rest is left out."""
    rows, columns = (side // cell for side in values.shape)
    return (values[:rows * cell, :columns * cell].reshape(rows, cell, columns, cell)
            .swapaxes(1, 2).reshape(rows, columns, cell * cell))
