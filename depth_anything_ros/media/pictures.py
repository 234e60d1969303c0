"""Picture files: reading them, and their size from the header."""

from functools import partial
from pathlib import Path

from depth_anything_ros.errors import ImageError
from depth_anything_ros.foreign_files import foreign_kind, is_pipe_or_device
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.encoded_image import decode_picture, FILE_LIMIT, PixelLimit
from depth_anything_ros.vision.picture_header import read_header
import numpy as np

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def read_size_hw(file: Path) -> tuple[int, int] | None:
    """
    Return (height, width) of the decoded picture from its header, None for other formats.

    Also None for damaged headers, and where it depends on the version of OpenCV whether the
    picture is turned upright.
    """
    if is_pipe_or_device(file):
        return None
    try:
        with file.open('rb') as stream:
            header = read_header(stream)
    except (OSError, ValueError):
        return None
    return None if header is None else header.upright_hw


def open_picture(file: Path) -> ImageSource:
    """Return one picture with any suffix."""
    return picture_source(str(file), [(file.name, file)])


def read_picture(file: Path, limit: PixelLimit = FILE_LIMIT) -> ColorImage:
    """
    Return a picture file as 8-bit BGR like ``cv2.imread``: without alpha, turned upright.

    ImageError if the file is missing, not a picture, or larger than ``limit``.
    """
    if is_pipe_or_device(file):
        raise ImageError('it is a pipe or a device; name a file')
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise ImageError(f'it cannot be read ({error.strerror})') from error
    except ValueError as error:
        raise ImageError('no file can have this name; correct it') from error
    if foreign := foreign_kind(data[:512].tobytes()):
        raise ImageError('; '.join(foreign))
    return decode_picture(data, limit)


def picture_source(name: str, files: list[tuple[str, Path]]) -> ImageSource:
    """Return picture files as a source; each file comes with the name of its image."""
    images = [ImageItem(label, index, partial(read_picture, file), file)
              for index, (label, file) in enumerate(files)]
    return ImageSource('images', name, len(images), None, None, lambda: iter(images))
