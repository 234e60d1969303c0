"""The picture of a ladder: accuracy over speed, a line for each model and precision."""

from collections.abc import Callable, Sequence
import math
from pathlib import Path
from typing import Any

from depth_anything_ros.tools.benchmarking.drawing import new_figure, require_matplotlib
from depth_anything_ros.tools.benchmarking.ladder_results import Step
from depth_anything_ros.tools.benchmarking.ladder_rungs import Plan

_WIDTH_INCH, _HEIGHTS_INCH = 8.0, (5.0, 3.0)
_TICKS = tuple(digit * 10.0 ** power for power in range(-3, 3) for digit in (1, 1.5, 2, 3, 5, 7))


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
