"""
Picture files: decoding, and their size from the header.

Sources of the headers: ITU-T T.81 (JPEG), JEITA CP-3451 (Exif), W3C PNG, RFC 9649 (WebP),
Microsoft BITMAPINFOHEADER.
"""

from functools import partial
import os
from pathlib import Path
import struct
from typing import BinaryIO

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.foreign_files import foreign_kind
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')

_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF_ORIENTATION = 0x0112
# Orientations that exchange height and width: OpenCV turns the picture upright.
_SIDEWAYS = range(5, 9)
_WEBP_HAS_EXIF = 0x08


def read_size_hw(file: Path) -> tuple[int, int] | None:
    """
    Return (height, width) of the decoded picture from the header of a JPEG, PNG, WebP or BMP.

    None for other formats, for damaged headers, and for a PNG or WebP with Exif data: whether it
    is turned upright depends on the version of OpenCV.
    """
    try:
        with file.open('rb') as stream:
            head = stream.read(30)
            if head.startswith(b'\xff\xd8'):
                return _jpeg_size_hw(stream)
            if head.startswith(b'\x89PNG\r\n\x1a\n'):
                return _png_size_hw(stream)
            if head.startswith(b'RIFF') and head[8:12] == b'WEBP':
                return _webp_size_hw(head)
            if head.startswith(b'BM'):
                width, height = struct.unpack('<ii', head[18:26])
                return abs(height), width
    except (OSError, ValueError, struct.error):
        pass
    return None


def _jpeg_size_hw(stream: BinaryIO) -> tuple[int, int] | None:
    stream.seek(2)
    is_sideways = False
    while (head := stream.read(4))[:1] == b'\xff':
        marker, length = head[1], struct.unpack('>H', head[2:])[0]
        if marker in _JPEG_START_OF_FRAME:
            height, width = struct.unpack('>xHH', stream.read(5))
            return (width, height) if is_sideways else (height, width)
        payload = stream.read(length - 2)
        if marker == 0xE1 and payload.startswith(b'Exif\0\0'):
            is_sideways = _exif_orientation(payload[6:]) in _SIDEWAYS
    return None


def _png_size_hw(stream: BinaryIO) -> tuple[int, int] | None:
    stream.seek(16)
    width, height = struct.unpack('>II', stream.read(8))
    stream.seek(33)
    while len(head := stream.read(8)) == 8 and head[4:] not in (b'IDAT', b'IEND'):
        if head[4:] == b'eXIf':
            return None
        stream.seek(struct.unpack('>I', head[:4])[0] + 4, os.SEEK_CUR)
    return height, width


def _webp_size_hw(head: bytes) -> tuple[int, int] | None:
    chunk, data = head[12:16], head[20:]
    if chunk == b'VP8 ' and data[3:6] == b'\x9d\x01\x2a':
        width, height = struct.unpack('<HH', data[6:10])
        return height & 0x3FFF, width & 0x3FFF
    if chunk == b'VP8L' and data[:1] == b'\x2f':
        (bits,) = struct.unpack('<I', data[1:5])
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if chunk == b'VP8X' and len(data) == 10 and not data[0] & _WEBP_HAS_EXIF:
        width, height = (int.from_bytes(data[at:at + 3], 'little') + 1 for at in (4, 7))
        return height, width
    return None


def _exif_orientation(tiff: bytes) -> int:
    order = '<' if tiff.startswith(b'II') else '>'
    (directory,) = struct.unpack(f'{order}4xI', tiff[:8])
    (entries,) = struct.unpack_from(f'{order}H', tiff, directory)
    for index in range(entries):
        tag, _, _, value = struct.unpack_from(f'{order}HHIH', tiff, directory + 2 + 12 * index)
        if tag == _EXIF_ORIENTATION:
            return int(value)
    return 1


def open_picture(file: Path) -> ImageSource:
    """Return one picture with any suffix."""
    return picture_source(str(file), [(file.name, file)])


def read_picture(file: Path) -> ColorImage:
    """
    Return a picture file as 8-bit BGR like ``cv2.imread``: without alpha, turned upright.

    ImageError if the file is missing or not a picture.
    """
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise ImageError(f'it cannot be read ({error.strerror})') from error
    if foreign := foreign_kind(data[:512].tobytes()):
        raise ImageError('; '.join(foreign))
    return decode_picture(data)


def decode_picture(data: U8) -> ColorImage:
    """Return an encoded picture (JPEG, PNG, …) as 8-bit BGR; ImageError if that fails."""
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f'OpenCV cannot decode these {data.size} bytes; are they an image, and '
                         'complete?')
    return ColorImage(pixels, 'bgr')  # type: ignore[arg-type]


def picture_source(name: str, files: list[tuple[str, Path]]) -> ImageSource:
    """Return picture files as a source; each file comes with the name of its image."""
    images = [ImageItem(label, index, partial(read_picture, file), file)
              for index, (label, file) in enumerate(files)]
    return ImageSource('images', name, len(images), None, None, lambda: iter(images))
