"""
How well an uncertainty orders the errors of pixels: sparsification curves, AUSE, reliability.

A sparsification curve is the mean error of the pixels that remain while the least certain ones are
removed, divided by that of all pixels (Ilg et al., ECCV 2018). AUSE is the area between the curve
of an uncertainty and that of the error itself, the oracle.
"""

from dataclasses import dataclass

from depth_anything_ros.arrays import Bools, F64
import numpy as np

_ITERATIONS = 20


def sparsification_curve(errors: F64, uncertainty: F64) -> F64:
    """
    Return the mean error of the k + 1 most certain of N pixels ÷ that of all, at index k, [N].

    Pixels of the same uncertainty share their mean error, as if their order were drawn by chance.
    """
    order = np.argsort(uncertainty)
    ascending = uncertainty[order]
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    counts = np.diff(np.append(starts, errors.size))
    shared = np.repeat(np.add.reduceat(errors[order], starts) / counts, counts)
    curve: F64 = np.cumsum(shared) / np.arange(1, errors.size + 1) / errors.mean()
    return curve


def ause(errors: F64, uncertainty: F64) -> float:
    """
    Return the area between the curves of an uncertainty and of the errors [N], 0 is best.

    A constant uncertainty stands for an order by chance.
    """
    return float(np.mean(sparsification_curve(errors, uncertainty)
                         - sparsification_curve(errors, errors)))


@dataclass(frozen=True)
class Bin:
    """Pixels of similar confidence: its mean, the share within the limit, the share of pixels."""

    confidence: float
    within: float
    share: float


def reliability(confidence: F64, within: Bools, bins: int = 10) -> list[Bin]:
    """Return those bins of equal width from 0 to 1 that hold pixels [N]."""
    numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    return [Bin(float(confidence[inside].mean()), float(within[inside].mean()),
                float(inside.mean()))
            for inside in (numbers == number for number in np.unique(numbers))]


def calibration_error(bins: list[Bin]) -> float:
    """Return the mean over the pixels of |confidence - share within the limit| of their bin."""
    return sum(one.share * abs(one.confidence - one.within) for one in bins)


def fit_logistic(inputs: F64, targets: Bools, weights: F64) -> F64:
    """
    Return the constant and the weights [1 + n] of a logistic regression on ``inputs`` [N, n].

    By Newton's method; ``weights`` [N] say how much each row counts. A weight that the data do
    not fix, as that of a constant input, is 0.
    """
    middle, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > 0, spread, np.inf)
    rows = np.concatenate([np.ones((len(inputs), 1)), (inputs - middle) / spread], axis=1)
    found = np.zeros(rows.shape[1])
    weights = weights / weights.mean()
    ridge = 1e-9 * len(rows) * np.eye(rows.shape[1])
    for _ in range(_ITERATIONS):
        chance = 1 / (1 + np.exp(-rows @ found))
        slope = weights * chance * (1 - chance)
        found = found + np.linalg.solve(rows.T @ (rows * slope[:, None]) + ridge,
                                        rows.T @ (weights * (targets - chance)) - ridge @ found)
    scaled = found[1:] / spread
    result: F64 = np.concatenate([[found[0] - scaled @ middle], scaled])
    return result
