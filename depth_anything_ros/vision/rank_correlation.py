"""
Whether two depth maps put the pixels of an image into one order: Spearman's rank correlation.

No monotonous change of either map counts, so that a relative map needs no fit of scale and shift,
and a small model can be compared with the one that taught it.
"""

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


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
