"""
The images of a distillation and their labels.

Photographs stay in place, frames of videos and bags become JPEG files. A label is the teacher's
inverse depth [H, W] at the size of its image, a file of 16-bit floats that is replaced only when
complete.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
import os
from pathlib import Path
import re

import cv2
from depth_anything_ros.arrays import F16, F32, U8
from depth_anything_ros.cli.progress import Advance, Counting, Report
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.distill.job import Selection
from depth_anything_ros.distill.teacher import Teacher
from depth_anything_ros.errors import CheckpointError, ImageError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.foreign_files import shortened
from depth_anything_ros.media.bag_reader import is_bag
from depth_anything_ros.media.depth_files import encode_npy, read_npy
from depth_anything_ros.media.folders import left_out_text
from depth_anything_ros.media.open_images import left_out, list_recordings, open_images
from depth_anything_ros.media.pictures import read_picture, read_size_hw
from depth_anything_ros.media.size_order import order_by_size
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np

MIN_TRAINING_IMAGES = 8
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)
_RETRY = 'remove it and run the same command again'
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class DatasetImage:
    """
    An image file to label.

    ``name`` is unique: SOURCE/FILE or SOURCE/FRAME, and another one once a file of its source was
    replaced. ``number`` is the one at the end of a photograph's name; without one, and for frames,
    the position among the images of its source.
    """

    name: str
    path: Path
    number: int


@dataclass(frozen=True)
class Origin:
    """
    Where an image comes from: the name of its source, and the topic of a bag.

    ``states`` are those of the files of a recording.
    """

    name: str
    topic: str | None
    states: str

    @staticmethod
    def of(source: ImageSource) -> 'Origin':
        """Return the origin of the images of a source."""
        files = [] if source.kind == 'images' else files_of(Path(source.name))
        return Origin(source.name, source.topic, str(states(files)))


def collect(data: Sequence[str], folder: Path, selection: Selection, report: Report,
            counting: Counting) -> list[DatasetImage]:
    """
    Return the images of all data, with frames and reduced photographs as files in ``folder``.

    Files that exist there are reused. Images that cannot be read are reported and left out.
    ImageError for data that cannot be opened, OSError where ``folder`` cannot be written.
    """
    sources = open_sources(data, selection.topic)
    images: list[DatasetImage] = []
    with counting('images checked', sum(source.count or 0 for source in sources), 0) as advance:
        for source in sources:
            found = images_of(Origin.of(source), source, folder, selection, report, advance)
            report_source(source, found, report)
            images += found
    return finished(images, data, report)


def images_of(origin: Origin, items: Iterable[ImageItem], folder: Path, selection: Selection,
              report: Report, advance: Advance) -> list[DatasetImage]:
    """Return the selected images among the items of one source, as ``collect``."""
    images = []
    for item in items:
        image = _select(origin, item, folder, selection, report)
        if image is not None:
            images.append(image)
        advance('')
    return images


def report_source(source: ImageSource, images: Sequence[DatasetImage], report: Report) -> None:
    """Report how many images a source has."""
    report(f'      {source.name}: {len(images)} images')


def finished(images: Iterable[DatasetImage], data: Sequence[str], report: Report
             ) -> list[DatasetImage]:
    """Return each image once, and report the files of the data that were not read."""
    for name in dict.fromkeys(data):
        if others := left_out(name):
            report(f'      {name}: {left_out_text(others)}')
    return list({image.name: image for image in images}.values())


def split_dataset(images: Sequence[DatasetImage], hold_out: int
                  ) -> tuple[list[DatasetImage], list[DatasetImage]]:
    """
    Return (training images, held-out images), those whose number is divisible by ``hold_out``.

    ImageError if one of the two has too few.
    """
    training = [image for image in images if image.number % hold_out]
    held_out = [image for image in images if not image.number % hold_out]
    if len(training) < MIN_TRAINING_IMAGES or not held_out:
        raise ImageError(
            f'{len(training)} training images and {len(held_out)} held-out images are too few; '
            f'give data with at least {MIN_TRAINING_IMAGES} and 1, better thousands, or change '
            '--hold-out')
    return training, held_out


def open_sources(data: Sequence[str], topic: str | None) -> list[ImageSource]:
    """Return the sources of all data; ImageError for data that cannot be opened, or a camera."""
    names = [one for name in dict.fromkeys(data) for one in list_recordings(name) or [name]]
    has_bags = any(is_bag(Path(name)) for name in names)
    sources = []
    for name in names:
        source = open_images(name, topic if is_bag(Path(name)) or not has_bags else None)
        if source.kind == 'camera':
            raise ImageError(f'{source.name} is a live camera; record a video or a bag first')
        sources.append(source)
    return sources


def _select(source: Origin, item: ImageItem, folder: Path, selection: Selection,
            report: Report) -> DatasetImage | None:
    """Return the image of an item, None where it is skipped or cannot be read."""
    try:
        if item.path is not None:
            return _photograph(source, item, item.path, folder, selection.short_side)
        if item.index % selection.every == 0:
            return _frame(source, item, folder, selection)
    except ImageError as error:
        report(f'      {source.name}: {item.name} is left out: {error}')
    return None


def _photograph(source: Origin, item: ImageItem, path: Path, folder: Path,
                short_side: int) -> DatasetImage:
    ending = f'-{digest(path, str(states([path])))}'
    stem = shortened(path.stem, f'{ending}.jpg')
    name = f'{Path(source.name).stem}/{stem}{ending}'
    digits = re.search(r'\d+$', path.stem)
    number = int(digits[0]) if digits else item.index
    size_hw = read_size_hw(path) or item.read().size_hw
    if min(size_hw) <= short_side:
        return DatasetImage(name, path, number)
    return DatasetImage(name, _write_jpeg(item, folder / f'{name}.jpg', short_side), number)


def _frame(source: Origin, item: ImageItem, folder: Path,
           selection: Selection) -> DatasetImage:
    origin = Path(source.name)
    ending = f'-{digest(origin, f"{source.topic} {source.states}")}'
    name = f'{shortened(origin.stem, ending)}{ending}/{item.index:06}'
    path = _write_jpeg(item, folder / f'{name}.jpg', selection.short_side)
    return DatasetImage(name, path, item.index // selection.every)


def _write_jpeg(item: ImageItem, path: Path, short_side: int) -> Path:
    """Write the reduced image to ``path`` unless the file is there."""
    if path.is_file():
        return path
    image_bgr = to_bgr(item.read())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jpeg(path, image_bgr, reduced_size_hw(image_bgr.shape[:2], short_side))
    return path


def reduced_size_hw(size_hw: tuple[int, ...], short_side: int) -> tuple[int, int]:
    """Return the size of an image that is reduced to ``short_side`` if that is smaller."""
    scale = min(1.0, short_side / min(size_hw))
    return round(size_hw[0] * scale), round(size_hw[1] * scale)


def write_jpeg(path: Path, image_bgr: U8, size_hw: tuple[int, int]) -> None:
    """Write an image [H, W, 3], reduced to ``size_hw``; ImageError if OpenCV cannot."""
    if image_bgr.shape[:2] != size_hw:
        image_bgr = cv2.resize(  # type: ignore[assignment]
            image_bgr, size_hw[::-1], interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode('.jpg', image_bgr, _JPEG)
    if not done:
        raise ImageError('OpenCV cannot write it as JPEG')
    with atomic_path(path) as file:
        file.write_bytes(data.tobytes())


def files_of(recording: Path) -> list[Path]:
    """Return the file of a video or bag, or the files of a bag that is a folder."""
    return (sorted(filter(Path.is_file, recording.iterdir())) if recording.is_dir()
            else [recording])


def states(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """
    Return name, size and time of files, one of which differs where a file was replaced.

    The file that replaces one may be older. Those that are missing are left out.
    """
    return [(file.name, state.st_size, state.st_mtime_ns)
            for file in files if file.exists() for state in (file.stat(),)]


def digest(path: Path, more: str) -> str:
    """Return eight hex digits that distinguish files of the same name by folder and ``more``."""
    return hashlib.sha256(os.fsencode(f'{path.resolve()}{more}')).hexdigest()[:8]


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
            label = read_npy(self.label).astype(np.float32)
        except (ImageError, ValueError) as error:
            raise CheckpointError(self.label, 'the label cannot be read (it is missing or '
                                  'damaged)', _RETRY) from error
        if label.shape != image_bgr.shape[:2]:
            raise CheckpointError(self.label, f'its size is not that of {self.image}', _RETRY)
        if not np.isfinite(label).all():
            raise CheckpointError(self.label, 'the label has values that are not finite', _RETRY)
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

    Images that cannot be read or labelled are reported and left out.
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
    missing = [image for image, pair in pairs.items() if not pair.label.is_file()]
    order = order_by_size([image.path for image in missing], *teacher.network_sizes)
    return pairs, [missing[index] for index in order]


def make_label(pair: LabelledImage, teacher: Teacher) -> None:
    """Label one image; ImageError if it cannot be read or the label has values not finite."""
    label = teacher.label(read_picture(pair.image).pixels)
    if not np.isfinite(label).all():
        raise ImageError('the teacher returns values that are not finite')
    pair.label.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(pair.label) as file:
        file.write_bytes(encode_npy(as_float16(label)))


def left_out_line(image: DatasetImage, reason: str) -> str:
    """Return the line for an image without a label."""
    return f'      {image.path} is left out: {reason}'


def as_float16(label: F32) -> F16:
    """Return a finite label [H, W] in 16 bits, scaled down where its values are too large."""
    largest = float(np.abs(label).max())
    return (label * min(1.0, 0.99 * _LARGEST_FLOAT16 / max(largest, 1.0))).astype(np.float16)
