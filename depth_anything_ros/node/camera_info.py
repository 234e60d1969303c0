"""From camera_info to the camera of an image, and camera_info for the outputs."""

from copy import copy
from dataclasses import dataclass
import re

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.calibration import (
    binning, check_size, complete_fields, intrinsics)
from depth_anything_ros.vision.geometry import bends_rays, Intrinsics
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


def camera_info_on_grid(header: Header, info: CameraInfo, image_hw: tuple[int, int],
                        grid: OutputGrid) -> CameraInfo:
    """
    Return ``info`` for an output on ``grid``, with the image's header and complete fields.

    Consumers match the two by stamp. If the grid is not that of the image, K and P are scaled and
    include region of interest and binning; the distortion D does not depend on the size.
    """
    message = copy(info)
    message.header = header
    message.distortion_model, message.d, message.r, message.p = complete_fields(info)
    if grid == OutputGrid(image_hw):
        return message
    message.k, message.p = _on_grid(info.k, 3, info, grid), _on_grid(message.p, 4, info, grid)
    message.height, message.width = grid.size_hw
    message.binning_x = message.binning_y = 0
    message.roi = type(info.roi)()
    return message


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


def _on_grid(matrix: list[float], columns: int, info: CameraInfo, grid: OutputGrid) -> list[float]:
    """Return K or P in row-major order for the pixels of the grid."""
    values = [float(value) for value in matrix]
    corner, binned = (info.roi.x_offset, info.roi.y_offset), binning(info)
    for row, (scale, offset) in enumerate(zip(grid.scale_xy, grid.offset_xy)):
        first, centre = row * columns, row * columns + 2
        values[centre] = (values[centre] - corner[row]) / binned[row] * scale + offset
        for index in range(first, first + columns):
            if index != centre:
                values[index] *= scale / binned[row]
    return values
