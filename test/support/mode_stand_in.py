"""What stands for a mode of a benchmark in tests of its program."""

from collections.abc import Callable
from pathlib import Path

import cv2
from depth_anything_ros.benchmark.report import Report, Table
import numpy as np

LONG = 'words ' * 20
OUTPUTS = ('--json', 'found.json', '--markdown', 'found.md', '--picture', 'found.png')


class ModeStandIn:
    """A mode that measures nothing and keeps the options that it was called with."""

    def __init__(self) -> None:
        self.options: list[object] = []
        self.error: BaseException | None = None
        self.failed: tuple[str, ...] = ()
        self.draw: Callable[[Path], None] | None = draw

    def __call__(self, options: object, log: Callable[[str], None]) -> Report:
        """Log one line, then raise ``error``, if any, or return a report."""
        self.options.append(options)
        log('round [1] of 1')
        if self.error is not None:
            raise self.error
        table = Table('Peers', ('name', 'images/s', 'remark'),
                      (('ours [bf16]', '12.5', LONG),), 'more is better')
        return Report('stand_in', {'machine': 'quiet'}, (table,), {'rate': 12.5}, self.draw,
                      self.failed)


def draw(path: Path) -> None:
    """Write a picture of one colour."""
    assert cv2.imwrite(str(path), np.full((8, 16, 3), 99, np.uint8))
