"""
The size of a picture file from its header, without decoding it.

Sources: ITU-T T.81 (JPEG), JEITA CP-3451 (Exif), W3C PNG, Microsoft BITMAPINFOHEADER.
"""

from functools import partial
import os
from pathlib import Path
import struct
from typing import BinaryIO

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
import numpy.typing as npt

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112
# Orientations that lie on their side: OpenCV turns them upright when it decodes.
_LYING = range(5, 9)
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def read_size_hw(file: Path) -> tuple[int, int] | None:
    """Return (height, width) as decoded, None for other formats than JPEG, PNG and BMP."""
    try:
        with file.open('rb') as stream:
            head = stream.read(26)
            if head.startswith(b'\x89PNG\r\n\x1a\n'):
                width, height = struct.unpack('>II', head[16:24])
            elif head.startswith(b'BM'):
                width, height = struct.unpack('<ii', head[18:26])
            elif head.startswith(b'\xff\xd8'):
                stream.seek(2)
                return _jpeg_size_hw(stream)
            else:
                return None
    except (OSError, ValueError, struct.error):
        return None
    return abs(height), width


def _jpeg_size_hw(stream: BinaryIO) -> tuple[int, int] | None:
    lying = False
    while (head := stream.read(4))[:1] == b'\xff':
        marker, length = head[1], struct.unpack('>H', head[2:])[0]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack('>xHH', stream.read(5))
            return (width, height) if lying else (height, width)
        payload = stream.read(length - 2)
        if marker == 0xE1 and payload.startswith(b'Exif\0\0'):
            lying = _exif_orientation(payload[6:]) in _LYING
    return None


def _exif_orientation(tiff: bytes) -> int:
    order = '<' if tiff.startswith(b'II') else '>'
    (directory,) = struct.unpack(f'{order}4xI', tiff[:8])
    (entries,) = struct.unpack_from(f'{order}H', tiff, directory)
    for index in range(entries):
        tag, _, _, value = struct.unpack_from(f'{order}HHIH', tiff, directory + 2 + 12 * index)
        if tag == _ORIENTATION:
            return int(value)
    return 1


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
    images = [ImageItem(label, index, partial(read_picture, file), file)
              for index, (label, file) in enumerate(files)]
    return ImageSource('images', name, len(images), None, None, lambda: iter(images))
