"""
From the fields of a sensor_msgs/CameraInfo to the camera of its images, and complete fields.

The messages of rclpy and those of rosbags have the same fields.
"""

from collections.abc import Sequence
import re
from typing import Any, NamedTuple

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.geometry import (
    bends_rays, check_distortion, Distortion, Intrinsics)

# Words in the names of topics.
_RECTIFIED = {'rect', 'rectified', 'undistorted'}
_NOT_RECTIFIED = {'unrect', 'unrectified', 'un', 'non', 'not', 'distorted'}
_RAW = {'raw'}


class CameraInfoFields(NamedTuple):
    """Fields of a sensor_msgs/CameraInfo, row by row."""

    distortion_model: str
    d: Sequence[float]
    r: Sequence[float]
    p: Sequence[float]


def complete_fields(info: Any) -> CameraInfoFields:
    """
    Return the fields with the values that drivers leave out and other nodes cannot do without.

    P of zeros becomes that of K, which this package uses then; R of zeros becomes the identity. An
    empty model becomes plumb_bob, and D gets a number of coefficients that OpenCV takes. A camera
    that is not calibrated keeps its fields of zeros, an unknown model its D.
    """
    model, k, d, r, p = info.distortion_model, info.k, info.d, info.r, info.p
    if not any(k) and not any(p):
        return CameraInfoFields(model, d, r, p)
    try:
        lens = Distortion(model, tuple(map(float, d)))
        model, d = lens.model, lens.coefficients
    except CameraInfoError:
        pass
    if not has_projection(p) and k[0] > 0 and k[4] > 0:
        p = (k[0], 0.0, k[2], 0.0, 0.0, k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0)
    if not any(r):
        r = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return CameraInfoFields(model, d, r, p)


def has_projection(p: Sequence[float]) -> bool:
    """Return whether P is filled in."""
    return bool(p[0] != 0)


def check_size(info: Any, image_hw: tuple[int, int]) -> None:
    """Raise CameraInfoError unless ``info`` describes images of ``image_hw``."""
    described_hw = described_size(info)
    if described_hw != image_hw:
        raise CameraInfoError(
            f'camera_info describes {described_hw[1]}x{described_hw[0]} images, but the image is '
            f'{image_hw[1]}x{image_hw[0]}; calibrate for this size or remap camera_info')


def intrinsics(info: Any, image_hw: tuple[int, int], raw: bool) -> Intrinsics:
    """
    Return the camera of the image, with region of interest and binning applied.

    For a rectified image it is P, as in depth_image_proc and RViz, or K if P is empty; for a
    ``raw`` image it is K with the distortion. CameraInfoError for another image size, a camera
    that is not calibrated, an unknown distortion model or one that cannot be inverted.
    """
    check_size(info, image_hw)
    binning_x, binning_y = binning_xy(info)
    if raw or not has_projection(info.p):
        fx, fy, cx, cy = info.k[0], info.k[4], info.k[2], info.k[5]
    else:
        fx, fy, cx, cy = info.p[0], info.p[5], info.p[2], info.p[6]
    distortion = (Distortion(info.distortion_model, tuple(info.d))
                  if raw and bends_rays(info.distortion_model, info.d) else None)
    camera = Intrinsics(fx / binning_x, fy / binning_y, (cx - info.roi.x_offset) / binning_x,
                        (cy - info.roi.y_offset) / binning_y, image_hw, distortion)
    check_distortion(camera)
    return camera


def is_raw(info: Any, geometry: str, image_topic: str) -> bool:
    """
    Return whether the image is distorted, by the parameter ``image_geometry``.

    auto looks at the distortion and at the name of the topic, because image_proc publishes
    image_rect and image_rect_color with a camera_info in which D is still set.
    """
    if geometry != 'auto':
        return geometry == 'raw'
    return bends_rays(info.distortion_model, info.d) and not _is_named_rectified(image_topic)


def _is_named_rectified(image_topic: str) -> bool:
    """
    Return what the last part of a topic says that has a word for rectified or raw images.

    /camera/image_rect/compressed and /camera/color/rect/image are rectified, as is realsense's
    /camera/infra1/image_rect_raw; image_corrected and image_unrectified are not.
    """
    for part in reversed(image_topic.split('/')):
        words = {word.lower() for word in re.findall('[A-Z]?[a-z]+|[A-Z]+', part)}
        if words & _RECTIFIED and not words & _NOT_RECTIFIED:
            return True
        if words & (_RAW | _NOT_RECTIFIED):
            return False
    return False


def binning_xy(info: Any) -> tuple[int, int]:
    """Return how many pixels of the sensor are one of the image, along x and y."""
    return max(1, info.binning_x), max(1, info.binning_y)


def region_hw(info: Any) -> tuple[int, int]:
    """Return (height, width) of the region of interest, in pixels of the sensor."""
    return info.roi.height or info.height, info.roi.width or info.width


def described_size(info: Any) -> tuple[int, int]:
    """Return (height, width) of the images that ``info`` describes."""
    (height, width), (binning_x, binning_y) = region_hw(info), binning_xy(info)
    return height // binning_y, width // binning_x
