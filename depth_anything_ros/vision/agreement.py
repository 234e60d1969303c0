"""
Whether two depth maps put the pixels of an image into one order: Spearman's rank correlation.

No monotonous change of either map counts, so that a relative map needs no fit of scale and shift,
and a small model can be compared with the one that taught it.
"""

from dataclasses import dataclass

from depth_anything_ros.arrays import F32, F64
import numpy as np

# Inverse depth near zero is as good as infinitely far: the clip keeps it from deciding the mean.
FARTHEST_TO_NEAREST = 10.0


def rank_correlation(first: F32, second: F32) -> float:
    """
    Return Spearman's correlation, -1 to 1, of two maps of one shape; ties share their mean rank.

    Pixels where one of the maps is not finite are left out; a map that is constant over the rest
    has no order and correlates with nothing: 0. ValueError if the shapes differ or fewer than two
    pixels are left.
    """
    if first.shape != second.shape:
        raise ValueError(f'maps of {first.shape} and {second.shape} cannot be compared')
    valid = np.isfinite(first) & np.isfinite(second)
    count = np.count_nonzero(valid)
    if count < 2:
        raise ValueError(f'{count} pixels are finite in both maps; an order needs two')
    one, other = _centred_ranks(first[valid]), _centred_ranks(second[valid])
    spread = np.sqrt((one @ one) * (other @ other))
    return float(np.clip(one @ other / spread, -1.0, 1.0)) if spread else 0.0


def _centred_ranks(values: F32) -> F64:
    """Return the rank of each of n values [n] less the mean rank."""
    order = np.argsort(values)
    ascending = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    ends = np.append(starts[1:], values.size)
    ranks = np.empty(values.size)
    ranks[order] = np.repeat((starts + ends - values.size) / 2, ends - starts)
    return ranks


@dataclass(frozen=True)
class Agreement:
    """``abs_rel`` is mean |z' - z| / z after alignment; ``pearson`` correlates the raw maps."""

    abs_rel: float
    pearson: float


def agreement(candidate: F32, reference: F32, relative: bool) -> Agreement:
    """
    Compare a map [H, W] with the one that a reference model gives for the same image.

    With ``relative`` both are inverse depth: ``candidate`` is fitted to ``reference``, and both
    end at FARTHEST_TO_NEAREST times the nearest depth. Otherwise both are depth in metres and
    compared as they are. A candidate that is not finite or flat agrees not at all: (inf, 0).
    ValueError if the sizes differ.
    """
    if candidate.shape != reference.shape:
        raise ValueError(f'maps of {candidate.shape} and {reference.shape} cannot be compared')
    found, expected = (one.astype(np.float64).ravel() for one in (candidate, reference))
    centred, target = found - found.mean(), expected - expected.mean()
    variance = centred @ centred
    if not np.isfinite(found).all() or variance == 0 or target @ target == 0:
        return Agreement(float('inf'), 0.0)
    pearson = float(centred @ target / np.sqrt(variance * (target @ target)))
    if not relative:
        return Agreement(float(np.mean(np.abs(found - expected) / expected)), pearson)
    fitted = expected.mean() + centred * (centred @ target / variance)
    floor = expected.max() / FARTHEST_TO_NEAREST
    nearness, truth = np.maximum(fitted, floor), np.maximum(expected, floor)
    return Agreement(float(np.mean(np.abs(truth / nearness - 1))), pearson)
