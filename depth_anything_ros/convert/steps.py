"""Lines that say which of how many steps runs and how long it took."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import time

Report = Callable[[str], None]


class Steps:
    """Counts the steps of one conversion."""

    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._number = 0

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say that a step starts and, unless it fails, how long it took."""
        self._number += 1
        self._report(f'[{self._number}/{self._total}] {text}')
        start = time.monotonic()
        yield
        self._report(f'      {time.monotonic() - start:.1f} s')

    def tell(self, lines: tuple[str, ...]) -> None:
        """Report what a step found."""
        self._report('\n'.join(f'      {line}' for line in lines))
