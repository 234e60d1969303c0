"""Frames to learn from, to stop by and to judge: split by time and place, never neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
from depth_anything_ros.arrays import F32
from depth_anything_ros.distill.dataset import MIN_TRAINING_IMAGES
from depth_anything_ros.distill.metric.frames import Frame
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np

_VALIDATION_SHARE = 0.15
_THUMBNAIL_WH = (24, 18)
# Two thumbnails with a larger correlation show the same place from nearly the same pose.
_SAME_PLACE = 0.98


@dataclass(frozen=True)
class Split:
    """
    Frames to learn from, frames that decide when to stop, and frames that judge the result.

    ``left_out`` is the number of those that show the same as a frame of another part.
    """

    training: list[Frame]
    validation: list[Frame]
    held_out: list[Frame]
    left_out: int


def split_frames(frames: Sequence[Frame], share: float) -> Split:
    """
    Return the last ``share`` of each source as held out, the first part of its rest as validation.

    What shows the same as a frame of one of these parts is left out of the others, so that
    neighbours in time and places that were seen again do not count as new. ImageError if too few
    remain.
    """
    early: list[Frame] = []
    held_out: list[Frame] = []
    for _, group in groupby(sorted(frames, key=lambda one: (one.source, one.number)),
                            lambda one: one.source):
        ordered = list(group)
        first = round(len(ordered) * (1 - share))
        early += ordered[:first]
        held_out += ordered[first:]
    new = _unlike(early, held_out)
    validation = [frame for _, group in groupby(new, lambda one: one.source)
                  for frame in _first_part(list(group))]
    chosen = set(validation)
    training = _unlike([frame for frame in new if frame not in chosen], validation)
    left_out = len(early) - len(validation) - len(training)
    if len(training) < MIN_TRAINING_IMAGES or not (validation and held_out):
        raise ImageError(
            f'{len(training)} images to learn from, {len(validation)} for validation and '
            f'{len(held_out)} held out are too few, after {left_out} that show the same as one '
            f'of another part; give data with at least {MIN_TRAINING_IMAGES}, 1 and 1, better '
            'hundreds from several places')
    return Split(training, validation, held_out, left_out)


def _first_part(frames: list[Frame]) -> list[Frame]:
    return frames[:round(len(frames) * _VALIDATION_SHARE)]


def _unlike(frames: Sequence[Frame], others: Sequence[Frame]) -> list[Frame]:
    """Return the frames that show nothing that one of the ``others`` shows."""
    if not others:
        return list(frames)
    known = np.stack([_thumbnail(frame) for frame in others])
    return [frame for frame in frames if (known @ _thumbnail(frame)).max() <= _SAME_PLACE]


def _thumbnail(frame: Frame) -> F32:
    """Return a small grey picture as a vector with mean 0 and length 1."""
    path = frame.image.path
    try:
        grey = cv2.cvtColor(to_bgr(read_picture(path)), cv2.COLOR_BGR2GRAY)
    except ImageError as error:
        raise ImageError(f'{path}: {error}; remove its folder and run the same command again'
                         ) from error
    small = cv2.resize(grey, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
    centred: F32 = (small - small.mean()).ravel()
    return centred / np.float32(max(float(np.linalg.norm(centred)), 1e-6))
