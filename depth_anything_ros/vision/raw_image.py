"""
Raw images of every encoding that cameras publish, as 8-bit colour images.

Names and layouts are those of ``sensor_msgs/image_encodings.hpp``, and nv12, whose chroma is in
the other order than that of nv21.
"""

from typing import Any

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.color_image import (
    check_layout, ColorImage, ORDERS, pixel_view, view_image)
import numpy as np

# The order of two bytes per pixel: yuv422 is UYVY, as in V4L and in cv_bridge.
_YUV_422 = {'yuv422': cv2.COLOR_YUV2BGR_UYVY, 'uyvy': cv2.COLOR_YUV2BGR_UYVY,
            'yuv422_yuy2': cv2.COLOR_YUV2BGR_YUY2, 'yuyv': cv2.COLOR_YUV2BGR_YUY2}
# Brightness of all pixels, then pairs of chroma for 2x2 pixels.
_NV = {'nv12': cv2.COLOR_YUV2BGR_NV12, 'nv21': cv2.COLOR_YUV2BGR_NV21}
# OpenCV names a pattern by its second row, ROS by its first one.
_BAYER = {'bayer_rggb8': cv2.COLOR_BayerBG2BGR, 'bayer_bggr8': cv2.COLOR_BayerRG2BGR,
          'bayer_gbrg8': cv2.COLOR_BayerGR2BGR, 'bayer_grbg8': cv2.COLOR_BayerGB2BGR}
# What remains of 16 bits after division by 257, and the number of values per pixel.
_16_BIT = {'mono16': ('mono8', 1), '16UC1': ('mono8', 1), 'bgr16': ('bgr8', 3),
           '16UC3': ('bgr8', 3), 'rgb16': ('rgb8', 3), 'bgra16': ('bgra8', 4),
           '16UC4': ('bgra8', 4), 'rgba16': ('rgba8', 4),
           **{name[:-1] + '16': (name, 1) for name in _BAYER}}
ENCODINGS = (*ORDERS, *_16_BIT, *_BAYER, *_YUV_422, *_NV, 'nv24')
# The number type of depth images.
DEPTH_TYPES = {'32FC1': 'f4', '16UC1': 'u2', 'mono16': 'u2'}


def read_raw_image(buffer: memoryview | bytes | bytearray | U8, encoding: str,
                   size_hw: tuple[int, int], step: int, is_bigendian: bool = False) -> ColorImage:
    """
    Return a raw buffer whose rows are ``step`` bytes apart, 8-bit colours and gray as a view.

    ImageError for an unknown encoding, a buffer that is too small or an odd size of YUV.
    """
    if encoding in ORDERS:
        return view_image(buffer, encoding, size_hw, step)
    if encoding not in ENCODINGS:
        raise ImageError(f'encoding {encoding!r} cannot be read; known are '
                         f'{", ".join(ENCODINGS)}')
    data = np.frombuffer(buffer, np.uint8)
    if encoding in _16_BIT:
        narrow, channels = _16_BIT[encoding]
        check_layout(encoding, size_hw, step, data.size, 2 * channels)
        values = _to_8_bit(data, size_hw, step, channels, is_bigendian)
        return read_raw_image(values, narrow, size_hw, values.shape[1])
    if encoding in _NV:
        return ColorImage(_from_nv(data, encoding, size_hw, step), 'bgr')
    if encoding == 'nv24':
        return ColorImage(_from_nv24(data, size_hw, step), 'bgr')
    pixel_bytes = 2 if encoding in _YUV_422 else 1
    check_layout(encoding, size_hw, step, data.size, pixel_bytes)
    if encoding in _YUV_422:
        _check_even(encoding, size_hw, width_only=True)
    pixels = pixel_view(data, size_hw, step, pixel_bytes)
    code = _BAYER[encoding] if encoding in _BAYER else _YUV_422[encoding]
    return ColorImage(_converted(pixels, code), 'bgr')


def read_depth_message(message: Any) -> F32:
    """
    Return depth [m] [H, W] of 32FC1 (metres) or 16UC1 (millimetres), NaN where invalid.

    ``message`` is a sensor_msgs/Image of rclpy or of rosbags. ImageError for another encoding, or
    for a size, step and data that do not match.
    """
    encoding, size_hw, step = message.encoding, (message.height, message.width), message.step
    if encoding not in DEPTH_TYPES:
        raise ImageError(f'the depth is {encoding!r}; it must be 32FC1 in metres or 16UC1 in '
                         'millimetres')
    pixel = np.dtype(DEPTH_TYPES[encoding]).newbyteorder('>' if message.is_bigendian else '<')
    data = np.frombuffer(message.data, np.uint8)
    check_layout(encoding, size_hw, step, data.size, pixel.itemsize)
    # The last row may lack its padding.
    rows = np.lib.stride_tricks.as_strided(
        data, (size_hw[0], size_hw[1] * pixel.itemsize), (step, 1))
    depth: F32 = np.ascontiguousarray(rows).view(pixel).astype(np.float32)
    if pixel.kind == 'u':
        depth /= 1000
    depth[~((depth > 0) & np.isfinite(depth))] = np.nan
    return depth


def _to_8_bit(data: U8, size_hw: tuple[int, int], step: int, channels: int,
              is_bigendian: bool) -> U8:
    """Return [H, W * C] with 65535 as 255, like cv_bridge."""
    rows = np.ascontiguousarray(pixel_view(data, (size_hw[0], 1), step,
                                           size_hw[1] * channels * 2)[:, 0])
    values = rows.view('>u2' if is_bigendian else '<u2').astype(np.uint16, copy=False)
    return cv2.convertScaleAbs(values, alpha=255 / 65535)  # type: ignore[return-value]


def _from_nv(data: U8, encoding: str, size_hw: tuple[int, int], step: int) -> U8:
    """Return BGR of a plane of brightness above a plane of chroma."""
    height, width = size_hw
    check_layout(encoding, (height * 3 // 2, width), step, data.size, 1)
    _check_even(encoding, size_hw)
    return _converted(pixel_view(data, (height * 3 // 2, width), step, 1), _NV[encoding])


def _from_nv24(data: U8, size_hw: tuple[int, int], step: int) -> U8:
    """Return BGR of a plane of brightness above a plane of chroma, U and V, for each pixel."""
    height, width = size_hw
    check_layout('nv24', size_hw, step, data.size, 1)
    chroma = data[height * step:]
    check_layout('nv24 chroma', size_hw, 2 * step, chroma.size, 2)
    # OpenCV knows no nv24, but UYVY, here of two equal pixels for each.
    uyvy = np.empty((*size_hw, 4), np.uint8)
    uyvy[..., 1] = uyvy[..., 3] = pixel_view(data, size_hw, step, 1)
    uyvy[..., ::2] = pixel_view(chroma, size_hw, 2 * step, 2)
    bgr = _converted(uyvy.reshape(height, 2 * width, 2), cv2.COLOR_YUV2BGR_UYVY)
    return np.ascontiguousarray(bgr[:, ::2])


def _check_even(encoding: str, size_hw: tuple[int, int], width_only: bool = False) -> None:
    height, width = size_hw
    if width % 2 or (height % 2 and not width_only):
        raise ImageError(f'the image is {width}x{height}, but neighbouring {encoding} pixels '
                         'share their colour, so the size must be even; change it in the driver')


def _converted(pixels: U8, code: int) -> U8:
    return cv2.cvtColor(pixels, code)  # type: ignore[return-value]
