"""Ordered pairs of points: how many a model orders correctly, in the file format of DA-2K."""

from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Counting
from depth_anything_ros.errors import DatasetError, ImageError
from depth_anything_ros.evaluate.gallery import Case, color_map_of, Gallery
from depth_anything_ros.evaluate.predictions import (
    model_facts, ModelOptions, open_model, Prediction)
from depth_anything_ros.evaluate.results import (
    badness, Evaluation, ImageScores, score_files, worst_first)
from depth_anything_ros.foreign_files import read_text
from depth_anything_ros.vision.accuracy import is_ordered
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.depth import inverse_from_metric
from depth_anything_ros.vision.transforms import resize_depth

PAIRS_HEADINGS = ('nearer point in white: green right, red wrong', 'prediction')
Point = tuple[int, int]
_SEE = 'the format is that of annotations.json of DA-2K, see docs/evaluating.md'
_RIGHT_BGR, _WRONG_BGR = (60, 190, 60), (50, 50, 230)


@dataclass(frozen=True)
class OrdinalPair:
    """Two pixels (row, column), the nearer one first."""

    nearer_rc: Point
    farther_rc: Point


@dataclass(frozen=True)
class PairedImage:
    """The pairs of one image; ``name`` is its path relative to the root folder."""

    name: str
    pairs: tuple[OrdinalPair, ...]

    @property
    def scene(self) -> str:
        """Return the name of the folder of the image, empty without one."""
        return PurePosixPath(self.name).parent.name


@dataclass(frozen=True)
class PairScores:
    """``accuracy`` is the share of ``pairs`` that the model orders correctly."""

    accuracy: float
    pairs: int


def read_pairs(path: Path) -> tuple[PairedImage, ...]:
    """Return the content of an annotation file; DatasetError names the entry that is wrong."""
    try:
        content = json.loads(read_text(path))
    except OSError as error:
        raise DatasetError(path, f'it cannot be read ({error.strerror})', _SEE) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(path, f'it is not JSON ({error})', _SEE) from error
    if not isinstance(content, dict) or not content:
        raise DatasetError(path, 'it is not an object of images and their pairs', _SEE)
    try:
        return tuple(PairedImage(name, _pairs(name, entries)) for name, entries in content.items())
    except ValueError as error:
        raise DatasetError(path, str(error), _SEE) from error


def evaluate_pairs(model: Path, annotated: Sequence[PairedImage], root: Path,
                   options: ModelOptions | None = None, counting: Counting | None = None,
                   gallery: Gallery | None = None) -> Evaluation[PairScores]:
    """
    Count the pairs that a model orders correctly; ``mean`` is over all pairs.

    Image names are relative to ``root``. A tie is wrong. ModelError or DeviceError if the model
    cannot run, ImageError if no image could be scored.
    """
    files = [root / one.name for one in annotated]
    with open_model(model, options or ModelOptions()) as depth_model:
        relative = depth_model.info.kind == 'relative'

        def score(index: int, prediction: Prediction) -> PairScores:
            one, image_hw = annotated[index], prediction.image_bgr.shape[:2]
            _require_inside(one, image_hw)
            depth = resize_depth(prediction.depth, image_hw)
            right = [is_ordered(depth, pair.nearer_rc, pair.farther_rc, relative)
                     for pair in one.pairs]
            scores = PairScores(sum(right) / len(right), len(right))
            if gallery is not None:
                gallery.offer(Case(
                    one.name, f'{sum(right)} of {len(right)} pairs', badness(scores),
                    lambda: pair_panels(prediction.image_bgr, depth, one.pairs, right, relative)))
            return scores

        images, failed = score_files(depth_model, files, [one.name for one in annotated], score,
                                     counting)
        scenes = {one.name: one.scene for one in annotated}
        return Evaluation(
            model_facts(model, depth_model),
            'share of pairs ordered correctly, a tie is wrong '
            f'({"larger" if relative else "smaller"} is nearer); mean over pairs',
            _over_all_pairs(images), worst_first(images)[0].scores, images, failed,
            groups=_by_scene(images, scenes))


def pair_panels(image_bgr: U8, depth: F32, pairs: Sequence[OrdinalPair], right: Sequence[bool],
                relative: bool) -> list[U8]:
    """Return the image and the coloured map [H, W], each with a line per pair."""
    inverse_depth = depth if relative else inverse_from_metric(depth)
    panels = [image_bgr.copy(), color_map_of(inverse_depth, *RangeTracker().update(inverse_depth))]
    thickness = max(2, image_bgr.shape[1] // 180)
    for panel in panels:
        for pair, is_right in zip(pairs, right):
            color = _RIGHT_BGR if is_right else _WRONG_BGR
            near, far = pair.nearer_rc[::-1], pair.farther_rc[::-1]
            cv2.line(panel, near, far, color, thickness, cv2.LINE_AA)
            for point, fill in ((far, color), (near, (255, 255, 255))):
                cv2.circle(panel, point, 3 * thickness, fill, -1, cv2.LINE_AA)
                cv2.circle(panel, point, 3 * thickness, color, thickness, cv2.LINE_AA)
    return panels


def _require_inside(one: PairedImage, image_hw: tuple[int, int]) -> None:
    for number, pair in enumerate(one.pairs, start=1):
        for row, column in (pair.nearer_rc, pair.farther_rc):
            if row >= image_hw[0] or column >= image_hw[1]:
                raise ImageError(f'pair {number} has the point [{row}, {column}], which is '
                                 f'outside of the {image_hw[1]}x{image_hw[0]} image')


def _over_all_pairs(images: Sequence[ImageScores[PairScores]]) -> PairScores:
    total = sum(one.scores.pairs for one in images)
    right = sum(one.scores.accuracy * one.scores.pairs for one in images)
    return PairScores(right / total, total)


def _by_scene(images: Sequence[ImageScores[PairScores]],
              scenes: dict[str, str]) -> dict[str, PairScores]:
    names = sorted({scenes[one.name] for one in images} - {''})
    return {name: _over_all_pairs([one for one in images if scenes[one.name] == name])
            for name in names}


def _pairs(name: str, entries: Any) -> tuple[OrdinalPair, ...]:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f'{name} has no list of pairs')
    return tuple(_pair(f'{name}, pair {number}', entry)
                 for number, entry in enumerate(entries, start=1))


def _pair(place: str, entry: Any) -> OrdinalPair:
    if not isinstance(entry, dict):
        raise ValueError(f'{place} is {entry!r}, not an object')
    first, second = (_point(place, entry, key) for key in ('point1', 'point2'))
    closer = entry.get('closer_point')
    if closer not in ('point1', 'point2'):
        raise ValueError(f'{place}: closer_point is {closer!r}, neither point1 nor point2')
    return OrdinalPair(first, second) if closer == 'point1' else OrdinalPair(second, first)


def _point(place: str, entry: dict[str, Any], key: str) -> Point:
    value = entry.get(key)
    if isinstance(value, list) and len(value) == 2 and all(
            type(side) is int and side >= 0 for side in value):
        return value[0], value[1]
    raise ValueError(f'{place}: {key} is {value!r}, not [row, column] in pixels')
