"""The share of ordinal pairs that a model orders rightly."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.errors import ImageError
from depth_anything_ros.evaluate.files import PairedImage
from depth_anything_ros.evaluate.gallery import Case, Gallery, pair_panels
from depth_anything_ros.evaluate.predictions import (
    describe, open_engine, order_of_work, predict, Prediction, Progress, RunOptions)
from depth_anything_ros.evaluate.results import (
    badness, Evaluation, ImageScores, score_all, worst_first)
from depth_anything_ros.vision.accuracy import is_ordered
from depth_anything_ros.vision.transforms import resize_depth

PAIRS_HEADINGS = ('nearer point in white: green right, red wrong', 'prediction')


@dataclass(frozen=True)
class PairScores:
    """``accuracy`` is the share of ``pairs`` whose nearer point is the nearer one."""

    accuracy: float
    pairs: int


def evaluate_pairs(model: Path, annotated: Sequence[PairedImage], root: Path,
                   options: RunOptions | None = None, progress: Progress | None = None,
                   gallery: Gallery | None = None) -> Evaluation[PairScores]:
    """
    Count the pairs that a model orders rightly; ``mean`` is over all pairs.

    Image names are relative to ``root``. A tie is wrong. ModelError, DeviceError, or ImageError
    if no image at all could be scored.
    """
    files = [root / one.name for one in annotated]
    with closing(open_engine(model, options or RunOptions())) as engine:
        relative, order = engine.info.kind == 'relative', order_of_work(engine, files)

        def score(index: int, seen: Prediction) -> PairScores:
            one, image_hw = annotated[index], seen.image_bgr.shape[:2]
            _require_inside(one, image_hw)
            depth = resize_depth(seen.depth, image_hw)
            right = [is_ordered(depth, pair.nearer_rc, pair.farther_rc, relative)
                     for pair in one.pairs]
            scores = PairScores(sum(right) / len(right), len(right))
            if gallery is not None:
                gallery.offer(Case(
                    one.name, f'{sum(right)} of {len(right)} pairs', badness(scores),
                    lambda: pair_panels(seen.image_bgr, depth, one.pairs, right, relative)))
            return scores

        images, failed = score_all([one.name for one in annotated], order,
                                   predict(engine, files, order), score, progress)
        scenes = {one.name: one.scene for one in annotated}
        return Evaluation(
            describe(model, engine),
            'share of pairs ordered rightly, a tie is wrong '
            f'({"larger" if relative else "smaller"} is nearer); mean over pairs',
            _together(images), worst_first(images)[0].scores, images, failed,
            groups=_by_scene(images, scenes))


def _require_inside(one: PairedImage, image_hw: tuple[int, int]) -> None:
    for number, pair in enumerate(one.pairs, start=1):
        for row, column in (pair.nearer_rc, pair.farther_rc):
            if row >= image_hw[0] or column >= image_hw[1]:
                raise ImageError(f'pair {number} has the point [{row}, {column}], which is '
                                 f'outside of the {image_hw[1]}x{image_hw[0]} image')


def _together(images: Sequence[ImageScores[PairScores]]) -> PairScores:
    total = sum(one.scores.pairs for one in images)
    right = sum(one.scores.accuracy * one.scores.pairs for one in images)
    return PairScores(right / total, total)


def _by_scene(images: Sequence[ImageScores[PairScores]],
              scenes: dict[str, str]) -> dict[str, PairScores]:
    names = sorted({scenes[one.name] for one in images} - {''})
    return {name: _together([one for one in images if scenes[one.name] == name])
            for name in names}
