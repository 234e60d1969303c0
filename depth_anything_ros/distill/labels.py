"""
The labels of the images on disk: one file of 16-bit floats each, replaced only when complete.

A label is the teacher's inverse depth [H, W] at the size of its image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from depth_anything_ros.arrays import F16, F32, U8
from depth_anything_ros.cli.progress import Counting, Report
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.distill.dataset import DatasetImage
from depth_anything_ros.distill.teacher import Teacher
from depth_anything_ros.errors import CheckpointError, ImageError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.size_order import order_by_size
import numpy as np

_RETRY = 'remove it and run the same command again'
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class LabelledImage:
    """The files of an image and of its label."""

    image: Path
    label: Path

    def read(self) -> tuple[U8, F32]:
        """
        Return the image BGR u8 [H, W, 3] and its inverse depth f32 [H, W].

        ImageError or CheckpointError name a file that is missing or damaged, or a label of another
        size.
        """
        try:
            image_bgr = read_picture(self.image).pixels
        except ImageError as error:
            raise ImageError(f'{self.image}: {error}') from error
        try:
            label = np.load(self.label).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(self.label, f'the label cannot be read ({error})',
                                  _RETRY) from error
        if label.shape != image_bgr.shape[:2]:
            raise CheckpointError(self.label, f'its size is not that of {self.image}', _RETRY)
        return image_bgr, label


@dataclass(frozen=True)
class LabelFacts:
    """What decides the labels of a folder: if one value changes, all labels change."""

    teacher_sha256: str
    overrides: Overrides
    sizes: tuple[int, ...]
    flip: bool
    short_side: int


def label_folder(work: Path, facts: LabelFacts) -> Path:
    """Create and return the folder below ``work`` for these labels; labels.json has the facts."""
    text = json.dumps(asdict(facts), indent=2) + '\n'
    folder = work / f'labels-{hashlib.sha256(text.encode()).hexdigest()[:8]}'
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / 'labels.json') as file:
        file.write_text(text, encoding='utf-8')
    return folder


def make_labels(images: Sequence[DatasetImage], teacher: Teacher, folder: Path, report: Report,
                counting: Counting) -> Mapping[DatasetImage, LabelledImage]:
    """
    Return the images with their labels, after making those that ``folder`` lacks.

    A label older than its image is made again. Images that cannot be read or labelled are reported
    and left out.
    """
    pairs, missing = missing_labels(images, teacher, folder)
    with counting('labels', len(pairs), len(pairs) - len(missing)) as advance:
        for image in missing:
            try:
                make_label(pairs[image], teacher)
            except ImageError as error:
                report(left_out_line(image, str(error)))
                del pairs[image]
            advance('')
    return pairs


def missing_labels(images: Sequence[DatasetImage], teacher: Teacher, folder: Path
                   ) -> tuple[dict[DatasetImage, LabelledImage], list[DatasetImage]]:
    """Return the files of all images, and the images to label in the order of their sizes."""
    pairs = {image: LabelledImage(image.path, folder / f'{image.name}.npy') for image in images}
    missing = [image for image, pair in pairs.items() if not _is_current(pair)]
    order = order_by_size([image.path for image in missing], *teacher.network_sizes)
    return pairs, [missing[index] for index in order]


def make_label(pair: LabelledImage, teacher: Teacher) -> None:
    """Label one image; ImageError if it cannot be read or the label has values not finite."""
    label = teacher.label(read_picture(pair.image).pixels)
    if not np.isfinite(label).all():
        raise ImageError('the teacher returns values that are not finite')
    pair.label.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(pair.label) as file:
        np.save(file, as_float16(label))


def left_out_line(image: DatasetImage, reason: str) -> str:
    """Return the line for an image without a label."""
    return f'      {image.path} is left out: {reason}'


def as_float16(label: F32) -> F16:
    """Return a finite label [H, W] in 16 bits, scaled down where its values are too large."""
    largest = float(np.abs(label).max())
    return (label * min(1.0, 0.99 * _LARGEST_FLOAT16 / max(largest, 1.0))).astype(np.float16)


def _is_current(pair: LabelledImage) -> bool:
    try:
        return pair.label.stat().st_mtime_ns >= pair.image.stat().st_mtime_ns
    except OSError:
        return False
