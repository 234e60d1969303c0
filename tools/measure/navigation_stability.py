"""Flicker of the depth of a sequence with and without stabilization."""

from collections.abc import Iterable

from depth_anything_ros.arrays import F32
from depth_anything_ros.vision.accuracy import align_relative, fit_scale_shift
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.stabilization import Stabilizer
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

_LIMITS = DepthRange(0.01, 20.0)
_EVERY_NTH_PIXEL = 4
# Suffix of the figures, and the step between frames of a sequence at 30 Hz.
_RATES = {'': 1, '_10_hz': 3, '_5_hz': 6}


def stability_figures(maps: Iterable[F32], truths: Iterable[F32]) -> dict[str, float]:
    """
    Return the figures ``flicker_*`` and ``sequence_absrel_*`` of consecutive frames.

    ``maps`` are inverse depths at the network size, ``truths`` measured depths [m]. One scale and
    one shift fit the maps of the whole sequence to the truths, separately before and after
    stabilization. Flicker is the mean |change of 1/z - true change of 1/z| from frame to frame
    over the mean true 1/z. Figures without a rate in their name are over every frame.
    """
    stabilizers = {name: Stabilizer() for name in _RATES}
    before: list[F32] = []
    after: dict[str, list[F32]] = {name: [] for name in _RATES}
    measured: list[F32] = []
    for index, (inverse_depth, depth_m) in enumerate(zip(maps, truths)):
        before.append(_sampled(inverse_depth, depth_m.shape))
        measured.append(depth_m[::_EVERY_NTH_PIXEL, ::_EVERY_NTH_PIXEL])
        for name, step in _RATES.items():
            if index % step == 0:
                scale, shift = stabilizers[name].update(inverse_depth)
                after[name].append(before[-1] * np.float32(scale) + np.float32(shift))
    figures: dict[str, float] = {}
    for name, step in _RATES.items():
        truth_m = np.array(measured[::step])
        for when, found in (('before', before[::step]), ('after', after[name])):
            flicker, absrel = _scores(np.array(found), truth_m)
            figures[f'flicker_{when}{name}'] = flicker
            figures[f'sequence_absrel_{when}{name}'] = absrel
    return figures


def _sampled(inverse_depth: F32, size_hw: tuple[int, ...]) -> F32:
    whole = resize_depth(inverse_depth, (size_hw[0], size_hw[1]))
    return np.ascontiguousarray(whole[::_EVERY_NTH_PIXEL, ::_EVERY_NTH_PIXEL])


def _scores(inverse_depths: F32, truths_m: F32) -> tuple[float, float]:
    """Return flicker and AbsRel of maps [N, H, W] with one scale and one shift."""
    scale, shift = fit_scale_shift(inverse_depths, truths_m)
    true_inverse = np.where(truths_m > 0, 1 / np.where(truths_m > 0, truths_m, 1), np.nan)
    error = scale * inverse_depths + shift - true_inverse
    flicker = np.nanmean(np.abs(np.diff(error, axis=0))) / np.nanmean(true_inverse)
    aligned_m = align_relative(inverse_depths, truths_m, _LIMITS)
    valid = truths_m > 0
    absrel = np.mean(np.abs(aligned_m - truths_m)[valid] / truths_m[valid])
    return float(flicker), float(absrel)
