"""Agreement of a model with a reference model, on images without ground truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
import os
from pathlib import Path

from depth_anything_ros.api import DepthModel
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Counting
from depth_anything_ros.errors import ModelError
from depth_anything_ros.evaluate.gallery import Case, color_map_of, Gallery
from depth_anything_ros.evaluate.predictions import (
    compute_order, model_facts, ModelOptions, open_model, Outcome, predict, Prediction)
from depth_anything_ros.evaluate.results import badness, Evaluation, mean_of, score_all, worst_of
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.vision.agreement import agreement, MAX_DEPTH_RATIO, rank_correlation
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.depth import inverse_from_metric
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

PARITY_HEADINGS = ('image', 'model', 'reference', "difference |z' - z| / z: dark 0, bright 0.1")
_BRIGHT_DIFFERENCE = 0.1
REFERENCE = ModelOptions(precision='f32')


@dataclass(frozen=True)
class ParityScores:
    """
    The agreement of one map with another.

    ``abs_rel`` and ``pearson`` are those of ``vision.agreement``. ``rank_correlation`` is
    Spearman's; a monotonic change of the values does not lower it.
    """

    abs_rel: float
    pearson: float
    rank_correlation: float


def compare_models(model: Path, reference: Path, files: Sequence[Path],
                   options: ModelOptions | None = None,
                   reference_options: ModelOptions = REFERENCE,
                   counting: Counting | None = None,
                   gallery: Gallery | None = None) -> Evaluation[ParityScores]:
    """
    Compare the maps of ``model`` with those of ``reference``.

    The model runs at the input size of ``options``, by default its own. The reference runs at
    the input size of ``reference_options``, by default that of the model, or its own if the two
    need multiples of different numbers. Maps of equal size are compared at the size of the
    networks, others at the size of the image. ``worst`` holds the largest AbsRel and the smallest
    correlations. ModelError if a model cannot run or one is relative and the other metric,
    DeviceError, or ImageError if no image could be compared.
    """
    names = _names(files)
    with open_model(model, options or ModelOptions()) as first:
        run = _options_of_reference(first, reference, reference_options)
        with open_model(reference, run) as second:
            _require_same_kind(model, first, reference, second)
            relative, order = first.info.kind == 'relative', compute_order(files, first, second)

            def score(index: int, both: tuple[Prediction, Prediction]) -> ParityScores:
                found, expected = _at_equal_size(*both)
                scores = compare_maps(found, expected, relative)
                if gallery is not None:
                    gallery.offer(Case(
                        names[index], f'AbsRel {scores.abs_rel:.4f}  Pearson {scores.pearson:.4f}'
                        f'  rank {scores.rank_correlation:.4f}', badness(scores),
                        lambda: parity_panels(both[0].image_bgr, found, expected, relative)))
                return scores

            outcomes = _both(predict(first, files, order), predict(second, files, order))
            images, failed = score_all(names, order, outcomes, score, counting)
            return Evaluation(
                model_facts(model, first), _protocol(relative), mean_of(images), worst_of(images),
                images, failed, reference=model_facts(reference, second))


def compare_maps(found: F32, expected: F32, relative: bool) -> ParityScores:
    """
    Compare a map [H, W] with that of the reference: inverse depth if ``relative``, else metres.

    A map with a value that is not finite, where the other one is not NaN too, gets the worst
    scores: (inf, 0, 0). ValueError if the sizes differ.
    """
    close = agreement(found, expected, relative)
    return ParityScores(close.abs_rel, close.pearson, rank_correlation(found, expected)
                        if np.isfinite(close.abs_rel) else 0.0)


def parity_panels(image_bgr: U8, found: F32, expected: F32, relative: bool) -> list[U8]:
    """
    Return image, map, reference map and relative difference, at the size of the image.

    Relative maps are fitted and clipped as in ``vision.agreement``.
    """
    size_hw = image_bgr.shape[:2]
    if relative:
        inverse_depth, reference = _fitted(found, expected), expected
        floor = np.float32(expected.max() / MAX_DEPTH_RATIO)
        difference = np.abs(np.maximum(expected, floor) / np.maximum(inverse_depth, floor) - 1)
    else:
        inverse_depth, reference = inverse_from_metric(found), inverse_from_metric(expected)
        difference = np.abs(found - expected) / expected
    low, high = RangeTracker().update(reference)
    return [image_bgr, color_map_of(resize_depth(inverse_depth, size_hw), low, high),
            color_map_of(resize_depth(reference, size_hw), low, high),
            color_map_of(resize_depth(difference, size_hw), 0.0, _BRIGHT_DIFFERENCE, 'inferno')]


def _options_of_reference(first: DepthModel, reference: Path,
                          options: ModelOptions) -> ModelOptions:
    """Return ``options`` with the input size of the first model if both can run at it."""
    multiple = read_model_info(reference).patch_multiple
    if options.input_size or multiple != first.info.patch_multiple:
        return options
    return replace(options, input_size=min(first.info.fixed_size_hw or (first.state.input_size,)))


def _at_equal_size(found: Prediction, expected: Prediction) -> tuple[F32, F32]:
    if found.depth.shape == expected.depth.shape:
        return found.depth, expected.depth
    image_hw = found.image_bgr.shape[:2]
    return resize_depth(found.depth, image_hw), resize_depth(expected.depth, image_hw)


def _names(files: Sequence[Path]) -> list[str]:
    """Return the paths relative to the folder that contains all files."""
    folder = os.path.commonpath([file.absolute().parent for file in files])
    return [file.absolute().relative_to(folder).as_posix() for file in files]


def _both(found: Iterator[Outcome],
          expected: Iterator[Outcome]) -> Iterator[tuple[Prediction, Prediction] | Exception]:
    for one, other in zip(found, expected):
        if isinstance(one, Exception):
            yield one
        elif isinstance(other, Exception):
            yield other
        else:
            yield one, other


def _require_same_kind(model: Path, first: DepthModel, reference: Path,
                       second: DepthModel) -> None:
    if first.info.kind != second.info.kind:
        raise ModelError(model, f'it is {first.info.kind}, but {reference} is {second.info.kind}',
                         'compare two models of the same kind')


def _protocol(relative: bool) -> str:
    if not relative:
        return ('AbsRel, Pearson and rank correlation of metric depth to the reference, without '
                'alignment; mean over images')
    return ('AbsRel of depth after scale and shift by least squares to the reference, Pearson and '
            'rank correlation of inverse depth; mean over images')


def _fitted(found: F32, expected: F32) -> F32:
    valid = np.isfinite(found) & np.isfinite(expected)
    if not valid.any() or np.ptp(found[valid]) == 0:
        return np.full_like(expected, np.nan)
    scale, shift = np.polyfit(found[valid].astype(np.float64), expected[valid], 1)
    fitted: F32 = (found * scale + shift).astype(np.float32)
    return fitted
