"""
Pseudo-labels on disk: one file of 16-bit floats per picture, written whole or not at all.

A label is the teacher's inverse depth [H, W] at the size of its picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from depth_anything_ros.arrays import F16, F32, U8
from depth_anything_ros.cli.progress import Counting, Report
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.distill.dataset import Picture
from depth_anything_ros.distill.teacher import Teacher
from depth_anything_ros.errors import CheckpointError, ImageError
from depth_anything_ros.files import atomic_file
from depth_anything_ros.media.pictures import read_picture, read_size_hw
import numpy as np

_AGAIN = 'remove it and run the same command again'
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Labelled:
    """A picture and the file with its label."""

    image: Path
    label: Path

    def read(self) -> tuple[U8, F32]:
        """
        Return the picture BGR u8 [H, W, 3] and its inverse depth f32 [H, W].

        ImageError or CheckpointError name a file that is missing, damaged or not of the other.
        """
        try:
            picture = read_picture(self.image).pixels
        except ImageError as error:
            raise ImageError(f'{self.image}: {error}') from error
        try:
            label = np.load(self.label).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(self.label, f'the label cannot be read ({error})',
                                  _AGAIN) from error
        if label.shape != picture.shape[:2]:
            raise CheckpointError(self.label, f'it is no label of {self.image}', _AGAIN)
        return picture, label


@dataclass(frozen=True)
class LabelFacts:
    """What all labels of a folder have in common: other facts make other labels."""

    teacher_sha256: str
    overrides: Overrides
    sizes: tuple[int, ...]
    flip: bool
    short_side: int


def label_folder(work: Path, facts: LabelFacts) -> Path:
    """Return the folder below ``work`` for labels with these facts; labels.json there says so."""
    text = json.dumps(asdict(facts), indent=2) + '\n'
    folder = work / f'labels-{hashlib.sha256(text.encode()).hexdigest()[:8]}'
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / 'labels.json') as staged:
        staged.write_text(text, encoding='utf-8')
    return folder


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
    with atomic_file(pair.label) as staged:
        np.save(staged, as_float16(label))


def as_float16(label: F32) -> F16:
    """Return a finite label [H, W] in 16 bits, scaled down where its numbers are too large."""
    largest = float(np.abs(label).max())
    return (label * min(1.0, 0.99 * _LARGEST / max(largest, 1.0))).astype(np.float16)
