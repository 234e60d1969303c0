"""
Measure depth images whose holes are filled; write docs/figures/filled.json.

``python -m tools.measure.filled`` needs a folder ../shared with weights/ (a checkpoint) and
images/rgbd, and takes three minutes. ``--model MODEL.xml`` measures an IR instead of a new one
that is made of the checkpoint.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
import statistics
import sys
import tempfile

import cv2
from depth_anything_ros.alignment.filling import compare_depth, fill_depth
from depth_anything_ros.alignment.fit import fit_alignment
from depth_anything_ros.alignment.references import samples_from_depth
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import Bools, F32, U8
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import open_folder, read_truth, RgbdConfig
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.vision.accuracy import align_relative
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import DepthRange, metric_from_inverse
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
from tools.measure.figures import requote_pages, rounded, write_figures
from tools.shared_data import CHECKPOINT_OVERRIDES, IMAGES, local_checkpoint, SHARED

COMMAND = 'python -m tools.measure.filled'
_LIMITS = DepthRange(0.1, 10.0)
_REMOVED, _SEEDS, _BLOB = 0.6, 3, 0.03
_WRONG, _WRONG_BLOB, _WRONG_FACTOR = 0.1, 0.05, np.float32(1.5)

DepthOf = Callable[[U8], F32]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--model', type=Path, metavar='MODEL.xml')
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder, load_model(
                options.model or _model(Path(folder))) as model:
            figures = filled_figures(IMAGES / 'rgbd',
                                     partial(model.infer, output_size='native'))
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = rounded(figures)
    for name, value in figures.items():
        print(f'{name:24} {value:g}')
    print(f'wrote {write_figures("filled", COMMAND, figures)} and the pages that quote it')
    requote_pages()
    return 0


def filled_figures(folder: Path, depth_of: DepthOf) -> dict[str, float]:
    """
    Return the figures ``filled_*`` over the RGB-D pairs of ``folder``.

    60 % of the measured pixels are removed in blobs, three times per image. A fit to the others
    gives the fitted depth, with which they are filled by the default parameters. ``filled_absrel``
    is the mean AbsRel of the removed pixels, ``_no_seam`` without blending, ``_dense`` of the same
    pixels after least squares over all pixels, also the removed ones. ``filled_kept`` is the share
    of the other measured pixels that stay; ``filled_kept_wrong`` that of a tenth of the pixels
    whose depth is made 1.5 times too large, in another run. ``depth_of`` returns the inverse depth
    [H, W] of a BGR image at the network size.
    """
    config = RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0, _LIMITS)
    scores: dict[str, list[float]] = {}
    for pair in open_folder(folder, config).pairs:
        image_bgr = to_bgr(read_picture(pair.color))
        truth_m = read_truth(pair, config, image_bgr.shape[:2])
        inverse_depth = depth_of(image_bgr)
        for seed in range(_SEEDS):
            for name, value in _scores(inverse_depth, truth_m, seed).items():
                scores.setdefault(name, []).append(value)
        print(f'{pair.name}: AbsRel of filled pixels {scores["absrel"][-1]:.4f}, '
              f'dense fit {scores["absrel_dense"][-1]:.4f}', flush=True)
    mean = {f'filled_{name}': statistics.mean(values) for name, values in scores.items()}
    return mean | {'filled_ratio': mean['filled_absrel'] / mean['filled_absrel_dense']}


def _scores(inverse_depth: F32, truth_m: F32, seed: int) -> dict[str, float]:
    settings = AlignmentSettings(source='depth')
    valid = np.isfinite(truth_m)
    removed = _blobs(valid, _REMOVED, _BLOB, seed)
    sensor_m = np.where(removed, np.float32(np.nan), truth_m)
    fitted_m = _fitted(inverse_depth, sensor_m)
    agrees = compare_depth(sensor_m, fitted_m, settings.filled_tolerance).agrees
    dense_m = align_relative(resize_depth(inverse_depth, (truth_m.shape[0], truth_m.shape[1])),
                             truth_m, _LIMITS)
    wrong = _blobs(valid & ~removed, _WRONG, _WRONG_BLOB, seed + _SEEDS)
    wrong_m = np.where(wrong, sensor_m * _WRONG_FACTOR, sensor_m)
    still = compare_depth(wrong_m, _fitted(inverse_depth, wrong_m),
                          settings.filled_tolerance).agrees

    def abs_rel(found_m: F32) -> float:
        found = np.minimum(found_m[removed], np.float32(_LIMITS.maximum_m))
        return float(np.mean(np.abs(found - truth_m[removed]) / truth_m[removed]))

    return {
        'absrel': abs_rel(fill_depth(sensor_m, fitted_m, agrees, settings.filled_seam)),
        'absrel_no_seam': abs_rel(fill_depth(sensor_m, fitted_m, agrees, 0.0)),
        'absrel_dense': abs_rel(dense_m),
        'kept': float(agrees[valid & ~removed].mean()),
        'kept_wrong': float(still[wrong].mean())}


def _fitted(inverse_depth: F32, sensor_m: F32) -> F32:
    """Return the depth [m] at the size of ``sensor_m`` after a fit to it."""
    fit = fit_alignment(samples_from_depth(inverse_depth, sensor_m, _LIMITS), True)
    full = resize_depth(inverse_depth, (sensor_m.shape[0], sensor_m.shape[1]))
    return metric_from_inverse(full, fit.scale, fit.shift, np.inf)


def _blobs(valid: Bools, share: float, size: float, seed: int) -> Bools:
    """Return ``share`` of the valid pixels, in blobs of about ``size`` times the width."""
    noise = np.random.default_rng(seed).standard_normal(valid.shape).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), size * valid.shape[1]))
    chosen: Bools = valid & (smooth > np.quantile(smooth[valid], 1 - share))
    return chosen


def _model(folder: Path) -> Path:
    """Return an IR of the checkpoint beside the repository."""
    checkpoint = local_checkpoint()
    if checkpoint is None or not IMAGES.is_dir():
        raise FileNotFoundError(f'{SHARED} lacks weights/*.pth or images')
    from depth_anything_ros.convert.conversion import convert, Job
    return convert(Job(checkpoint, folder / 'fp16.xml', 'fp16', CHECKPOINT_OVERRIDES)).path


if __name__ == '__main__':
    sys.exit(main())
