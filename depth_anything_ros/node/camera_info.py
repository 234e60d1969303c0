"""From camera_info to the camera of an image, and camera_info for the outputs."""

from copy import copy
from dataclasses import dataclass
import re

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.geometry import (
    bends_rays, CameraInfoFields, check_distortion, complete_fields, Distortion, has_projection,
    Intrinsics)
from depth_anything_ros.vision.transforms import OutputGrid
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

# Words in the names of topics.
_RECTIFIED = {'rect', 'rectified', 'undistorted'}
_NOT_RECTIFIED = {'unrect', 'unrectified', 'un', 'non', 'not', 'distorted'}
_RAW = {'raw'}


@dataclass(frozen=True)
class CameraView:
    """
    The camera of one image.

    ``info`` is None unless it has the image's size. ``camera`` is None if it cannot be used, and
    ``problem`` is the reason.
    """

    info: CameraInfo | None
    camera: Intrinsics | None
    problem: str = ''


def camera_view(info: CameraInfo | None, image_hw: tuple[int, int], geometry: str,
                image_topic: str) -> CameraView:
    """Return the camera of an image by its camera_info and the parameter ``image_geometry``."""
    if info is None:
        return CameraView(None, None, 'no camera_info of the size of the image has arrived; '
                          'check the topic camera_info')
    try:
        check_size(info, image_hw)
    except CameraInfoError as error:
        return CameraView(None, None, str(error))
    try:
        return CameraView(info, intrinsics(info, image_hw, is_raw(info, geometry, image_topic)))
    except CameraInfoError as error:
        return CameraView(info, None, str(error))


def check_size(info: CameraInfo, image_hw: tuple[int, int]) -> None:
    """Raise CameraInfoError unless ``info`` describes images of ``image_hw``."""
    described_hw = _described_size(info)
    if described_hw != image_hw:
        raise CameraInfoError(
            f'camera_info describes {described_hw[1]}x{described_hw[0]} images, but the image is '
            f'{image_hw[1]}x{image_hw[0]}; calibrate for this size or remap camera_info')


def camera_info_on_grid(header: Header, info: CameraInfo, image_hw: tuple[int, int],
                        grid: OutputGrid) -> CameraInfo:
    """
    Return ``info`` for an output on ``grid``, with the image's header and complete fields.

    Consumers match the two by stamp. If the grid is not that of the image, K and P are scaled and
    include region of interest and binning; the distortion D does not depend on the size.
    """
    message = copy(info)
    message.header = header
    message.distortion_model, message.d, message.r, message.p = complete_fields(
        info.k, CameraInfoFields(info.distortion_model, info.d, info.r, info.p))
    if grid == OutputGrid(image_hw):
        return message
    message.k, message.p = _on_grid(info.k, 3, info, grid), _on_grid(message.p, 4, info, grid)
    message.height, message.width = grid.size_hw
    message.binning_x = message.binning_y = 0
    message.roi = type(info.roi)()
    return message


def intrinsics(info: CameraInfo, image_hw: tuple[int, int], raw: bool) -> Intrinsics:
    """
    Return the camera of the image, with region of interest and binning applied.

    For a rectified image it is P, as in depth_image_proc and RViz, or K if P is empty; for a
    ``raw`` image it is K with the distortion. CameraInfoError for another image size, a camera
    that is not calibrated, an unknown distortion model or one that cannot be inverted.
    """
    check_size(info, image_hw)
    binning_x, binning_y = _binning(info)
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


def is_raw(info: CameraInfo, geometry: str, image_topic: str) -> bool:
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


def _binning(info: CameraInfo) -> tuple[int, int]:
    return max(1, info.binning_x), max(1, info.binning_y)


def _described_size(info: CameraInfo) -> tuple[int, int]:
    binning_x, binning_y = _binning(info)
    return ((info.roi.height or info.height) // binning_y,
            (info.roi.width or info.width) // binning_x)


def _on_grid(matrix: list[float], columns: int, info: CameraInfo, grid: OutputGrid) -> list[float]:
    """Return K or P in row-major order for the pixels of the grid; zeros, not calibrated, stay."""
    values = [float(value) for value in matrix]
    if not any(values):
        return values
    corner, binning = (info.roi.x_offset, info.roi.y_offset), _binning(info)
    for row, (scale, offset) in enumerate(zip(grid.scale_xy, grid.offset_xy)):
        first, centre = row * columns, row * columns + 2
        values[centre] = (values[centre] - corner[row]) / binning[row] * scale + offset
        for index in range(first, first + columns):
            if index != centre:
                values[index] *= scale / binning[row]
    return values
