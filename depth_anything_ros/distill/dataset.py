"""The pictures to learn from: photographs where they lie, frames of videos and bags as JPEGs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import hashlib
from pathlib import Path
import re

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.cli.progress import Counting, Report
from depth_anything_ros.errors import ImageError
from depth_anything_ros.files import atomic_file
from depth_anything_ros.media.bag_reader import is_bag
from depth_anything_ros.media.open_images import list_videos, open_images
from depth_anything_ros.media.pictures import read_size_hw
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import to_bgr

_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True)
class Selection:
    """
    What is taken of the data.

    Of videos and bags that is every ``every``-th frame; ``topic`` is the one of bags with several
    image topics. Pictures whose short side is longer than ``short_side`` pixels are reduced to it.
    """

    every: int = 10
    topic: str | None = None
    short_side: int = 384


@dataclass(frozen=True)
class Picture:
    """
    A file that is labelled as it is; ``name``, SOURCE/FILE or SOURCE/FRAME, is its own.

    ``number`` stands at the end of a photograph's name; without one it is its place in the source,
    as with the frames that are taken.
    """

    name: str
    path: Path
    number: int


def collect(data: Sequence[str], folder: Path, how: Selection, report: Report,
           counting: Counting) -> list[Picture]:
    """
    Return the pictures of all data; frames and what was too large are kept in ``folder``.

    What lies there already is not read again. Pictures that cannot be read are reported and left
    out. ImageError for data that cannot be opened, OSError where ``folder`` cannot be written.
    """
    sources = _open(data, how.topic)
    pictures: dict[str, Picture] = {}
    with counting('images looked at', sum(source.count or 0 for source in sources), 0) as advance:
        for source in sources:
            found = len(pictures)
            for image in source:
                picture = _take(source, image, folder, how, report)
                if picture is not None:
                    pictures[picture.name] = picture
                advance('')
            report(f'      {source.name}: {len(pictures) - found} pictures')
    return list(pictures.values())


def hold_out(pictures: Sequence[Picture], every: int) -> tuple[list[Picture], list[Picture]]:
    """Return (pictures to learn from, those whose number is divisible by ``every``)."""
    learned = [picture for picture in pictures if picture.number % every]
    return learned, [picture for picture in pictures if not picture.number % every]


def _open(data: Sequence[str], topic: str | None) -> list[ImageSource]:
    bags = any(is_bag(Path(name)) for name in data)
    sources = []
    for name in dict.fromkeys(data):
        for one in list_videos(name) or [name]:
            source = open_images(one, topic if is_bag(Path(one)) or not bags else None)
            if source.kind == 'camera':
                raise ImageError(f'{source.name} has no end; record a video or a bag first')
            sources.append(source)
    return sources


def _take(source: ImageSource, image: ImageItem, folder: Path, how: Selection,
          report: Report) -> Picture | None:
    """Return the picture of an image, None where it is not wanted or cannot be read."""
    try:
        if image.path is not None:
            return _photograph(source, image, image.path, folder, how.short_side)
        if image.index % how.every == 0:
            return _frame(source, image, folder, how)
    except ImageError as error:
        report(f'      {source.name}: {image.name} is left out: {error}')
    return None


def _photograph(source: ImageSource, image: ImageItem, path: Path, folder: Path,
                short_side: int) -> Picture:
    name = f'{Path(source.name).stem}/{path.stem}-{_digest(path)}'
    digits = re.search(r'\d+$', path.stem)
    number = int(digits[0]) if digits else image.index
    size_hw = read_size_hw(path) or image.read().size_hw
    if min(size_hw) <= short_side:
        return Picture(name, path, number)
    return Picture(name, _kept(image, path, folder / f'{name}.jpg', short_side), number)


def _frame(source: ImageSource, image: ImageItem, folder: Path, how: Selection) -> Picture:
    origin = Path(source.name)
    name = f'{origin.stem}-{_digest(origin, source.topic or "")}/{image.index:06}'
    path = _kept(image, origin, folder / f'{name}.jpg', how.short_side)
    return Picture(name, path, image.index // how.every)


def _kept(image: ImageItem, origin: Path, path: Path, short_side: int) -> Path:
    """Return ``path`` with the image in it, reduced; it is written unless it is newer."""
    if path.is_file() and path.stat().st_mtime_ns >= _changed_ns(origin):
        return path
    pixels = to_bgr(image.read())
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as staged:
        if not cv2.imwrite(str(staged), _reduced(pixels, short_side), _JPEG):
            raise OSError(f'{path} cannot be written; is the disk full?')
    return path


def _reduced(pixels: U8, short_side: int) -> U8:
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return pixels
    size = round(width * scale), round(height * scale)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _changed_ns(path: Path) -> int:
    """Return when a file, or one of a folder's files, was changed last."""
    return max(file.stat().st_mtime_ns for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir():
        yield from path.iterdir()


def _digest(path: Path, more: str = '') -> str:
    """Return eight digits that stand for a file: others of the same name lie elsewhere."""
    return hashlib.sha256(f'{path.resolve()}{more}'.encode()).hexdigest()[:8]
