"""Table, figures and chart of mode ``ladder``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from depth_anything_ros.benchmark.ladder_steps import Config, Plan, Speed
from depth_anything_ros.benchmark.report import new_figure, require_matplotlib, Table
from depth_anything_ros.vision.accuracy import DepthScores

_WIDTH_INCH, _HEIGHTS_INCH = 8.0, (5.0, 3.0)
_TICKS = tuple(digit * 10.0 ** power for power in range(-3, 3) for digit in (1, 1.5, 2, 3, 5, 7))


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
    """
    The measurement of one configuration.

    ``lost`` is the mean AbsRel to the reference after alignment, ``truth`` the scores on measured
    depth, if any; ``best`` is whether the configuration is on the Pareto front of speed and loss.
    """

    config: Config
    speed: Speed
    lost: float
    truth: DepthScores | None
    best: bool


def figures_of(steps: Sequence[Step]) -> dict[str, float]:
    """Return speed, loss and, if they were measured, AbsRel and delta1 by configuration."""
    figures: dict[str, float] = {}
    for step in steps:
        name = f'{step.config.line}_{step.config.size}'
        figures |= {f'{name}_speed': step.speed.relative.median, f'{name}_lost': step.lost}
        if step.truth is not None:
            figures |= {f'{name}_absrel': step.truth.abs_rel, f'{name}_delta1': step.truth.delta1}
    return figures


def table_of(steps: Sequence[Step], plan: Plan) -> Table:
    """Return a row per configuration, from the slowest to the fastest."""
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
    return (step.config.line, str(step.config.size), f'{width}x{height}', str(step.speed.relative),
            f'{step.lost:.4f}', *scores, '*' if step.best else '')


def _note(steps: Sequence[Step], plan: Plan) -> str:
    reached = steps[0].speed.baseline_hz.median
    note = (f'Speed is relative to {plan.baseline}, {reached:.3g} images/s in this run; in '
            'parentheses the lowest and the highest round. To reach a frame rate, divide it by '
            'that figure and choose the first row with a * whose lowest speed is at least the '
            'quotient. Rows with a * are on the Pareto front: no other row is at least as fast '
            'and as accurate and better in one of the two. Lost is the mean AbsRel after '
            'alignment.')
    return note if steps[0].truth is None else f'{note} AbsRel and δ1 are to measured depth.'


def draw_ladder(steps: Sequence[Step], plan: Plan, path: Path) -> None:
    """
    Write a PNG: the loss over the speed and below it AbsRel to measured depth, if any.

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
        panels[1].set_ylabel('AbsRel to measured depth\n(same points as above)')
    _mark_speeds(panels[-1], f'speed, {plan.baseline} = 1')
    figure.savefig(path, format='png')


def _draw_losses(axes: Any, steps: Sequence[Step], title: str) -> None:
    """Draw the upper panel, whose points are labelled with their input size."""
    colors = _draw_lines(axes, steps, lambda step: step.lost)
    fastest = max(steps, key=_speed).config.line
    for step in filter(lambda step: math.isfinite(step.lost), steps):
        right, up, side = (6, -8, 'left') if step.config.line == fastest else (-5, 8, 'right')
        axes.annotate(str(step.config.size), (_speed(step), step.lost), fontsize=8, ha=side,
                      va='center', color=colors[step.config.line], xytext=(right, up),
                      textcoords='offset points')
    axes.margins(x=0.08, y=0.1)
    axes.set_ylabel(title)
    axes.legend(title='at the points: input size; filled: Pareto', loc='upper left', frameon=False)


def _draw_lines(axes: Any, steps: Sequence[Step],
                value: Callable[[Step], float]) -> dict[str, str]:
    """Draw the lines and return their colours."""
    colors: dict[str, str] = {}
    for line in dict.fromkeys(step.config.line for step in steps):
        own = sorted((step for step in steps if step.config.line == line),
                     key=lambda step: step.config.size)
        drawn, = axes.plot([_speed(step) for step in own], [value(step) for step in own],
                           linewidth=1, marker='o', markerfacecolor='white', label=line)
        best = [step for step in own if step.best]
        axes.plot([_speed(step) for step in best], [value(step) for step in best], marker='o',
                  linestyle='none', color=drawn.get_color())
        colors[line] = drawn.get_color()
    axes.grid(alpha=0.3)
    return colors


def _mark_speeds(axes: Any, title: str) -> None:
    """Make the shared axis logarithmic, with plain numbers."""
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
