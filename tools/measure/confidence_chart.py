"""The chart of the confidence: sparsification curves and reliability."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from depth_anything_ros.arrays import F64
from depth_anything_ros.benchmark.report import DPI
from depth_anything_ros.vision.confidence import WITHIN
import numpy as np
from tools.measure.sparsification import Bin, sparsification_curve

_SHARES = np.linspace(0, 0.98, 99)


def draw_chart(path: Path, images: Sequence[tuple[F64, Mapping[str, F64]]],
               bins: Mapping[str, Sequence[Bin]]) -> None:
    """
    Write the chart.

    ``images`` holds the errors [N] of each image and its uncertainties [N] by their label,
    ``bins`` the reliability of each scene.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout='constrained')
    left, right = figure.subplots(1, 2)
    for label in images[0][1]:
        left.plot(_SHARES, _mean_curve([(errors, found[label]) for errors, found in images]),
                  label=label)
    left.plot(_SHARES, _mean_curve([(errors, errors) for errors, _ in images]), 'k--',
              label='oracle: the error itself')
    left.axhline(1, color='gray', linestyle=':', label='random')
    left.set(xlabel='share of the pixels that is removed, the least certain first',
             ylabel='mean error of the others ÷ that of all', ylim=(0, None))
    left.legend(fontsize=8)
    right.plot([0, 1], [0, 1], color='gray', linestyle=':')
    for scene, found in bins.items():
        right.plot([one.confidence for one in found], [one.within for one in found], label=scene)
        right.scatter([one.confidence for one in found], [one.within for one in found],
                      s=[3 + 300 * one.share for one in found], alpha=0.6)
    right.set(xlabel='confidence, with weights of the other scenes; area: share of the pixels',
              ylabel=f'share of the pixels within {100 * WITHIN:.0f} % of the true depth',
              xlim=(0, 1), ylim=(0, 1))
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def _mean_curve(pairs: Sequence[tuple[F64, F64]]) -> F64:
    """Return the mean curve over images of different numbers of pixels, at ``_SHARES``."""
    curves = []
    for errors, uncertainty in pairs:
        curve = sparsification_curve(errors, uncertainty)
        kept = np.ceil((1 - _SHARES) * curve.size).astype(int)
        curves.append(curve[kept - 1])
    mean: F64 = np.mean(curves, axis=0)
    return mean
