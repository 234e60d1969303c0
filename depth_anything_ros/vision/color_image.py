"""
8-bit colour images: views of raw buffers without a copy, and conversion to BGR.

Encoding names are those of ``sensor_msgs/image_encodings.hpp``.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
import numpy as np

Order = Literal['bgr', 'rgb', 'bgra', 'rgba', 'mono']

ORDERS: dict[str, Order] = {
    'bgr8': 'bgr', '8UC3': 'bgr', 'rgb8': 'rgb', 'bgra8': 'bgra', '8UC4': 'bgra',
    'rgba8': 'rgba', 'mono8': 'mono', '8UC1': 'mono'}

_TO_BGR = {'rgb': cv2.COLOR_RGB2BGR, 'bgra': cv2.COLOR_BGRA2BGR, 'rgba': cv2.COLOR_RGBA2BGR,
           'mono': cv2.COLOR_GRAY2BGR}


@dataclass(frozen=True)
class ColorImage:
    """An 8-bit image [H, W, C], or [H, W] for mono, and the order of its channels."""

    pixels: U8
    order: Order

    @property
    def size_hw(self) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def to_bgr(image: ColorImage, out: U8 | None = None) -> U8:
    """Return the image as BGR [H, W, 3], without a copy if it is BGR and ``out`` is None."""
    if image.order != 'bgr':
        return cv2.cvtColor(image.pixels, _TO_BGR[image.order],
                            dst=out)  # type: ignore[return-value]
    if out is None:
        return image.pixels
    np.copyto(out, image.pixels)
    return out


def check_layout(encoding: str, size_hw: tuple[int, int], step: int, data_bytes: int,
                 pixel_bytes: int) -> None:
    """Raise ImageError if ``data_bytes`` is too small for rows that are ``step`` bytes apart."""
    height, width = size_hw
    if height < 1 or width < 1:
        raise ImageError(f'the image is empty ({width}x{height}); check the camera driver')
    if step < width * pixel_bytes:
        raise ImageError(f'step is {step} bytes, but {width} {encoding} pixels need '
                         f'{width * pixel_bytes}; the publisher fills in step wrongly')
    needed = step * (height - 1) + width * pixel_bytes
    if data_bytes < needed:
        raise ImageError(f'data has {data_bytes} bytes, but {height} rows of step {step} need '
                         f'{needed}; the message is truncated')


def view_image(buffer: memoryview | bytes | bytearray | U8, encoding: str,
               size_hw: tuple[int, int], step: int) -> ColorImage:
    """
    Return a view, not a copy, of a raw buffer whose rows are ``step`` bytes apart.

    ImageError for an unknown encoding or a buffer that is too small.
    """
    if encoding not in ORDERS:
        raise ImageError(f'encoding {encoding!r} is not a raw 8-bit encoding; known are '
                         f'{", ".join(ORDERS)}')
    order = ORDERS[encoding]
    channels = 1 if order == 'mono' else len(order)
    flat = np.frombuffer(buffer, dtype=np.uint8)
    check_layout(encoding, size_hw, step, flat.size, channels)
    return ColorImage(pixel_view(flat, size_hw, step, channels), order)


def pixel_view(flat: U8, size_hw: tuple[int, int], step: int, pixel_bytes: int) -> U8:
    """Return a view [H, W, pixel_bytes], or [H, W] for one byte, of bytes with padded rows."""
    shape: tuple[int, ...] = (*size_hw, pixel_bytes)
    strides: tuple[int, ...] = (step, pixel_bytes, 1)
    if pixel_bytes == 1:
        shape, strides = shape[:2], strides[:2]
    return np.lib.stride_tricks.as_strided(flat, shape, strides)
