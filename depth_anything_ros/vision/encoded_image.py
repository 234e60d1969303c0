"""Decodes pictures (JPEG, PNG, …) with OpenCV after a check of their size and completeness."""

from dataclasses import dataclass
from io import BytesIO
import re

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.picture_header import (
    format_of, FORMATS, is_complete, PictureHeader, read_header)
from depth_anything_ros.vision.raw_image import read_raw_image

_VIDEO = re.compile(r'\b(h\.?26[3-6]|x26[45]|hevc|avc|vp[89]|av1|mpeg-?[124]?|theora|ffmpeg)\b',
                    re.IGNORECASE)
# The encoding of the raw image, the codec and that of the compressed one, which may be missing.
_COMPRESSED = re.compile(r'\s*(\w+)\s*;\s*\w+ compressed\s*(\w*)')
_VIDEO_STARTS = (b'\0\0\1', b'\0\0\0\1')


@dataclass(frozen=True)
class PixelLimit:
    """
    The largest picture that is decoded, and what a user can do about a larger one.

    A damaged header, or one made for that, claims sizes that need gigabytes of memory.
    """

    megapixels: float
    remedy: str

    def check(self, name: str, size_hw: tuple[int, int]) -> None:
        """Raise ImageError if a picture or video of this size [px] is too large."""
        height, width = size_hw
        if height * width > self.megapixels * 1e6:
            raise ImageError(f'{name} has {width}x{height} pixels by its header, which is more '
                             f'than {self.megapixels:g} megapixels; {self.remedy}')


FILE_LIMIT = PixelLimit(250.0, 'if it is not damaged, make it smaller with another program first')


def decode_picture(data: U8, limit: PixelLimit = FILE_LIMIT) -> ColorImage:
    """
    Return a picture file as 8-bit BGR like ``cv2.imread``: without alpha, turned upright.

    ImageError if it is too large, incomplete, or OpenCV cannot decode it.
    """
    check_picture(data, limit)
    return _decode(data, cv2.IMREAD_COLOR)


def decode_compressed_data(data: U8, message_format: str,
                           limit: PixelLimit = FILE_LIMIT) -> ColorImage:
    """
    Return the picture of a CompressedImage in 8-bit colours; ImageError if that fails.

    ``message_format`` may say, as sensor_msgs/CompressedImage defines it, that the compressed
    pixels are RGB in place of BGR, or a Bayer pattern. Exif data are ignored, as by
    image_transport: camera_info describes the stored picture.
    """
    if check_picture(data, limit) is None:
        _refuse_depth_and_video(data, message_format)
        raise ImageError(
            f'OpenCV cannot decode the compressed image (format {message_format!r}, {data.size} '
            f'bytes): it is not one of {", ".join(FORMATS)}; check the publisher')
    encoding = _compressed_encoding(message_format)
    if encoding.startswith('bayer_'):
        mosaic = _decode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if mosaic.pixels.ndim == 2:
            return read_raw_image(mosaic.pixels, f'{encoding[:10]}8', mosaic.size_hw,
                                  mosaic.size_hw[1])
    picture = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return ColorImage(picture.pixels, 'rgb') if encoding.startswith('rgb') else picture


def _compressed_encoding(message_format: str) -> str:
    """Return the encoding of the compressed pixels, '' if the format does not say it."""
    found = _COMPRESSED.match(message_format)
    return found[2] or found[1] if found else ''


def _refuse_depth_and_video(data: U8, message_format: str) -> None:
    """Raise ImageError for what image_transport also sends as CompressedImage."""
    if 'compresseddepth' in message_format.lower() or format_of(bytes(data[12:24])) == 'PNG':
        raise ImageError(f'the messages hold depth (compressedDepth, format {message_format!r}), '
                         'not colours; remap image to the colour topic of the camera')
    if _VIDEO.search(message_format) or bytes(data[:4]).startswith(_VIDEO_STARTS):
        raise ImageError(f'the messages hold video such as H.264 (format {message_format!r}), not '
                         'single images; publish JPEG or PNG, or decode the video with the '
                         'republish node of image_transport and its plugin')


def check_picture(data: U8, limit: PixelLimit = FILE_LIMIT) -> PictureHeader | None:
    """
    Return the header, or None for a format that is not one of FORMATS.

    ImageError for a picture beyond ``limit``, or one that breaks off, which some versions of
    OpenCV decode with the missing rows filled in.
    """
    view = data.data
    name = format_of(bytes(view[:12]))
    if name is None:
        return None
    header = read_header(BytesIO(view))
    if header is None:
        raise ImageError(f'OpenCV cannot decode these {data.size} bytes: the header of the {name} '
                         'is damaged')
    limit.check(f'the {name}', header.size_hw)
    if not is_complete(view, header):
        raise ImageError(f'the {name} is incomplete: it breaks off after {data.size} bytes; check '
                         'the disk, cable or network that it came over')
    return header


def _decode(data: U8, flags: int) -> ColorImage:
    try:
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f'OpenCV cannot decode these {data.size} bytes; are they an image, and '
                         'complete?')
    return ColorImage(pixels, 'bgr')  # type: ignore[arg-type]
