"""
Size and completeness of encoded pictures, read from their structure without decoding them.

Sources: ITU-T T.81 (JPEG), JEITA CP-3451 (Exif), W3C PNG, RFC 9649 (WebP), Microsoft
BITMAPINFOHEADER, Adobe TIFF 6.0 and BigTIFF.
"""

from collections.abc import Callable
from dataclasses import dataclass
import os
import struct
from typing import BinaryIO

import numpy as np

_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEGMENTS = frozenset({0xC4, 0xC8, 0xCC, *range(0xDA, 0xFF)})
_JPEG_END, _JPEG_SCAN, _JPEG_APP1 = 0xD9, 0xDA, 0xE1
_ORIENTATION = 0x0112
_WEBP_HAS_EXIF = 0x08
_WIDTH, _LENGTH, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 256, 257, 273, 279, 324, 325
_TIFF_TAGS = {_WIDTH, _LENGTH, _ORIENTATION, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
_MOST_TIFF_ENTRIES = 4096
_TIFF_TYPES = {3: 'H', 4: 'I', 16: 'Q'}


@dataclass(frozen=True)
class PictureHeader:
    """
    Format and stored size [px] of a picture, and its Exif orientation, 1 to 8.

    The orientation is None if it depends on the version of OpenCV whether the picture is turned.
    """

    format_name: str
    size_hw: tuple[int, int]
    orientation: int | None = 1

    @property
    def upright_hw(self) -> tuple[int, int] | None:
        """Return the size of the picture turned upright, None if that is unknown."""
        if self.orientation is None:
            return None
        return self.size_hw[::-1] if self.orientation in range(5, 9) else self.size_hw


def format_of(head: bytes) -> str | None:
    """Return the format that the first 12 bytes of a picture say, None for other formats."""
    for name, starts in (('JPEG', (b'\xff\xd8',)), ('PNG', (b'\x89PNG\r\n\x1a\n',)),
                         ('BMP', (b'BM',)), ('TIFF', (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'))):
        if head.startswith(starts):
            return name
    return 'WebP' if head.startswith(b'RIFF') and head[8:12] == b'WEBP' else None


def read_header(stream: BinaryIO) -> PictureHeader | None:
    """Return the header of a picture; None for other formats and for a damaged header."""
    try:
        stream.seek(0)
        name = format_of(stream.read(12))
        return None if name is None else _READERS[name](stream)
    except (OSError, OverflowError, ValueError, struct.error):
        return None


def is_complete(data: memoryview, header: PictureHeader) -> bool:
    """Return whether the picture has all the bytes that it says it has; more may follow."""
    try:
        return _COMPLETE[header.format_name](data)
    except (OverflowError, struct.error):
        return False


def _read_jpeg(stream: BinaryIO) -> PictureHeader | None:
    stream.seek(2)
    orientation = 1
    while stream.read(1) == b'\xff':
        # Any number of bytes FF may precede a marker.
        while (marker := stream.read(1)) == b'\xff':
            pass
        length = struct.unpack('>H', stream.read(2))[0]
        if marker and marker[0] in _JPEG_START_OF_FRAME:
            return PictureHeader('JPEG', struct.unpack('>xHH', stream.read(5)), orientation)
        if length < 2 or not marker or marker[0] not in _JPEG_SEGMENTS:
            return None
        payload = stream.read(length - 2)
        if marker[0] == _JPEG_APP1 and payload.startswith(b'Exif\0\0'):
            orientation = _exif_orientation(payload[6:])
    return None


def _exif_orientation(tiff: bytes) -> int:
    """Return the orientation in Exif data; 1, which is upright, also if they are damaged."""
    order = '<' if tiff.startswith(b'II') else '>'
    try:
        (directory,) = struct.unpack_from(f'{order}I', tiff, 4)
        (entries,) = struct.unpack_from(f'{order}H', tiff, directory)
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(f'{order}HHIH', tiff,
                                                  directory + 2 + 12 * index)
            if tag == _ORIENTATION:
                return int(value)
    except struct.error:
        pass
    return 1


def _read_png(stream: BinaryIO) -> PictureHeader:
    stream.seek(16)
    width, height = struct.unpack('>II', stream.read(8))
    stream.seek(33)
    orientation: int | None = 1
    while len(head := stream.read(8)) == 8 and head[4:] not in (b'IDAT', b'IEND'):
        if head[4:] == b'eXIf':
            orientation = None
        stream.seek(struct.unpack('>I', head[:4])[0] + 4, os.SEEK_CUR)
    return PictureHeader('PNG', (height, width), orientation)


def _read_webp(stream: BinaryIO) -> PictureHeader | None:
    chunk = stream.read(4)
    stream.seek(20)
    data = stream.read(10)
    if chunk == b'VP8 ' and data[3:6] == b'\x9d\x01\x2a':
        width, height = struct.unpack('<HH', data[6:10])
        return PictureHeader('WebP', (height & 0x3FFF, width & 0x3FFF))
    if chunk == b'VP8L' and data[:1] == b'\x2f':
        (bits,) = struct.unpack('<I', data[1:5])
        return PictureHeader('WebP', ((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1))
    if chunk == b'VP8X' and len(data) == 10:
        width, height = (int.from_bytes(data[at:at + 3], 'little') + 1 for at in (4, 7))
        return PictureHeader('WebP', (height, width), None if data[0] & _WEBP_HAS_EXIF else 1)
    return None


def _read_bmp(stream: BinaryIO) -> PictureHeader:
    stream.seek(14)
    head = stream.read(12)
    # The header of OS/2 has 12 bytes, and sizes of 16 bits.
    width, height = struct.unpack(*(('<4xHH', head[:8]) if head[:4] == b'\x0c\0\0\0'
                                    else ('<4xii', head)))
    return PictureHeader('BMP', (abs(height), width))


def _read_tiff(stream: BinaryIO) -> PictureHeader | None:
    stream.seek(0, os.SEEK_END)
    size = stream.tell()
    entries = _tiff_entries(lambda at, length: _read_at(stream, at, length), size)
    width, height = entries.get(_WIDTH), entries.get(_LENGTH)
    if not width or not height:
        return None
    # OpenCV turns pictures of TIFF in some versions and builds only.
    orientation = 1 if entries.get(_ORIENTATION, (1,)) == (1,) else None
    return PictureHeader('TIFF', (height[0], width[0]), orientation)


def _read_at(stream: BinaryIO, at: int, length: int) -> bytes:
    stream.seek(at)
    return stream.read(length)


def _tiff_entries(read: Callable[[int, int], bytes], size: int) -> dict[int, tuple[int, ...]]:
    """Return the integers of the first directory by tag, without values that are out of range."""
    head = read(0, 16)
    order, is_big = '<' if head[:2] == b'II' else '>', head[2:4] in (b'+\0', b'\0+')
    count_type, offset_type = ('Q', 'Q') if is_big else ('H', 'I')
    (directory,) = struct.unpack_from(f'{order}{offset_type}', head, 8 if is_big else 4)
    start = directory + struct.calcsize(f'={count_type}')
    (entries,) = struct.unpack(f'{order}{count_type}', read(directory, start - directory))
    entry = struct.Struct(f'{order}HH{offset_type}')
    value_bytes = struct.calcsize(f'={offset_type}')
    found = {}
    for index in range(min(entries, _MOST_TIFF_ENTRIES)):
        at = start + index * (entry.size + value_bytes)
        tag, kind, count = entry.unpack(read(at, entry.size))
        if tag not in _TIFF_TAGS or kind not in _TIFF_TYPES:
            continue
        values = struct.Struct(f'{order}{count}{_TIFF_TYPES[kind]}')
        at += entry.size
        if values.size > value_bytes:
            (at,) = struct.unpack(f'{order}{offset_type}', read(at, value_bytes))
        if at + values.size <= size:
            found[tag] = values.unpack(read(at, values.size))
    return found


def _is_complete_jpeg(data: memoryview) -> bool:
    """Follow the markers to the end of the image: a scan that breaks off has another one."""
    values = np.frombuffer(data, np.uint8)
    positions = np.flatnonzero(values[:-1] == 0xFF)
    codes = values[positions + 1]
    # In a scan FF00 stands for FF, and FFD0 to FFD7 are restart markers.
    positions = positions[(codes != 0) & (codes != 0xFF) & ((codes < 0xD0) | (codes > 0xD7))]
    at, in_scan = 2, False
    while (index := int(np.searchsorted(positions, at))) < len(positions):
        at = int(positions[index])
        code = data[at + 1]
        if code == _JPEG_END:
            return in_scan
        if code not in _JPEG_SEGMENTS and (in_scan or code not in _JPEG_START_OF_FRAME):
            return False
        in_scan = in_scan or code == _JPEG_SCAN
        at += 2 + int(struct.unpack_from('>H', data, at + 2)[0])
    return False


def _is_complete_png(data: memoryview) -> bool:
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from('>I4s', data, at)
        at += length + 12
        if name == b'IEND':
            return bool(at <= len(data))
    return False


def _is_complete_webp(data: memoryview) -> bool:
    return len(data) >= 8 + int(struct.unpack_from('<I', data, 4)[0])


def _is_complete_bmp(data: memoryview) -> bool:
    start, header = struct.unpack_from('<II', data, 10)
    compression = 0
    if header == 12:
        width, height, bits = struct.unpack_from('<HHxxH', data, 18)
    else:
        width, height, bits, compression = struct.unpack_from('<iixxHI', data, 18)
    if compression in (1, 2):
        # Run lengths end with 0, 1.
        return bytes(data).rstrip(b'\0').endswith(b'\0\1')
    return bool(len(data) >= start + (width * bits + 31) // 32 * 4 * abs(height))


def _is_complete_tiff(data: memoryview) -> bool:
    entries = _tiff_entries(lambda at, length: bytes(data[at:at + length]), len(data))
    for offsets, sizes in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        if offsets in entries:
            # Some writers leave the number of bytes out.
            lengths = entries.get(sizes, (0,) * len(entries[offsets]))
            return all(at + length <= len(data)
                       for at, length in zip(entries[offsets], lengths))
    return False


_READERS: dict[str, Callable[[BinaryIO], PictureHeader | None]] = {
    'JPEG': _read_jpeg, 'PNG': _read_png, 'WebP': _read_webp, 'BMP': _read_bmp,
    'TIFF': _read_tiff}
_COMPLETE: dict[str, Callable[[memoryview], bool]] = {
    'JPEG': _is_complete_jpeg, 'PNG': _is_complete_png, 'WebP': _is_complete_webp,
    'BMP': _is_complete_bmp, 'TIFF': _is_complete_tiff}
FORMATS = tuple(_READERS)
