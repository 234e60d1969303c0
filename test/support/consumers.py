"""What consumers read from the outputs of the node, restated in a few lines each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

HW = (120, 160)
FOCAL = 100.0
SCALE = 0.25
DEPTH, POINTS = '/depth_anything/depth/image', '/depth_anything/points'
# As image_transport names it: the last element of the image's topic is replaced.
INFO = f'{DEPTH.rpartition("/")[0]}/camera_info'
Camera = tuple[float, float, float, float]


def scene(depth_m: np.ndarray, scale: float = SCALE) -> np.ndarray:
    """Return the BGR picture for which the tiny model outputs 1 / (scale * depth) [H, W]."""
    level = np.clip(np.round(255 / (scale * depth_m)), 0, 1785).astype(np.int64)
    blue = np.minimum(level // 4, 255)
    green = np.minimum((level - 4 * blue) // 2, 255)
    red = np.minimum(level - 4 * blue - 2 * green, 255)
    return np.stack([blue, green, red], axis=-1).astype(np.uint8)


def wall(distance_m: float = 2.0, slant: float = 0.0) -> np.ndarray:
    """Return the depth of a wall, ``slant`` of its distance nearer per unit of x/z."""
    x = (np.arange(HW[1]) - 79.5) / FOCAL
    return np.broadcast_to(distance_m / (1 + slant * x), HW)


@dataclass(frozen=True)
class Seen:
    """The image of one frame, its camera_info, and everything that was published for it."""

    image: Image
    camera: CameraInfo
    depth: Image
    info: CameraInfo
    cloud: PointCloud2
    color: Image


@pytest.fixture
def outputs_of(make_robot: Callable[..., Robot]) -> Callable[..., Seen]:
    """Return a function that shows a picture to the node and returns what it publishes."""
    robot = make_robot(relative_scale=SCALE, points_stride=1, points_min=0.0, points_max=0.0)
    robot.bring_up()
    topics = [robot.listen(kind, topic) for kind, topic in (
        (Image, DEPTH), (CameraInfo, INFO), (PointCloud2, POINTS),
        (Image, '/depth_anything/color/image'))]

    def looked(picture: np.ndarray, info: CameraInfo | None = None, **parameters: Any) -> Seen:
        assert all(result.successful for result in robot.set_parameters(**parameters))
        camera = info or camera_info(HW[1], HW[0], FOCAL)
        robot.show_camera(camera)
        for messages in topics:
            messages.clear()
        image = robot.show(picture)
        assert robot.until(lambda: all(topics))
        return Seen(image, camera, *(messages[0] for messages in topics))
    return looked


def metres(message: Image) -> np.ndarray:
    """Return depth [H, W] as depth_traits.hpp reads it: NaN or 0 mm is invalid."""
    kind = {'32FC1': np.float32, '16UC1': np.uint16}[message.encoding]
    assert message.step == message.width * np.dtype(kind).itemsize
    raw = np.frombuffer(message.data, kind).reshape(message.height, message.width)
    return np.where(raw == 0, np.nan, raw / 1000) if kind is np.uint16 else raw


def pinhole(info: CameraInfo) -> Camera:
    """Return fx, fy, cx, cy of P, as image_geometry's PinholeCameraModel cuts and bins it."""
    binning_x, binning_y = max(1, info.binning_x), max(1, info.binning_y)
    return (info.p[0] / binning_x, info.p[5] / binning_y,
            (info.p[2] - info.roi.x_offset) / binning_x,
            (info.p[6] - info.roi.y_offset) / binning_y)


def back_projected(depth_m: np.ndarray, camera: Camera) -> np.ndarray:
    """Return points [H, W, 3] of a depth map."""
    fx, fy, cx, cy = camera
    rows, columns = np.mgrid[0:depth_m.shape[0], 0:depth_m.shape[1]]
    return np.stack([(columns - cx) / fx * depth_m, (rows - cy) / fy * depth_m, depth_m], axis=-1)


def fields(cloud: PointCloud2, *names: str) -> list[np.ndarray]:
    """Return fields as sensor_msgs::PointCloud2Iterator finds them: FLOAT32 at their offset."""
    found = {field.name: field for field in cloud.fields}
    assert all(found[name].datatype == PointField.FLOAT32 for name in names)
    assert len(cloud.data) == cloud.height * cloud.width * cloud.point_step
    points = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)
    return [np.ascontiguousarray(points[:, found[name].offset:found[name].offset + 4])
            .view(np.float32)[:, 0] for name in names]


def own_points(seen: Seen) -> np.ndarray:
    """Return the node's points [H, W, 3]."""
    return np.stack(fields(seen.cloud, 'x', 'y', 'z'), axis=-1).reshape(
        seen.cloud.height, seen.cloud.width, 3)


def laser_scan(seen: Seen) -> tuple[np.ndarray, np.ndarray, float]:
    """
    Return angles and ranges of the scan, and the step between angles.

    depthimage_to_laserscan 2.5: DepthImageToLaserScan.cpp with its defaults, one row at the
    camera's centre, 0.45 to 10 m, the camera by P.
    """
    fx, _, cx, cy = pinhole(seen.info)
    depth_m = metres(seen.depth)
    width = depth_m.shape[1]
    first, last = -np.arctan((width - 1 - cx) / fx), np.arctan(cx / fx)
    step = (last - first) / (width - 1)
    ranges = np.full(width, np.nan)
    row = depth_m[int(cy - 0.5)]
    for column, z in enumerate(row):
        x = (column - cx) / fx * z
        index = int((-np.arctan((column - cx) / fx) - first) / step)
        distance = np.hypot(x, z)
        if 0.45 <= distance <= 10.0 and not distance >= ranges[index]:
            ranges[index] = distance
    return first + step * np.arange(width), ranges, step
