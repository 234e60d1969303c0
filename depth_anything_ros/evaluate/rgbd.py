"""Scores of a model on images with measured depth."""

from collections.abc import Callable
from pathlib import Path

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Counting
from depth_anything_ros.errors import ModelError
from depth_anything_ros.evaluate.gallery import Case, color_map_of, Gallery
from depth_anything_ros.evaluate.predictions import (
    focal_metres, model_facts, ModelOptions, open_model, Prediction)
from depth_anything_ros.evaluate.results import (
    badness, Evaluation, mean_of, score_files, worst_of)
from depth_anything_ros.media.rgbd_folder import read_truth, RgbdConfig, RgbdDataset
from depth_anything_ros.vision.accuracy import (
    align_metric, align_relative, DepthScores, score_depth)
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.depth import inverse_from_metric
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

RGBD_HEADINGS = ('image', 'prediction', 'measured', "error |z' - z| / z: dark 0, bright 0.5")
_BRIGHT_ERROR = 0.5


def evaluate_rgbd(model: Path, dataset: RgbdDataset, options: ModelOptions | None = None,
                  median_scaling: bool = False, counting: Counting | None = None,
                  gallery: Gallery | None = None) -> Evaluation[DepthScores]:
    """
    Score a model on a folder; ``mean`` is the mean of each figure over the images.

    Relative depth is fitted to each image (protocol of MiDaS). Metric depth is scored unchanged,
    or with ``median_scaling`` multiplied so that its median is the measured one; that of a model
    whose metres need the focal length is metric if the description has one. ModelError or
    DeviceError if the model cannot run, ImageError if no image could be scored.
    """
    pairs, config = dataset.pairs, dataset.config
    files = [pair.color for pair in pairs]
    with open_model(model, options or ModelOptions()) as depth_model:
        needs_focal = depth_model.info.focal_px is not None
        by_focal = config.focal_px if needs_focal else None
        relative = depth_model.info.kind == 'relative' and by_focal is None
        if median_scaling and relative:
            raise ModelError(
                model, 'it is relative and therefore fitted to each image anyway',
                'add camera: [fx, fy, cx, cy] to the description' if needs_focal else
                'remove median scaling')
        align = _aligner(relative, config, median_scaling)

        def score(index: int, prediction: Prediction) -> DepthScores:
            image_hw = prediction.image_bgr.shape[:2]
            truth_m = read_truth(pairs[index], config, image_hw)
            depth = resize_depth(prediction.depth, image_hw)
            if by_focal is not None:
                depth = focal_metres(depth_model, depth, Intrinsics(
                    *by_focal, image_hw[1] / 2, image_hw[0] / 2, image_hw))
            predicted_m = align(depth, truth_m)
            scores = score_depth(predicted_m, truth_m, config.limits)
            if gallery is not None:
                gallery.offer(Case(
                    pairs[index].name, f'AbsRel {scores.abs_rel:.3f}  delta1 {scores.delta1:.3f}',
                    badness(scores),
                    lambda: depth_panels(prediction.image_bgr, predicted_m, truth_m)))
            return scores

        images, failed = score_files(depth_model, files, [pair.name for pair in pairs], score,
                                     counting)
        return Evaluation(
            model_facts(model, depth_model),
            _protocol(relative, config, median_scaling) + _focal_note(config, needs_focal),
            mean_of(images), worst_of(images), images, failed, unmatched=dataset.unmatched)


def depth_panels(image_bgr: U8, predicted_m: F32, truth_m: F32) -> list[U8]:
    """
    Return image, prediction, truth and relative error of maps [H, W] in metres.

    Both maps are coloured as disparity over the range of the truth; unknown depth is grey.
    """
    truth, prediction = inverse_from_metric(truth_m), inverse_from_metric(predicted_m)
    low, high = RangeTracker().update(truth)
    error = np.abs(predicted_m - truth_m) / truth_m
    return [image_bgr, color_map_of(prediction, low, high), color_map_of(truth, low, high),
            color_map_of(error, 0.0, _BRIGHT_ERROR, 'inferno')]


def _aligner(relative: bool, config: RgbdConfig,
             median_scaling: bool) -> Callable[[F32, F32], F32]:
    if relative:
        return lambda depth, truth_m: align_relative(depth, truth_m, config.limits)
    return lambda depth, truth_m: align_metric(depth, truth_m, config.limits, median_scaling)


def _focal_note(config: RgbdConfig, needs_focal: bool) -> str:
    """Return what the focal length changes for a model whose metres need it."""
    if not needs_focal:
        return ''
    return ('; metres by the focal length' if config.focal_px else
            '; fitted because the focal length is unknown: add camera: [fx, fy, cx, cy] to the '
            'description for metres')


def _protocol(relative: bool, config: RgbdConfig, median_scaling: bool) -> str:
    if relative:
        how = 'MiDaS: scale and shift by least squares in disparity, clipped at the maximum'
    elif median_scaling:
        how = 'metric, scaled to the measured median, clipped to the range'
    else:
        how = 'metric without alignment, clipped to the range'
    crop = f'; crop {list(config.crop)}' if config.crop else ''
    return (f'{how}; scored depth from {config.limits.minimum_m:g} to '
            f'{config.limits.maximum_m:g} m{crop}; mean over images')
