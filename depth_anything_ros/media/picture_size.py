"""
The size of a picture file from its header, without decoding it.

Sources: ITU-T T.81 (JPEG), JEITA CP-3451 (Exif), W3C PNG, Microsoft BITMAPINFOHEADER.
"""

from pathlib import Path
import struct
from typing import BinaryIO

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112
# Orientations that lie on their side: OpenCV turns them upright when it decodes.
_LYING = range(5, 9)


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
