"""From image messages to arrays: raw 8-bit without a copy, the rest through cv_bridge."""

import cv2
from depth_anything_ros.errors import ImageError, MissingDependencyError
from depth_anything_ros.ros.incoming import Incoming
from depth_anything_ros.vision.encodings import (
    check_layout, ColorImage, FOREIGN_PIXEL_BYTES, ORDERS, view_image)
import numpy as np
from sensor_msgs.msg import Image


def decode_image(incoming: Incoming) -> ColorImage:
    """
    Return the picture of a raw image message; 8-bit ones share the message's memory.

    ImageError names an unknown encoding or a size, step and data that disagree.
    """
    image, pixels = incoming.image
    if image.encoding in ORDERS:
        return view_image(pixels, image.encoding, (image.height, image.width), image.step)
    message = incoming.message
    if message.encoding not in FOREIGN_PIXEL_BYTES:
        raise ImageError(f'encoding {message.encoding!r} cannot be read; known are '
                         f'{", ".join((*ORDERS, *FOREIGN_PIXEL_BYTES))}')
    return _through_cv_bridge(message, FOREIGN_PIXEL_BYTES[message.encoding])


def decode_compressed(incoming: Incoming) -> ColorImage:
    """Return the picture of a JPEG, PNG or other compressed image that OpenCV reads."""
    message = incoming.message
    data = np.frombuffer(message.data, np.uint8)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError(f'OpenCV cannot decode the compressed image (format {message.format!r}, '
                         f'{data.size} bytes); is it an image and complete?')
    return ColorImage(pixels, 'bgr')  # type: ignore[arg-type]


def _through_cv_bridge(message: Image, pixel_bytes: int) -> ColorImage:
    size_hw = (message.height, message.width)
    check_layout(message.encoding, size_hw, message.step, len(message.data), pixel_bytes)
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError as error:
        raise MissingDependencyError(
            'cv_bridge', f'encoding {message.encoding}',
            'sudo apt install ros-$ROS_DISTRO-cv-bridge, or publish bgr8') from error
    try:
        pixels = CvBridge().imgmsg_to_cv2(_without_padding(message, pixel_bytes), 'bgr8')
    except (CvBridgeError, cv2.error, KeyError, TypeError, ValueError) as error:
        raise ImageError(f'this cv_bridge cannot convert {message.encoding} to bgr8 ({error}); '
                         'publish bgr8 or install another') from error
    return ColorImage(np.ascontiguousarray(pixels, np.uint8), 'bgr')


def _without_padding(message: Image, pixel_bytes: int) -> Image:
    """Return the message with step equal to the row's bytes: not every cv_bridge honours step."""
    row = message.width * pixel_bytes
    if message.step == row and len(message.data) == row * message.height:
        return message
    flat = np.frombuffer(message.data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(flat, (message.height, row), (message.step, 1))
    return Image(header=message.header, height=message.height, width=message.width,
                 encoding=message.encoding, is_bigendian=message.is_bigendian, step=row,
                 data=rows.tobytes())
