"""What the page shows of a message: pictures, points and the opening angle of the camera."""

from dataclasses import dataclass
import math
from typing import Any

import cv2
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.parameters import Settings
from depth_anything_ros.ros.messages import decode_compressed, decode_image, SerializedMessage
from depth_anything_ros.vision.camera_info import region_hw
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.encoded_image import PixelLimit
from depth_anything_ros.vision.point_cloud import points_and_colors
from sensor_msgs.msg import CompressedImage

WIDEST_PX = 480
_LIMIT = PixelLimit(Settings.max_image_megapixels, 'the page shows no larger ones')


@dataclass(frozen=True)
class Cloud:
    """Points [N, 3] in metres in the optical frame, and their colours, RGB u8 [N, 3]."""

    points: F32
    colors: U8


@dataclass(frozen=True)
class View:
    """The opening of a camera: vertical angle in radians, and width ÷ height."""

    vertical_fov: float
    aspect: float


def picture(message: SerializedMessage) -> U8:
    """Return an image as RGB u8 [H, W, 3], at most 480 pixels wide; ImageError if that fails."""
    image = to_bgr(decode_compressed(message, _LIMIT) if message.message_type is CompressedImage
                   else decode_image(message))
    height, width = image.shape[:2]
    if width > WIDEST_PX:
        # The mean of all pixels takes five times as long; below two per pixel none is left out.
        image = cv2.resize(  # type: ignore[assignment]
            image, (WIDEST_PX, max(1, round(height * WIDEST_PX / width))),
            interpolation=cv2.INTER_AREA if width > 2 * WIDEST_PX else cv2.INTER_LINEAR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def cloud(message: SerializedMessage, most: int) -> Cloud:
    """Return at most ``most`` finite points of a PointCloud2; PointCloudError if that fails."""
    return Cloud(*points_and_colors(message.message, most))


def view(info: Any) -> View | None:
    """Return the opening of a camera_info by its P, None if it is not calibrated."""
    fx, fy = info.p[0], info.p[5]
    height, width = region_hw(info)
    if not (fx > 0 and fy > 0 and width and height):
        return None
    return View(2 * math.atan(height / 2 / fy), (width / fx) / (height / fy))
