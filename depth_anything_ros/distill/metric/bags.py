"""Colour images with registered depth, or points of a lidar, and camera_info from ROS 2 bags."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.distill.metric.lidar import CLOUD, depth_of_points, static_pose
from depth_anything_ros.errors import CameraInfoError, DatasetError, ImageError
from depth_anything_ros.media.bag_reader import (
    bag_connections, bag_messages, CAMERA_INFO, COMPRESSED, decode_message, info_topic_of,
    message_types, RAW)
from depth_anything_ros.stamps import serialized_stamp_ns, STAMP_END
from depth_anything_ros.vision.camera_info import described_size, intrinsics, is_raw
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.point_cloud import points_xyz
from depth_anything_ros.vision.raw_image import DEPTH_TYPES, read_depth_message
import numpy as np

# A message with depth or points to a map f32 [H, W] in metres.
ReadDepth = Callable[[Any], F32]

# Depth and image of one exposure have nearly the same stamp.
_NEAREST_NS = 20_000_000
_REGISTER = ('record the depth that the driver registers to the colour image, such as '
             'aligned_depth_to_color of realsense2_camera')


@dataclass(frozen=True)
class BagTopics:
    """The topics of images, depth and camera_info in bags; None for the only one."""

    image: str | None = None
    depth: str | None = None
    camera_info: str | None = None


def open_bag_frames(path: Path, topics: BagTopics, every: int,
                    limits: DepthRange) -> tuple[int, Iterator[Any]]:
    """
    Return the number of frames and the frames of a bag, every ``every``-th image that has depth.

    Without depth images the points of a lidar are projected into the images, with the poses of
    /tf_static. DatasetError names what the bag lacks: images, depth, camera_info, or depth that is
    registered.
    """
    image, depth, info = _topics(path, topics)
    camera, read_depth = _camera(path, info, image, depth, limits)
    stamps: dict[str, list[int]] = {image: [], depth: []}
    for connection, stamp_ns, _ in _stamped(path, (image, depth)):
        stamps[connection.topic].append(stamp_ns)
    matches = _matches(np.array(stamps[image], np.int64), np.array(stamps[depth], np.int64))
    pairs = dict(list(matches.items())[::every])
    if not pairs:
        raise DatasetError(path, f'no depth on {depth} has the stamp of an image on {image}, '
                           f'within {_NEAREST_NS // 1_000_000} ms', 'record both from one driver, '
                           'and synchronise their clocks')
    return len(pairs), _frames(path, image, depth, pairs, camera, read_depth)


def _frames(path: Path, image: str, depth: str, pairs: dict[int, int],
            camera: Intrinsics, read_depth: ReadDepth) -> Iterator[Any]:
    types = message_types()
    images: dict[int, tuple[str, bytes]] = {}
    depths: dict[int, tuple[str, bytes]] = {}
    waiting = set(pairs)
    image_of = {depth_ns: image_ns for image_ns, depth_ns in pairs.items()}
    for connection, stamp_ns, data in _stamped(path, (image, depth)):
        is_image = connection.topic == image
        image_ns = stamp_ns if is_image else image_of.get(stamp_ns)
        if image_ns is None or image_ns not in waiting:
            continue
        (images if is_image else depths)[image_ns] = (connection.msgtype, data)
        if image_ns in images and image_ns in depths:
            # Some bags have a message twice.
            waiting.remove(image_ns)
            yield (f'{path}: {image} at {image_ns / 1e9:.3f} s',
                   _reader(types, images.pop(image_ns), depths.pop(image_ns), camera, read_depth))


def _reader(types: Any, image: tuple[str, bytes], depth: tuple[str, bytes], camera: Intrinsics,
            read_depth: ReadDepth) -> Callable[[], tuple[U8, F32, tuple[float, float]]]:
    def read() -> tuple[U8, F32, tuple[float, float]]:
        msgtype, data = image
        try:
            message = types.deserialize_cdr(data, msgtype)
            measured = types.deserialize_cdr(depth[1], depth[0])
        except Exception as error:  # noqa: B902 - a damaged message leads rosbags to any exception
            raise ImageError(f'the message is damaged ({error})') from error
        image_bgr = to_bgr(decode_message(message, msgtype))
        depth_m = read_depth(measured)
        if depth_m.shape != image_bgr.shape[:2]:
            raise ImageError(f'its depth is {depth_m.shape[1]}x{depth_m.shape[0]} and the image '
                             f'{image_bgr.shape[1]}x{image_bgr.shape[0]}; {_REGISTER}')
        return image_bgr, depth_m, (camera.fx, camera.fy)

    return read


def _topics(path: Path, wanted: BagTopics) -> tuple[str, str, str]:
    """Return the topics of images, depth and camera_info; DatasetError names what is missing."""
    encodings: dict[str, str] = {}
    infos: list[str] = []
    clouds: list[str] = []
    for connection in bag_connections(path):
        if connection.msgcount and connection.msgtype in (CAMERA_INFO, CLOUD):
            (infos if connection.msgtype == CAMERA_INFO else clouds).append(connection.topic)
        elif connection.msgcount and connection.msgtype in (RAW, COMPRESSED):
            encodings[connection.topic] = _first(path, connection).encoding if (
                connection.msgtype == RAW) else ''
    depths = sorted(topic for topic, encoding in encodings.items() if encoding in DEPTH_TYPES)
    what = 'depth image (32FC1 or 16UC1)'
    if wanted.depth in clouds or (clouds and not depths):
        depths, what = sorted(clouds), 'points of a lidar'
    images = sorted(topic for topic in encodings
                    if topic not in depths and not topic.endswith('/compressedDepth'))
    image = _choose(path, 'image', '--topic', images, wanted.image)
    depth = _choose(path, what, '--depth-topic', depths, wanted.depth)
    sibling = info_topic_of(image)
    info = wanted.camera_info or (sibling if sibling in infos else None)
    return image, depth, _choose(path, 'camera_info', '--info-topic', sorted(infos), info)


def _choose(path: Path, what: str, option: str, topics: list[str], wanted: str | None) -> str:
    if wanted is not None and wanted not in topics:
        raise DatasetError(path, f'it has no {what} on {wanted}',
                           f'name one of {", ".join(topics)}' if topics else 'record it too')
    if not topics:
        raise DatasetError(path, f'it holds no {what}', 'record one: colour image, registered '
                           'depth and camera_info of the colour camera')
    if wanted is None and len(topics) > 1:
        raise DatasetError(path, f'it has {what} on {", ".join(topics)}',
                           f'choose one with {option}')
    return wanted or topics[0]


def _camera(path: Path, info: str, image: str, depth: str,
            limits: DepthRange) -> tuple[Intrinsics, ReadDepth]:
    """
    Return the camera of the images, and what makes a map [m] of a message with depth or points.

    It is that of the node for images of this topic. DatasetError if the camera is not calibrated,
    has another size, or if the depth is not in its frame.
    """
    first = {one.topic: _first(path, one) for one in bag_connections(path)
             if one.topic in (info, image, depth) and one.msgcount}
    camera, picture, reference = first[info], first[image], first[depth]
    frame_id, is_cloud = picture.header.frame_id, hasattr(reference, 'point_step')
    if reference.header.frame_id != frame_id and not is_cloud:
        raise DatasetError(
            path, f'the depth on {depth} is in the frame {reference.header.frame_id}, the image '
            f'on {image} in {frame_id}, so it is not registered', _REGISTER)
    size_hw = described_size(camera)
    if hasattr(picture, 'height') and size_hw != (picture.height, picture.width):
        raise DatasetError(
            path, f'camera_info on {info} describes {size_hw[1]}x{size_hw[0]} images, those on '
            f'{image} are {picture.width}x{picture.height}', 'choose another with --info-topic')
    try:
        found = intrinsics(camera, size_hw, is_raw(camera, 'auto', image))
    except CameraInfoError as error:
        fact, _, fix = str(error).rpartition('; ')
        raise DatasetError(path, f'camera_info on {info}: {fact}', fix) from error
    if not is_cloud:
        return found, read_depth_message
    pose = static_pose(path, reference.header.frame_id, frame_id)
    return found, lambda message: depth_of_points(points_xyz(message), pose, found, limits)


def _first(path: Path, connection: Any) -> Any:
    """Return the first message of a topic; DatasetError if it is missing or damaged."""
    first = next(bag_messages(path, lambda one: one.topic == connection.topic), None)
    if first is None:
        raise DatasetError(path, f'it has no message on {connection.topic}, although its '
                           'metadata.yaml counts some', 'make that file again with '
                           f'`ros2 bag reindex {path}`')
    try:
        return message_types().deserialize_cdr(first[2], connection.msgtype)
    except Exception as error:  # noqa: B902 - a damaged message leads rosbags to any exception
        raise DatasetError(path, f'its first message on {connection.topic} is damaged ({error})',
                           'record it again') from error


def _stamped(path: Path, topics: tuple[str, str]) -> Iterator[tuple[Any, int, bytes]]:
    """Yield connection, stamp [ns] and bytes of messages, but not of those without a stamp."""
    for connection, _, data in bag_messages(path, lambda one: one.topic in topics):
        if len(data) >= STAMP_END:
            yield connection, serialized_stamp_ns(data), data


def _matches(images: Any, depths: Any) -> dict[int, int]:
    """Return the stamp of depth for that of the nearest image, if it is near; in order of time."""
    ordered = np.sort(images)
    found: dict[int, int] = {}
    for stamp in np.sort(depths).tolist() if ordered.size else ():
        place = int(np.searchsorted(ordered, stamp))
        near = ordered[max(0, place - 1):place + 1]
        best = int(near[np.abs(near - stamp).argmin()])
        gap = abs(best - stamp)
        if gap <= _NEAREST_NS and (best not in found or gap < abs(best - found[best])):
            found[best] = stamp
    return found
