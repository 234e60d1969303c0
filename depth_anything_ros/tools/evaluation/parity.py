"""How much one model agrees with another on images without ground truth."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
import os
from pathlib import Path

from depth_anything_ros.errors import ModelError
from depth_anything_ros.inference.engine import Engine
from depth_anything_ros.tools.evaluation.gallery import Case, Gallery
from depth_anything_ros.tools.evaluation.panels import parity_panels
from depth_anything_ros.tools.evaluation.predictions import (
    describe, open_engine, order_of_work, Outcome, predict, Prediction, Progress, RunOptions)
from depth_anything_ros.tools.evaluation.results import (
    badness, Evaluation, mean_of, score_all, worst_of)
from depth_anything_ros.vision.agreement import Agreement, agreement

PARITY_HEADINGS = ('image', 'model', 'reference', "difference |z' - z| / z: dark 0, bright 0.1")
REFERENCE = RunOptions(precision='f32')


def compare_models(model: Path, reference: Path, files: Sequence[Path],
                   options: RunOptions | None = None, reference_options: RunOptions = REFERENCE,
                   progress: Progress | None = None,
                   gallery: Gallery | None = None) -> Evaluation[Agreement]:
    """
    Compare the maps of ``model`` with those of ``reference``, of the network's size.

    Both run at the input size of ``options``, or else at the model's own. ``worst`` holds the
    largest AbsRel and the smallest Pearson. ModelError if one is relative and the other metric,
    DeviceError, or ImageError if no image at all could be compared.
    """
    names = _names(files)
    with closing(open_engine(model, options or RunOptions())) as first:
        size = min(first.info.fixed_size_hw or (first.input_size,))
        with closing(open_engine(reference, replace(reference_options,
                                                    input_size=size))) as second:
            _require_same_kind(model, first, reference, second)
            relative, order = first.info.kind == 'relative', order_of_work(first, files)

            def score(index: int, seen: tuple[Prediction, Prediction]) -> Agreement:
                found, expected = (one.depth for one in seen)
                scores = agreement(found, expected, relative)
                if gallery is not None:
                    gallery.offer(Case(
                        names[index], f'AbsRel {scores.abs_rel:.4f}  Pearson {scores.pearson:.4f}',
                        badness(scores), lambda: parity_panels(seen[0].image_bgr, found, expected,
                                                               relative)))
                return scores

            outcomes = _both(predict(first, files, order), predict(second, files, order))
            images, failed = score_all(names, order, outcomes, score, progress)
            return Evaluation(
                describe(model, first), _protocol(relative), mean_of(images), worst_of(images),
                images, failed, reference=describe(reference, second))


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
        return 'AbsRel and Pearson of metric depth to the reference, as it is; mean over images'
    return ('AbsRel of depth after scale and shift by least squares to the reference, Pearson of '
            'inverse depth; mean over images')
