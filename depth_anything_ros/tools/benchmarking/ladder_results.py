"""The rungs of a ladder as figures and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from depth_anything_ros.tools.benchmarking.ladder_rungs import Plan, Rung
from depth_anything_ros.tools.benchmarking.ladder_speed import Speed
from depth_anything_ros.tools.benchmarking.results import Table
from depth_anything_ros.vision.scores import DepthScores


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
