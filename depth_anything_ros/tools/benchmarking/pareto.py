"""Which of several choices nobody would replace by another one."""

from collections.abc import Sequence
import math


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
