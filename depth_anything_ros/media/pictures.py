"""Picture files: folders and lists of them, reading them, and their size from the header."""

from functools import partial
import os
from pathlib import Path

from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.encoded_image import decode_picture
from depth_anything_ros.vision.picture_header import read_header
import numpy as np

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def read_size_hw(file: Path) -> tuple[int, int] | None:
    """
    Return (height, width) of the decoded picture from its header, None for other formats.

    Also None for damaged headers, and where it depends on the version of OpenCV whether the
    picture is turned upright.
    """
    try:
        with file.open('rb') as stream:
            header = read_header(stream)
    except OSError:
        return None
    return None if header is None else header.upright_hw


def open_folder(folder: Path) -> ImageSource:
    """Return the pictures below ``folder``, sorted by path; ImageError if it has none."""
    files = files_below(folder, SUFFIXES)
    if not files:
        raise ImageError(f'{folder} holds no image; supported are {", ".join(SUFFIXES)}')
    return _source(str(folder), [(file.relative_to(folder).as_posix(), file) for file in files])


def open_list(file: Path) -> ImageSource:
    """Return the pictures in a text file of paths, each once; ImageError if it is empty."""
    entries = dict.fromkeys(read_list(file))
    if not entries:
        raise ImageError(f'{file} is empty; write one path a line')
    return _source(str(file), [(str(entry), entry) for entry in entries])


def open_picture(file: Path) -> ImageSource:
    """Return one picture with any suffix."""
    return _source(str(file), [(file.name, file)])


def files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files below ``folder`` with one of ``suffixes``, sorted, without hidden ones."""
    return sorted(
        file for file in folder.rglob('*')
        if file.suffix.lower() in suffixes and file.is_file()
        and not any(part.startswith('.') for part in file.relative_to(folder).parts))


def read_list(file: Path) -> list[Path]:
    """
    Return the path in each line of ``file``, relative to here or to the folder of ``file``.

    ImageError if ``file`` cannot be read.
    """
    try:
        lines = os.fsdecode(file.read_bytes()).splitlines()
    except OSError as error:
        raise ImageError(f'{file} cannot be read ({error.strerror})') from error
    paths = [Path(line.strip()) for line in lines if line.strip()]
    return [path if path.exists() or not (file.parent / path).exists() else file.parent / path
            for path in paths]


def read_picture(file: Path) -> ColorImage:
    """
    Return a picture file as 8-bit BGR like ``cv2.imread``: without alpha, turned upright.

    ImageError if the file is missing or not a picture.
    """
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise ImageError(f'it cannot be read ({error.strerror})') from error
    return decode_picture(data)


def _source(name: str, files: list[tuple[str, Path]]) -> ImageSource:
    images = [ImageItem(label, index, partial(read_picture, file), file)
              for index, (label, file) in enumerate(files)]
    return ImageSource('images', name, len(images), None, None, lambda: iter(images))
