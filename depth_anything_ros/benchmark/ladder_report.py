"""Tables, figures and chart of mode ``ladder``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import re
from typing import Any

from depth_anything_ros.benchmark.ladder_accuracy import Accuracy
from depth_anything_ros.benchmark.ladder_steps import Config, Line, Speed
from depth_anything_ros.benchmark.report import new_figure, require_matplotlib, Table
from depth_anything_ros.evaluate.results import Failure

_WIDTH_INCH, _PANEL_INCH, _LEGEND_INCH, _LEGEND_COLUMNS = 8.0, 3.2, 0.3, 3
_TICKS = tuple(digit * 10.0 ** power for power in range(-1, 5) for digit in (1, 2, 3, 5, 7))


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """
    Return for each point (gain, cost) whether it is on the Pareto front.

    It is unless another one is at least as good in both and better in one; equal points are both
    on it or both not. A point that is not finite is never on the front.
    """
    usable = [point for point in points if all(map(math.isfinite, point))]
    return [point in usable and not any(_beats(other, point) for other in usable)
            for point in points]


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] <= point[1]


@dataclass(frozen=True)
class Step:
    """The measurement of one configuration."""

    config: Config
    line: Line
    speed: Speed
    accuracy: Accuracy


@dataclass(frozen=True)
class _Figure:
    """
    A figure that is compared with the time.

    ``value`` returns None where it was not measured; ``sign`` is 1 where larger is better, else
    -1; ``digits`` are shown.
    """

    name: str
    meaning: str
    value: Callable[[Accuracy], float | None]
    sign: int
    digits: int


_FIGURES = (
    _Figure('rank', 'mean rank correlation (Spearman) with the depth of {reference}, 1 for the '
            'same order of all pixels', lambda one: one.rank, 1, 4),
    _Figure('AbsRel', "mean of |z' - z| / z on measured depth z, lower is better; a relative "
            'model is fitted to each image, a metric one is not',
            lambda one: None if one.truth is None else one.truth.abs_rel, -1, 3),
    _Figure('δ1', "share of the pixels with max(z'/z, z/z') below 1.25",
            lambda one: None if one.truth is None else one.truth.delta1, 1, 3),
    _Figure('flicker', 'temporal alignment error of a moving camera, without stabilization, lower '
            'is better', lambda one: one.flicker, -1, 4))
# AbsRel and δ1 have nearly the same front.
_COMPARED = ('rank', 'AbsRel', 'flicker')
_KEYS = {'AbsRel': 'absrel', 'δ1': 'delta1'}


def figures_of(steps: Sequence[Step]) -> dict[str, float]:
    """Return the time and each figure that was measured by configuration."""
    figures: dict[str, float] = {}
    for step in steps:
        name = re.sub(r'\W+', '_', str(step.config).lower())
        figures[f'{name}_ms'] = step.speed.ms.median
        for one in _measured(steps):
            figures[f'{name}_{_KEYS.get(one.name, one.name)}'] = _value(one, step)
    return figures


def tables_of(steps: Sequence[Step], reference: Config,
              failed: Sequence[Failure]) -> tuple[Table, ...]:
    """Return a row per configuration, from the fastest to the slowest, and what was left out."""
    ordered = sorted(steps, key=_ms)
    measured, fronts = _measured(steps), _fronts(ordered)
    rows = tuple(
        (step.line.model, step.line.info.licence, step.line.executed, str(step.config.size),
         '{1}x{0}'.format(*step.speed.network_hw), f'{step.line.mib:.0f}', str(step.speed.ms),
         *(f'{_value(one, step):.{one.digits}f}' for one in measured),
         ', '.join(name for name, marks in fronts.items() if marks[number]))
        for number, step in enumerate(ordered))
    table = Table('Speed and accuracy', (
        'model', 'licence', 'runs in', 'input size', 'network', 'MiB', 'ms',
        *(one.name for one in measured), 'Pareto front'), rows, _note(measured, reference))
    left_out = Table('Left out', ('model', 'reason'),
                     tuple((one.name, one.reason) for one in failed))
    return (table, left_out) if failed else (table,)


def _note(measured: Sequence[_Figure], reference: Config) -> str:
    meanings = ''.join(f' {one.name}: {one.meaning.format(reference=reference)}.'
                       for one in measured)
    return ('ms: of one image on this machine; in parentheses the lowest and the highest round. '
            'For N frames/s, choose a row whose highest time is below 1000/N. Pareto front: the '
            'figures for which no other row is at least as fast and as good and better in one of '
            f'the two.{meanings}')


def draw_ladder(steps: Sequence[Step], reference: Config, path: Path) -> None:
    """
    Write a PNG: each figure over the time, a panel each.

    Pareto points are filled, and joined by a grey line. MissingDependencyError without matplotlib.
    """
    require_matplotlib()
    shown = [one for one in _measured(steps) if one.name in _COMPARED]
    lines = list(dict.fromkeys(step.config.line for step in steps))
    legend = _LEGEND_INCH * (1 + math.ceil(len(lines) / _LEGEND_COLUMNS))
    figure = new_figure(_WIDTH_INCH, legend + _PANEL_INCH * len(shown))
    panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    for axes, one in zip(panels, shown):
        _draw_panel(axes, steps, one, lines)
        axes.set_ylabel(f'rank to {reference}' if one.name == 'rank' else one.name)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside upper center',
                  ncols=_LEGEND_COLUMNS, frameon=False, fontsize=9,
                  title='at the points: input size; filled: Pareto front')
    _mark_times(panels[-1])
    figure.savefig(path, format='png')


def _draw_panel(axes: Any, steps: Sequence[Step], one: _Figure, lines: Sequence[str]) -> None:
    front = sorted((step for step, best in zip(steps, _front(steps, one)) if best), key=_ms)
    axes.step([_ms(step) for step in front], [_value(one, step) for step in front],
              where='post', color='0.75', linewidth=4, zorder=0)
    for line in lines:
        own = sorted((step for step in steps if step.config.line == line), key=_ms)
        drawn, = axes.plot([_ms(step) for step in own], [_value(one, step) for step in own],
                           linewidth=1, marker='o', markerfacecolor='white', label=line)
        best = [step for step in own if step in front]
        axes.plot([_ms(step) for step in best], [_value(one, step) for step in best], marker='o',
                  linestyle='none', color=drawn.get_color())
        for step in own:
            axes.annotate(str(step.config.size), (_ms(step), _value(one, step)), fontsize=7,
                          color=drawn.get_color(), xytext=(0, 6), ha='center',
                          textcoords='offset points')
    axes.margins(x=0.06, y=0.15)
    axes.grid(alpha=0.3)


def _mark_times(axes: Any) -> None:
    """Make the shared axis logarithmic, with plain numbers."""
    axes.set_xscale('log')
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, labels=[f'{tick:g}' for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel('ms per image')


def _measured(steps: Sequence[Step]) -> list[_Figure]:
    return [one for one in _FIGURES if one.value(steps[0].accuracy) is not None]


def _fronts(steps: Sequence[Step]) -> dict[str, list[bool]]:
    return {one.name: _front(steps, one) for one in _measured(steps) if one.name in _COMPARED}


def _front(steps: Sequence[Step], one: _Figure) -> list[bool]:
    return pareto([(one.sign * _value(one, step), _ms(step)) for step in steps])


def _value(one: _Figure, step: Step) -> float:
    value = one.value(step.accuracy)
    return math.nan if value is None else value


def _ms(step: Step) -> float:
    return step.speed.ms.median
