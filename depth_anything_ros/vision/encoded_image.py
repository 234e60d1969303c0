"""Decodes pictures (JPEG, PNG, …) with OpenCV after a check that they are complete."""

from io import BytesIO

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.picture_header import (
    format_of, FORMATS, is_complete, PictureHeader, read_header)


def decode_picture(data: U8) -> ColorImage:
    """
    Return a picture file as 8-bit BGR like ``cv2.imread``: without alpha, turned upright.

    ImageError if it is incomplete or OpenCV cannot decode it.
    """
    check_picture(data)
    return _decode(data, cv2.IMREAD_COLOR)


def decode_compressed_data(data: U8, message_format: str) -> ColorImage:
    """Return the picture of a CompressedImage as 8-bit BGR; ImageError if that fails."""
    if check_picture(data) is None:
        raise ImageError(
            f'OpenCV cannot decode the compressed image (format {message_format!r}, {data.size} '
            f'bytes): it is not one of {", ".join(FORMATS)}; check the publisher')
    return _decode(data, cv2.IMREAD_COLOR)


def check_picture(data: U8) -> PictureHeader | None:
    """
    Return the header, or None for a format that is not one of FORMATS.

    ImageError for a picture that breaks off, which some versions of OpenCV decode with the missing
    rows filled in.
    """
    view = data.data
    name = format_of(bytes(view[:12]))
    if name is None:
        return None
    header = read_header(BytesIO(view))
    if header is None:
        raise ImageError(f'OpenCV cannot decode these {data.size} bytes: the header of the {name} '
                         'is damaged')
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
