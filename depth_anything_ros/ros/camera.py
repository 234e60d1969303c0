"""What a camera_info says about the image it belongs to."""

from copy import copy

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.geometry import Intrinsics
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


def check_size(info: CameraInfo, image_hw: tuple[int, int]) -> None:
    """Raise CameraInfoError unless ``info`` describes images of ``image_hw``."""
    described_hw = _described_size(info)
    if described_hw != image_hw:
        raise CameraInfoError(
            f'camera_info describes {described_hw[1]}x{described_hw[0]} images, but the image is '
            f'{image_hw[1]}x{image_hw[0]}; calibrate for this size or remap camera_info')


def info_message(header: Header, info: CameraInfo) -> CameraInfo:
    """Return ``info`` with the image's header, as consumers pair the two by stamp."""
    message = copy(info)
    message.header = header
    return message


def intrinsics(info: CameraInfo, image_hw: tuple[int, int]) -> Intrinsics:
    """
    Return the pinhole camera of the image, with region of interest and binning applied.

    P is used where it is filled in, as depth_image_proc and RViz do, K otherwise.
    CameraInfoError for another size or a camera that is not calibrated.
    """
    check_size(info, image_hw)
    fx, fy, cx, cy = info.p[0], info.p[5], info.p[2], info.p[6]
    if fx == 0:
        fx, fy, cx, cy = info.k[0], info.k[4], info.k[2], info.k[5]
    binning_x, binning_y = max(1, info.binning_x), max(1, info.binning_y)
    return Intrinsics(fx / binning_x, fy / binning_y, (cx - info.roi.x_offset) / binning_x,
                      (cy - info.roi.y_offset) / binning_y, image_hw)


def _described_size(info: CameraInfo) -> tuple[int, int]:
    return ((info.roi.height or info.height) // max(1, info.binning_y),
            (info.roi.width or info.width) // max(1, info.binning_x))
