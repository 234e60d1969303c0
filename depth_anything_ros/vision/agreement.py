"""
How well two depth maps of one image agree: rank correlation, error after alignment, Pearson.

Spearman's rank correlation compares only the order of the pixels. It needs no scale and shift, so
it also compares a small model with its teacher.
"""

from dataclasses import dataclass

from depth_anything_ros.arrays import F32, F64
import numpy as np

# Depth is clipped at this multiple of the nearest depth, else the mean error would depend on a few
# pixels at an inverse depth of almost zero.
MAX_DEPTH_RATIO = 10.0


def rank_correlation(first: F32, second: F32) -> float:
    """
    Return Spearman's correlation, -1 to 1, of two maps of one shape; ties share their mean rank.

    Only pixels that are finite in both maps count. The result is 0 if one map is constant there.
    ValueError if the shapes differ or fewer than two pixels are finite in both.
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
    """Return the ranks [n] of n values minus their mean."""
    order = np.argsort(values)
    ascending = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    ends = np.append(starts[1:], values.size)
    ranks = np.empty(values.size)
    ranks[order] = np.repeat((starts + ends - values.size) / 2, ends - starts)
    return ranks


@dataclass(frozen=True)
class Agreement:
    """``abs_rel`` is mean |z' - z| / z after alignment, ``pearson`` that of the raw maps."""

    abs_rel: float
    pearson: float


def agreement(candidate: F32, reference: F32, relative: bool, fit: bool = True) -> Agreement:
    """
    Compare a map [H, W] with the output of a reference model for the same image.

    With ``relative`` both are inverse depth: ``candidate`` is fitted to ``reference`` by scale and
    shift, unless ``fit`` is False because they have the same scale, and both are clipped at
    MAX_DEPTH_RATIO times the nearest depth. Otherwise both are depth in metres and are compared
    without a fit. Pixels that are NaN in both, the sky of a metric model, do not count. The result
    is (inf, 0) for a candidate that is flat, or not finite elsewhere. ValueError if the sizes
    differ.
    """
    if candidate.shape != reference.shape:
        raise ValueError(f'maps of {candidate.shape} and {reference.shape} cannot be compared')
    known = ~(np.isnan(candidate) & np.isnan(reference))
    found, expected = (one[known].astype(np.float64) for one in (candidate, reference))
    if not (found.size and np.isfinite(found).all() and np.isfinite(expected).all()):
        return Agreement(float('inf'), 0.0)
    centred, target = found - found.mean(), expected - expected.mean()
    variance = centred @ centred
    if variance == 0 or target @ target == 0:
        return Agreement(float('inf'), 0.0)
    pearson = float(centred @ target / np.sqrt(variance * (target @ target)))
    if not relative:
        return Agreement(float(np.mean(np.abs(found - expected) / expected)), pearson)
    fitted = expected.mean() + centred * (centred @ target / variance) if fit else found
    floor = expected.max() / MAX_DEPTH_RATIO
    inverse, truth = np.maximum(fitted, floor), np.maximum(expected, floor)
    return Agreement(float(np.mean(np.abs(truth / inverse - 1))), pearson)
