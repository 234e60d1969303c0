"""How much one model agrees with another on images without ground truth."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
import os
from pathlib import Path

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import ModelError
from depth_anything_ros.evaluate.gallery import Case, Gallery, parity_panels
from depth_anything_ros.evaluate.predictions import (
    describe, open_engine, order_of_work, Outcome, predict, Prediction, Progress, read_info,
    RunOptions)
from depth_anything_ros.evaluate.results import badness, Evaluation, mean_of, score_all, worst_of
from depth_anything_ros.inference.engine import Engine
from depth_anything_ros.vision.agreement import agreement, rank_correlation
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

PARITY_HEADINGS = ('image', 'model', 'reference', "difference |z' - z| / z: dark 0, bright 0.1")
REFERENCE = RunOptions(precision='f32')


@dataclass(frozen=True)
class ParityScores:
    """
    How much one map agrees with another.

    ``abs_rel`` and ``pearson`` are those of ``vision.agreement``; ``rank_correlation`` is
    Spearman's, which no monotonous change of the map lowers.
    """

    abs_rel: float
    pearson: float
    rank_correlation: float


def compare_models(model: Path, reference: Path, files: Sequence[Path],
                   options: RunOptions | None = None, reference_options: RunOptions = REFERENCE,
                   progress: Progress | None = None,
                   gallery: Gallery | None = None) -> Evaluation[ParityScores]:
    """
    Compare the maps of ``model`` with those of ``reference``.

    The model runs at the input size of ``options``, or else at its own. The reference runs at
    that of ``reference_options``, or else at the model's, or at its own if its sides are
    multiples of another number. Maps of one size are compared as the networks give them, others
    at the size of the image. ``worst`` holds the largest AbsRel and the smallest correlations.
    ModelError if one is relative and the other metric, DeviceError, or ImageError if no image at
    all could be compared.
    """
    names = _names(files)
    with closing(open_engine(model, options or RunOptions())) as first:
        run = _run_of_reference(first, reference, reference_options)
        with closing(open_engine(reference, run)) as second:
            _require_same_kind(model, first, reference, second)
            relative, order = first.info.kind == 'relative', order_of_work(first, files, second)

            def score(index: int, seen: tuple[Prediction, Prediction]) -> ParityScores:
                found, expected = _at_one_size(*seen)
                scores = compare_maps(found, expected, relative)
                if gallery is not None:
                    gallery.offer(Case(
                        names[index], f'AbsRel {scores.abs_rel:.4f}  Pearson {scores.pearson:.4f}'
                        f'  rank {scores.rank_correlation:.4f}', badness(scores),
                        lambda: parity_panels(seen[0].image_bgr, found, expected, relative)))
                return scores

            outcomes = _both(predict(first, files, order), predict(second, files, order))
            images, failed = score_all(names, order, outcomes, score, progress)
            return Evaluation(
                describe(model, first), _protocol(relative), mean_of(images), worst_of(images),
                images, failed, reference=describe(reference, second))


def compare_maps(found: F32, expected: F32, relative: bool) -> ParityScores:
    """
    Compare a map [H, W] with that of the reference; both are inverse depth with ``relative``.

    A map that is not finite everywhere agrees not at all: (inf, 0, 0). ValueError if the sizes
    differ.
    """
    close = agreement(found, expected, relative)
    usable = bool(np.isfinite(found).all())
    return ParityScores(close.abs_rel, close.pearson,
                        rank_correlation(found, expected) if usable else 0.0)


def _run_of_reference(first: Engine, reference: Path, options: RunOptions) -> RunOptions:
    """Return ``options`` with the input size of the first model where both can run at it."""
    if options.input_size or read_info(reference).patch_multiple != first.info.patch_multiple:
        return options
    return replace(options, input_size=min(first.info.fixed_size_hw or (first.input_size,)))


def _at_one_size(found: Prediction, expected: Prediction) -> tuple[F32, F32]:
    if found.depth.shape == expected.depth.shape:
        return found.depth, expected.depth
    image_hw = found.image_bgr.shape[:2]
    return resize_depth(found.depth, image_hw), resize_depth(expected.depth, image_hw)


def _names(files: Sequence[Path]) -> list[str]:
    """Return the paths below the folder that holds all files."""
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


def _require_same_kind(model: Path, first: Engine, reference: Path, second: Engine) -> None:
    if first.info.kind != second.info.kind:
        raise ModelError(model, f'it is {first.info.kind}, but {reference} is {second.info.kind}',
                         'compare two models of one kind')


def _protocol(relative: bool) -> str:
    if not relative:
        return ('AbsRel, Pearson and rank correlation of metric depth to the reference, as it is; '
                'mean over images')
    return ('AbsRel of depth after scale and shift by least squares to the reference, Pearson and '
            'rank correlation of inverse depth; mean over images')
