"""One picture with the worst and the best cases of an evaluation, a row each."""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.evaluate.files import OrdinalPair
from depth_anything_ros.vision.agreement import FARTHEST_TO_NEAREST
from depth_anything_ros.vision.colorize import color_table, colorize, RangeTracker
from depth_anything_ros.vision.depth import inverse_from_metric
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

_PANEL_WIDTH_PX, _GAP_PX, _LINE_PX = 360, 6, 26
_PAPER, _INK = 255, 24
_UNKNOWN_BGR = (128, 128, 128)
_WORST_RGBD, _WORST_PARITY = 0.5, 0.1
_RIGHT_BGR, _WRONG_BGR = (60, 190, 60), (50, 50, 230)


@dataclass(frozen=True)
class Case:
    """
    One image of an evaluation.

    ``caption`` says its scores, ``badness`` ranks it, larger is worse; ``draw`` returns its
    panels, BGR pictures [H, W, 3] of one size.
    """

    name: str
    caption: str
    badness: float
    draw: Callable[[], Sequence[U8]]


@dataclass
class Gallery:
    """Keep the ``count`` worst and the ``count`` best of the cases that are offered."""

    headings: Sequence[str]
    count: int = 3
    _worst: list[Case] = field(default_factory=list)
    _best: list[Case] = field(default_factory=list)

    def offer(self, case: Case) -> None:
        """Keep the case if it is among the worst or the best so far; ties go to the first."""
        insort(self._worst, case, key=lambda one: -one.badness)
        insort(self._best, case, key=lambda one: one.badness)
        del self._worst[self.count:], self._best[self.count:]

    def kept(self) -> list[Case]:
        """Return the worst cases and then the best, all from bad to good, none twice."""
        return self._worst + [case for case in self._best[::-1] if case not in self._worst]

    def sheet(self) -> U8:
        """Return the picture [H, W, 3], BGR, of what is kept; ValueError if that is nothing."""
        if not self._worst:
            raise ValueError('there is no case to draw')
        cases, worst = self.kept(), len(self._worst)
        ranks = [f'worst {index + 1}' if index < worst else f'best {len(cases) - index}'
                 for index in range(len(cases))]
        rows = [_row(f'{rank}   {case.name}   {case.caption}', case.draw())
                for rank, case in zip(ranks, cases)]
        width = max(row.shape[1] for row in rows)
        return np.concatenate([_heading(self.headings, width),
                               *(_widened(row, width) for row in rows)])


def _row(text: str, panels: Sequence[U8]) -> U8:
    height = max(1, round(panels[0].shape[0] * _PANEL_WIDTH_PX / panels[0].shape[1]))
    parts: list[U8] = []
    for panel in panels:
        parts += [_blank(height, _GAP_PX), np.asarray(cv2.resize(
            panel, (_PANEL_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)]
    row = np.concatenate([*parts, _blank(height, _GAP_PX)], axis=1)
    line = _blank(_LINE_PX, row.shape[1])
    _write(line, text, _GAP_PX)
    return np.concatenate([line, row, _blank(_GAP_PX, row.shape[1])])


def _heading(texts: Sequence[str], width: int) -> U8:
    line = _blank(_LINE_PX, width)
    for column, text in enumerate(texts):
        _write(line, text, _GAP_PX + column * (_PANEL_WIDTH_PX + _GAP_PX))
    return line


def _write(line: U8, text: str, left: int) -> None:
    plain = text.encode('ascii', 'replace').decode()
    cv2.putText(line, plain, (left, _LINE_PX - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.45,
                (_INK, _INK, _INK), 1, cv2.LINE_AA)


def _blank(height: int, width: int) -> U8:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _widened(row: U8, width: int) -> U8:
    return np.concatenate([row, _blank(row.shape[0], width - row.shape[1])], axis=1)


def depth_panels(image_bgr: U8, predicted_m: F32, truth_m: F32) -> list[U8]:
    """
    Return image, prediction, truth and relative error of maps [H, W] in metres.

    Both maps are coloured as disparity over the range of the truth; what is unknown is grey.
    """
    truth, prediction = inverse_from_metric(truth_m), inverse_from_metric(predicted_m)
    low, high = RangeTracker().update(truth)
    error = np.abs(predicted_m - truth_m) / truth_m
    return [image_bgr, _colors(prediction, low, high), _colors(truth, low, high),
            _colors(error, 0.0, _WORST_RGBD, 'inferno')]


def parity_panels(image_bgr: U8, found: F32, expected: F32, relative: bool) -> list[U8]:
    """
    Return image, map, reference map and relative difference, at the size of the image.

    Relative maps are fitted and clipped as ``vision.agreement`` does it.
    """
    size_hw = image_bgr.shape[:2]
    if relative:
        nearness, reference = _fitted(found, expected), expected
        floor = np.float32(expected.max() / FARTHEST_TO_NEAREST)
        difference = np.abs(np.maximum(expected, floor) / np.maximum(nearness, floor) - 1)
    else:
        nearness, reference = inverse_from_metric(found), inverse_from_metric(expected)
        difference = np.abs(found - expected) / expected
    low, high = RangeTracker().update(reference)
    return [image_bgr, _colors(resize_depth(nearness, size_hw), low, high),
            _colors(resize_depth(reference, size_hw), low, high),
            _colors(resize_depth(difference, size_hw), 0.0, _WORST_PARITY, 'inferno')]


def pair_panels(image_bgr: U8, depth: F32, pairs: Sequence[OrdinalPair], right: Sequence[bool],
                relative: bool) -> list[U8]:
    """Return the image and the map [H, W] with a line per pair from the nearer point."""
    nearness = depth if relative else inverse_from_metric(depth)
    panels = [image_bgr.copy(), _colors(nearness, *RangeTracker().update(nearness))]
    thickness = max(2, image_bgr.shape[1] // 180)
    for panel in panels:
        for pair, is_right in zip(pairs, right):
            color = _RIGHT_BGR if is_right else _WRONG_BGR
            near, far = pair.nearer_rc[::-1], pair.farther_rc[::-1]
            cv2.line(panel, near, far, color, thickness, cv2.LINE_AA)
            for point, fill in ((far, color), (near, (255, 255, 255))):
                cv2.circle(panel, point, 3 * thickness, fill, -1, cv2.LINE_AA)
                cv2.circle(panel, point, 3 * thickness, color, thickness, cv2.LINE_AA)
    return panels


def _fitted(found: F32, expected: F32) -> F32:
    valid = np.isfinite(found) & np.isfinite(expected)
    if not valid.any() or np.ptp(found[valid]) == 0:
        return np.full_like(expected, np.nan)
    scale, shift = np.polyfit(found[valid].astype(np.float64), expected[valid], 1)
    fitted: F32 = (found * scale + shift).astype(np.float32)
    return fitted


def _colors(values: F32, low: float, high: float, table: str = 'spectral_r') -> U8:
    colors = colorize(values, low, high, color_table(table))
    colors[~np.isfinite(values)] = _UNKNOWN_BGR
    return colors
