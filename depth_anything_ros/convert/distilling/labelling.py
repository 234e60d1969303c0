"""Making pseudo-labels: each once, however often it is begun anew."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from depth_anything_ros.convert.distilling.counting import Counting
from depth_anything_ros.convert.distilling.label_cache import Labelled
from depth_anything_ros.convert.distilling.pictures import Picture
from depth_anything_ros.convert.distilling.teacher import Teacher
from depth_anything_ros.convert.steps import Report
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.picture_files import read_picture
from depth_anything_ros.media.picture_size import read_size_hw
from depth_anything_ros.media.writing import staged_file
import numpy as np
import numpy.typing as npt

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]

_LARGEST = float(np.finfo(np.float16).max)


def make_labels(pictures: Sequence[Picture], teacher: Teacher, folder: Path, report: Report,
                counting: Counting) -> Mapping[Picture, Labelled]:
    """
    Return the pictures with their labels, making those that ``folder`` does not hold yet.

    A label older than its picture is made again. Pictures that cannot be read or labelled are
    reported and left out.
    """
    pairs = {picture: Labelled(picture.path, folder / f'{picture.name}.npy')
             for picture in pictures}
    missing = [picture for picture, pair in pairs.items() if not _is_there(pair)]
    # One size after the other, because the network is compiled for each.
    missing.sort(key=lambda picture: read_size_hw(picture.path) or (0, 0))
    with counting('labels', len(pairs), len(pairs) - len(missing)) as advance:
        for picture in missing:
            try:
                _make(pairs[picture], teacher)
            except ImageError as error:
                report(f'      {picture.path} is left out: {error}')
                del pairs[picture]
            advance('')
    return pairs


def _is_there(pair: Labelled) -> bool:
    try:
        return pair.label.stat().st_mtime_ns >= pair.image.stat().st_mtime_ns
    except OSError:
        return False


def _make(pair: Labelled, teacher: Teacher) -> None:
    label = teacher.label(read_picture(pair.image).pixels)
    if not np.isfinite(label).all():
        raise ImageError('the teacher answers with values that are no finite numbers')
    pair.label.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(pair.label) as staged:
        np.save(staged, as_float16(label))


def as_float16(label: F32) -> F16:
    """Return a finite label [H, W] in 16 bits, scaled down where its numbers are too large."""
    largest = float(np.abs(label).max())
    return (label * min(1.0, 0.99 * _LARGEST / max(largest, 1.0))).astype(np.float16)
