"""Scores of a model on images with measured depth."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import ModelError
from depth_anything_ros.evaluate.gallery import Case, depth_panels, Gallery
from depth_anything_ros.evaluate.predictions import (
    describe, open_engine, order_of_work, predict, Prediction, Progress, RunOptions)
from depth_anything_ros.evaluate.results import badness, Evaluation, mean_of, score_all, worst_of
from depth_anything_ros.evaluate.rgbd_folder import read_truth, RgbdConfig, RgbdDataset
from depth_anything_ros.vision.accuracy import (
    align_metric, align_relative, DepthScores, score_depth)
from depth_anything_ros.vision.transforms import resize_depth

RGBD_HEADINGS = ('image', 'prediction', 'measured', "error |z' - z| / z: dark 0, bright 0.5")


def evaluate_rgbd(model: Path, dataset: RgbdDataset, options: RunOptions | None = None,
                  median_scaling: bool = False, progress: Progress | None = None,
                  gallery: Gallery | None = None) -> Evaluation[DepthScores]:
    """
    Score a model on a folder; ``mean`` is the mean of each figure over the images.

    Relative models are fitted to each image (protocol of MiDaS), metric ones are taken as they
    are, or with ``median_scaling`` multiplied to the measured median. ModelError, DeviceError, or
    ImageError if no image at all could be scored.
    """
    pairs, config = dataset.pairs, dataset.config
    files = [pair.color for pair in pairs]
    with closing(open_engine(model, options or RunOptions())) as engine:
        if median_scaling and engine.info.kind == 'relative':
            raise ModelError(model, 'it is relative, so that it is fitted to each image anyway',
                             'leave median scaling out')
        relative, order = engine.info.kind == 'relative', order_of_work(engine, files)
        align = _aligner(relative, config, median_scaling)

        def score(index: int, seen: Prediction) -> DepthScores:
            image_hw = seen.image_bgr.shape[:2]
            truth_m = read_truth(pairs[index], config, image_hw)
            predicted_m = align(resize_depth(seen.depth, image_hw), truth_m)
            scores = score_depth(predicted_m, truth_m, config.limits)
            if gallery is not None:
                gallery.offer(Case(
                    pairs[index].name, f'AbsRel {scores.abs_rel:.3f}  delta1 {scores.delta1:.3f}',
                    badness(scores), lambda: depth_panels(seen.image_bgr, predicted_m, truth_m)))
            return scores

        images, failed = score_all([pair.name for pair in pairs], order,
                                   predict(engine, files, order), score, progress)
        return Evaluation(describe(model, engine), _protocol(relative, config, median_scaling),
                          mean_of(images), worst_of(images), images, failed,
                          unmatched=dataset.unmatched)


def _aligner(relative: bool, config: RgbdConfig,
             median_scaling: bool) -> Callable[[F32, F32], F32]:
    if relative:
        return lambda depth, truth_m: align_relative(depth, truth_m, config.limits)
    return lambda depth, truth_m: align_metric(depth, truth_m, config.limits, median_scaling)


def _protocol(relative: bool, config: RgbdConfig, median_scaling: bool) -> str:
    if relative:
        how = 'MiDaS: scale and shift by least squares in disparity, clipped at the maximum'
    elif median_scaling:
        how = 'metric, multiplied to the measured median, clipped to the range'
    else:
        how = 'metric without alignment, clipped to the range'
    crop = f'; crop {list(config.crop)}' if config.crop else ''
    return (f'{how}; measured depth from {config.limits.minimum_m:g} to '
            f'{config.limits.maximum_m:g} m counts{crop}; mean over images')
