"""Which of several choices nobody would replace by another one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from depth_anything_ros.benchmark.ladder_steps import Plan, Rung, Speed
from depth_anything_ros.benchmark.report import new_figure, require_matplotlib
from depth_anything_ros.benchmark.results import Table
from depth_anything_ros.vision.accuracy import DepthScores

_WIDTH_INCH, _HEIGHTS_INCH = 8.0, (5.0, 3.0)
_TICKS = tuple(digit * 10.0 ** power for power in range(-3, 3) for digit in (1, 1.5, 2, 3, 5, 7))


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """
    Return for each point (gain, cost) whether it is on the Pareto front.

    It is unless another one is at least as good in both and better in one; equal points share
    their fate. A point that is not finite is never on the front.
    """
    usable = [point for point in points if all(map(math.isfinite, point))]
    return [point in usable and not any(_beats(other, point) for other in usable)
            for point in points]


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] <= point[1]


@dataclass(frozen=True)
class Step:
    """
    What was found for a rung.

    ``lost`` is the mean AbsRel to the reference after alignment, ``truth`` the scores on measured
    depth if there is any; ``best`` says that no other rung is as fast and as accurate as this one
    and better in one of both.
    """

    rung: Rung
    speed: Speed
    lost: float
    truth: DepthScores | None
    best: bool


def figures_of(steps: Sequence[Step]) -> dict[str, float]:
    """Return speed, loss and, if they were measured, AbsRel and delta1 of each rung by name."""
    figures: dict[str, float] = {}
    for step in steps:
        name = f'{step.rung.line}_{step.rung.size}'
        figures |= {f'{name}_speed': step.speed.relative.median, f'{name}_lost': step.lost}
        if step.truth is not None:
            figures |= {f'{name}_absrel': step.truth.abs_rel, f'{name}_delta1': step.truth.delta1}
    return figures


def table_of(steps: Sequence[Step], plan: Plan) -> Table:
    """Return the rungs from the slowest to the fastest."""
    ordered = sorted(steps, key=lambda step: step.speed.relative.median)
    measured = ('AbsRel', 'δ1') if steps[0].truth is not None else ()
    return Table(
        'Speed and accuracy',
        ('runs in', 'input size', 'network', 'speed', f'lost to {plan.reference}', *measured,
         'Pareto'),
        tuple(_row(step) for step in ordered), _note(ordered, plan))


def _row(step: Step) -> tuple[str, ...]:
    height, width = step.speed.network_hw
    scores = () if step.truth is None else (f'{step.truth.abs_rel:.3f}',
                                            f'{step.truth.delta1:.3f}')
    return (step.rung.line, str(step.rung.size), f'{width}x{height}', str(step.speed.relative),
            f'{step.lost:.4f}', *scores, '*' if step.best else '')


def _note(steps: Sequence[Step], plan: Plan) -> str:
    reached = steps[0].speed.yardstick_hz.median
    note = (f'Speed is relative to {plan.yardstick}, {reached:.3g} images/s in this run; in '
            'parentheses the lowest and the highest round. For a wanted rate divide it by that '
            'figure and take the first row with a * whose lowest speed reaches the quotient: it '
            'loses least. No other row is as fast and as accurate as one with a * and better in '
            'one of both. Lost is the mean AbsRel after alignment.')
    return note if steps[0].truth is None else note + ' AbsRel and δ1 are to measured depth.'


def draw_ladder(steps: Sequence[Step], plan: Plan, path: Path) -> None:
    """
    Write a PNG file: the loss over the speed, below it AbsRel to measured depth if there is any.

    Pareto points are filled. MissingDependencyError without matplotlib.
    """
    require_matplotlib()
    heights = _HEIGHTS_INCH[:1 if steps[0].truth is None else 2]
    figure = new_figure(_WIDTH_INCH, sum(heights))
    panels = figure.subplots(len(heights), sharex=True, squeeze=False,
                             gridspec_kw={'height_ratios': heights})[:, 0]
    _draw_losses(panels[0], steps, f'AbsRel lost to {plan.reference}')
    if len(panels) > 1:
        _draw_lines(panels[1], steps, _abs_rel)
        panels[1].set_ylabel('AbsRel to measured depth\n(points below those above)')
    _mark_speeds(panels[-1], f'speed, {plan.yardstick} = 1')
    figure.savefig(path, format='png')


def _draw_losses(axes: Any, steps: Sequence[Step], title: str) -> None:
    """Draw the panel that names the sizes; its lines are apart and rise to the right."""
    colors = _draw_lines(axes, steps, lambda step: step.lost)
    fastest = max(steps, key=_speed).rung.line
    for step in filter(lambda step: math.isfinite(step.lost), steps):
        right, up, side = (6, -8, 'left') if step.rung.line == fastest else (-5, 8, 'right')
        axes.annotate(str(step.rung.size), (_speed(step), step.lost), fontsize=8, ha=side,
                      va='center', color=colors[step.rung.line], xytext=(right, up),
                      textcoords='offset points')
    axes.margins(x=0.08, y=0.1)
    axes.set_ylabel(title)
    axes.legend(title='at the points: input size; filled: Pareto', loc='upper left', frameon=False)


def _draw_lines(axes: Any, steps: Sequence[Step],
                value: Callable[[Step], float]) -> dict[str, str]:
    """Draw the lines and return their colours."""
    colors: dict[str, str] = {}
    for line in dict.fromkeys(step.rung.line for step in steps):
        own = sorted((step for step in steps if step.rung.line == line),
                     key=lambda step: step.rung.size)
        drawn, = axes.plot([_speed(step) for step in own], [value(step) for step in own],
                           linewidth=1, marker='o', markerfacecolor='white', label=line)
        best = [step for step in own if step.best]
        axes.plot([_speed(step) for step in best], [value(step) for step in best], marker='o',
                  linestyle='none', color=drawn.get_color())
        colors[line] = drawn.get_color()
    axes.grid(alpha=0.3)
    return colors


def _mark_speeds(axes: Any, title: str) -> None:
    """Make the axis that all panels share logarithmic, with plain numbers."""
    axes.set_xscale('log')
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, labels=[f'{tick:g}' for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(title)


def _speed(step: Step) -> float:
    return step.speed.relative.median


def _abs_rel(step: Step) -> float:
    return float('nan') if step.truth is None else step.truth.abs_rel
