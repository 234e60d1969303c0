"""What a mode of the benchmark finds: figures by name, tables for people, a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
import statistics

Say = Callable[[str], None]


@dataclass(frozen=True)
class Spread:
    """A figure of several rounds: the median and the extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Spread':
        """Return the spread of the figures of all rounds, at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f'{_text(self.median)} ({_text(self.low)} to {_text(self.high)})'


@dataclass(frozen=True)
class Table:
    """Rows of text below ``columns``; ``note`` says how to read them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ''


@dataclass(frozen=True)
class Report:
    """
    What one mode found.

    ``settings`` state warm-up, threads, sizes and whatever else the figures depend on; ``draw``
    writes the picture of the mode as PNG, if it has one.
    """

    mode: str
    settings: Mapping[str, str]
    tables: tuple[Table, ...]
    figures: Mapping[str, float]
    draw: Callable[[Path], None] | None = field(default=None, compare=False)


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int,
                say: Say) -> dict[str, list[float]]:
    """Return the figures of each run, taken in turn so that all share the machine's moods."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, run in runs.items():
            found[name].append(run())
        latest = ', '.join(f'{name} {values[-1]:.3g}' for name, values in found.items())
        say(f'round {number} of {rounds}: {latest}')
    return found


def ratio(values: Sequence[float], others: Sequence[float]) -> Spread:
    """Return ``values`` over ``others``, round by round."""
    return Spread.of([value / other for value, other in zip(values, others, strict=True)])


def _text(value: float) -> str:
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'
