"""Picture files: one, a folder of them, or a list in a text file."""

from functools import partial
import os
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.source import ImageSource, SourceImage
from depth_anything_ros.vision.encodings import ColorImage
import numpy as np
import numpy.typing as npt

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def open_folder(folder: Path) -> ImageSource:
    """Return the pictures below ``folder`` in the order of their paths; ImageError for none."""
    files = files_below(folder, SUFFIXES)
    if not files:
        raise ImageError(f'{folder} holds no image; supported are {", ".join(SUFFIXES)}')
    return _source(str(folder), [(file.relative_to(folder).as_posix(), file) for file in files])


def open_list(file: Path) -> ImageSource:
    """Return the pictures that a text file names, each once; ImageError for none."""
    entries = dict.fromkeys(read_list(file))
    if not entries:
        raise ImageError(f'{file} is empty; write one path a line')
    return _source(str(file), [(str(entry), entry) for entry in entries])


def open_picture(file: Path) -> ImageSource:
    """Return one picture, whatever its suffix."""
    return _source(str(file), [(file.name, file)])


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files with one of ``suffixes`` below ``folder``, sorted, hidden ones left out."""
    return sorted(
        file for file in folder.rglob('*')
        if file.suffix.lower() in suffixes and file.is_file()
        and not any(part.startswith('.') for part in file.relative_to(folder).parts))


def read_list(file: Path) -> list[Path]:
    """Return one path a line: as it stands if that exists, else relative to the list's folder."""
    try:
        lines = os.fsdecode(file.read_bytes()).splitlines()
    except OSError as error:
        raise ImageError(f'{file} cannot be read ({error.strerror})') from error
    paths = [Path(line.strip()) for line in lines if line.strip()]
    return [path if path.exists() or not (file.parent / path).exists() else file.parent / path
            for path in paths]


def read_picture(file: Path) -> ColorImage:
    """
    Return a picture file as 8-bit BGR, as ``cv2.imread`` does: without alpha, turned upright.

    ImageError for a file that is missing or no picture.
    """
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise ImageError(f'it cannot be read ({error.strerror})') from error
    return decode_picture(data)


def decode_picture(data: npt.NDArray[np.uint8]) -> ColorImage:
    """Return the picture in a JPEG, PNG or other buffer as 8-bit BGR, or raise ImageError."""
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f'OpenCV cannot decode these {data.size} bytes; are they an image, and '
                         'complete?')
    return ColorImage(pixels, 'bgr')  # type: ignore[arg-type]


def _source(name: str, files: list[tuple[str, Path]]) -> ImageSource:
    images = [SourceImage(label, index, partial(read_picture, file), file)
              for index, (label, file) in enumerate(files)]
    return ImageSource('images', name, len(images), None, None, lambda: iter(images))
