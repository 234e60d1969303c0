"""One picture of the worst and the best images of an evaluation, a row each."""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.vision.colorize import color_table, colorize
import numpy as np

_PANEL_WIDTH_PX, _GAP_PX, _LINE_PX = 360, 6, 26
_PAPER, _INK = 255, 24
_UNKNOWN_BGR = (128, 128, 128)


@dataclass(frozen=True)
class Case:
    """
    One image of an evaluation.

    ``caption`` names its scores. Images are ranked by ``badness``, larger is worse. ``draw``
    returns the panels of its row, BGR pictures [H, W, 3] of equal size.
    """

    name: str
    caption: str
    badness: float
    draw: Callable[[], Sequence[U8]]


@dataclass
class Gallery:
    """Keeps the ``count`` worst and the ``count`` best cases of all that are offered."""

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
        """Return the picture BGR [H, W, 3] of the kept cases; ValueError without any."""
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


def color_map_of(values: F32, low: float, high: float, table: str = 'spectral_r') -> U8:
    """Return a map [H, W] as colours BGR [H, W, 3] over low to high, grey where not finite."""
    colors = colorize(values, low, high, color_table(table))
    colors[~np.isfinite(values)] = _UNKNOWN_BGR
    return colors
