"""
How much of a depth map a faster model keeps: aligned AbsRel and Pearson to a reference map.

Relative maps are aligned by scale and shift in disparity and the farthest depth is clipped, as in
the protocol of MiDaS (Ranftl et al., TPAMI 2022), with the reference in the place of the truth.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

# Inverse depth near zero is as good as infinitely far: the clip keeps it from deciding the mean.
FARTHEST_TO_NEAREST = 10.0


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
