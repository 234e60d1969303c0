"""
The camera of an image by its sensor_msgs/CameraInfo: size, K or P, distortion, missing fields.

The messages are those of rclpy or of rosbags, whose fields have the same names.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.geometry import (
    bends_rays, check_distortion, Distortion, Intrinsics)


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
    that is not calibrated keeps its P, an unknown model its D.
    """
    model, k, d, r, p = info.distortion_model, info.k, info.d, info.r, info.p
    try:
        lens = Distortion(model, tuple(map(float, d)))
        model, d = lens.model, lens.coefficients
    except CameraInfoError:
        pass
    if not _has_projection(p) and k[0] > 0 and k[4] > 0:
        p = (k[0], 0.0, k[2], 0.0, 0.0, k[4], k[5], 0.0, 0.0, 0.0, 1.0, 0.0)
    if not any(r):
        r = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    return CameraInfoFields(model, d, r, p)


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
    binning_x, binning_y = binning(info)
    if raw or not _has_projection(info.p):
        fx, fy, cx, cy = info.k[0], info.k[4], info.k[2], info.k[5]
    else:
        fx, fy, cx, cy = info.p[0], info.p[5], info.p[2], info.p[6]
    distortion = (Distortion(info.distortion_model, tuple(info.d))
                  if raw and bends_rays(info.distortion_model, info.d) else None)
    camera = Intrinsics(fx / binning_x, fy / binning_y, (cx - info.roi.x_offset) / binning_x,
                        (cy - info.roi.y_offset) / binning_y, image_hw, distortion)
    check_distortion(camera)
    return camera


def binning(info: Any) -> tuple[int, int]:
    """Return the binning in x and y; 0 and 1 both stand for none."""
    return max(1, info.binning_x), max(1, info.binning_y)


def described_size(info: Any) -> tuple[int, int]:
    """Return (height, width) of the images, with region of interest and binning applied."""
    binning_x, binning_y = binning(info)
    return ((info.roi.height or info.height) // binning_y,
            (info.roi.width or info.width) // binning_x)


def _has_projection(p: Sequence[float]) -> bool:
    """Return whether P is filled in."""
    return bool(p[0] != 0)
