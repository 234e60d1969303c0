"""Training and validation frames: split by time and by place, never between neighbours."""

from collections.abc import Sequence
from itertools import groupby

import cv2
from depth_anything_ros.arrays import F32
from depth_anything_ros.distill.dataset import MIN_TRAINING_IMAGES
from depth_anything_ros.distill.metric.frames import Frame
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np

_THUMBNAIL_WH = (24, 18)
# Two thumbnails with a larger correlation show the same place from nearly the same pose.
_SAME_PLACE = 0.98


def split_frames(frames: Sequence[Frame], share: float) -> tuple[list[Frame], list[Frame], int]:
    """
    Return (training frames, validation frames, frames left out).

    The last ``share`` of each source is for validation. Earlier frames that show the same as one
    of these are left out, so that neighbours in time and places that were seen again do not count
    as new. ImageError if too few remain.
    """
    early: list[Frame] = []
    late: list[Frame] = []
    for _, group in groupby(sorted(frames, key=lambda one: (one.source, one.number)),
                            lambda one: one.source):
        ordered = list(group)
        first = round(len(ordered) * (1 - share))
        early += ordered[:first]
        late += ordered[first:]
    training = [frame for frame, seen in zip(early, _seen_again(early, late)) if not seen]
    if len(training) < MIN_TRAINING_IMAGES or not late:
        raise ImageError(
            f'{len(training)} images for training and {len(late)} for validation are too few, '
            f'after {len(early) - len(training)} that show the same as one of the latter; give '
            f'data with at least {MIN_TRAINING_IMAGES} and 1, better hundreds from several places')
    return training, late, len(early) - len(training)


def _seen_again(early: Sequence[Frame], late: Sequence[Frame]) -> list[bool]:
    if not early or not late:
        return [False] * len(early)
    known = np.stack([_thumbnail(frame) for frame in late])
    return [bool((known @ _thumbnail(frame)).max() > _SAME_PLACE) for frame in early]


def _thumbnail(frame: Frame) -> F32:
    """Return a small grey picture as a vector with mean 0 and length 1."""
    grey = cv2.cvtColor(to_bgr(read_picture(frame.image.path)), cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, _THUMBNAIL_WH, interpolation=cv2.INTER_AREA).astype(np.float32)
    centred: F32 = (small - small.mean()).ravel()
    return centred / np.float32(max(float(np.linalg.norm(centred)), 1e-6))
