"""The images of a distillation: photographs in place, frames of videos and bags as JPEG files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import re

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.cli.progress import Advance, Counting, Report
from depth_anything_ros.distill.job import Selection
from depth_anything_ros.errors import ImageError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.foreign_files import shortened
from depth_anything_ros.media.bag_reader import is_bag
from depth_anything_ros.media.folders import left_out_text
from depth_anything_ros.media.open_images import left_out, list_recordings, open_images
from depth_anything_ros.media.pictures import read_size_hw
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import to_bgr

MIN_TRAINING_IMAGES = 8
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True)
class DatasetImage:
    """
    An image file to label.

    ``name`` is unique: SOURCE/FILE or SOURCE/FRAME. ``number`` is the one at the end of a
    photograph's name; without one, and for frames, the position among the images of its source.
    """

    name: str
    path: Path
    number: int


@dataclass(frozen=True)
class Origin:
    """Where an image comes from: the name of its source, and the topic of a bag."""

    name: str
    topic: str | None

    @staticmethod
    def of(source: ImageSource) -> 'Origin':
        """Return the origin of the images of a source."""
        return Origin(source.name, source.topic)


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


def images_of(origin: 'Origin', items: Iterable[ImageItem], folder: Path, selection: Selection,
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
    ending = f'-{_digest(path)}'
    stem = shortened(path.stem, f'{ending}.jpg')
    name = f'{Path(source.name).stem}/{stem}{ending}'
    digits = re.search(r'\d+$', path.stem)
    number = int(digits[0]) if digits else item.index
    size_hw = read_size_hw(path) or item.read().size_hw
    if min(size_hw) <= short_side:
        return DatasetImage(name, path, number)
    return DatasetImage(name, _write_jpeg(item, path, folder / f'{name}.jpg', short_side), number)


def _frame(source: Origin, item: ImageItem, folder: Path,
           selection: Selection) -> DatasetImage:
    origin = Path(source.name)
    ending = f'-{_digest(origin, source.topic or "")}'
    name = f'{shortened(origin.stem, ending)}{ending}/{item.index:06}'
    path = _write_jpeg(item, origin, folder / f'{name}.jpg', selection.short_side)
    return DatasetImage(name, path, item.index // selection.every)


def _write_jpeg(item: ImageItem, origin: Path, path: Path, short_side: int) -> Path:
    """Write the reduced image to ``path`` unless the file is newer than its origin."""
    if path.is_file() and path.stat().st_mtime_ns >= _changed_ns(origin):
        return path
    image_bgr = to_bgr(item.read())
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode('.jpg', _reduced(image_bgr, short_side), _JPEG)
    if not done:
        raise ImageError('OpenCV cannot write it as JPEG')
    with atomic_path(path) as file:
        file.write_bytes(data.tobytes())
    return path


def _reduced(image_bgr: U8, short_side: int) -> U8:
    height, width = image_bgr.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return image_bgr
    size_wh = round(width * scale), round(height * scale)
    return cv2.resize(  # type: ignore[return-value]
        image_bgr, size_wh, interpolation=cv2.INTER_AREA)


def _changed_ns(path: Path) -> int:
    """Return the time of the last change to a file, or to any file of a folder."""
    return max(file.stat().st_mtime_ns for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir():
        yield from path.iterdir()


def _digest(path: Path, more: str = '') -> str:
    """Return eight hex digits that distinguish files of the same name in other folders."""
    return hashlib.sha256(os.fsencode(f'{path.resolve()}{more}')).hexdigest()[:8]
