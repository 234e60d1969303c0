"""The camera of an image by the latest camera_info, and camera_info for the outputs."""

from copy import copy
from dataclasses import dataclass

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.stamps import with_stamp
from depth_anything_ros.vision.camera_info import (
    binning_xy, check_size, complete_fields, intrinsics, is_raw)
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import OutputGrid
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


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


class SerializedInfos:
    """The camera_info of the outputs of one camera, made anew only when something changes."""

    def __init__(self) -> None:
        self._info: CameraInfo | None = None
        self._made_for: tuple[object, ...] = ()
        self._data = b''

    def get(self, header: Header, info: CameraInfo, image_hw: tuple[int, int],
            grid: OutputGrid) -> bytes:
        """
        Return the message of ``camera_info_on_grid``, serialized.

        An ``info`` that changes must be another object: in some releases of ROS 2, two that differ
        compare equal.
        """
        made_for = (header.frame_id, image_hw, grid)
        if info is not self._info or made_for != self._made_for:
            self._data = serialize_message(camera_info_on_grid(header, info, image_hw, grid))
            self._info, self._made_for = info, made_for
        return with_stamp(self._data, header.stamp.sec, header.stamp.nanosec)


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


def _on_grid(matrix: list[float], columns: int, info: CameraInfo, grid: OutputGrid) -> list[float]:
    """Return K or P in row-major order for the pixels of the grid; zeros, not calibrated, stay."""
    values = [float(value) for value in matrix]
    if not any(values):
        return values
    corner, binning = (info.roi.x_offset, info.roi.y_offset), binning_xy(info)
    for row, (scale, offset) in enumerate(zip(grid.scale_xy, grid.offset_xy)):
        first, centre = row * columns, row * columns + 2
        values[centre] = (values[centre] - corner[row]) / binning[row] * scale + offset
        for index in range(first, first + columns):
            if index != centre:
                values[index] *= scale / binning[row]
    return values
