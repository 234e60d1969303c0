"""Points of a lidar in a bag as sparse depth of a camera."""

from contextlib import suppress
from pathlib import Path

from depth_anything_ros.alignment.references import seen_points
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import DatasetError
from depth_anything_ros.media.bag_reader import bag_messages, message_types
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import Intrinsics, quaternion_pose
import numpy as np

CLOUD = 'sensor_msgs/msg/PointCloud2'
_STATIC = '/tf_static'


def static_pose(path: Path, source: str, target: str) -> F64:
    """
    Return the pose [4, 4] that transforms points of the frame ``source`` to those of ``target``.

    DatasetError if /tf_static of the bag is damaged or does not connect the two.
    """
    parents: dict[str, tuple[str, F64]] = {}
    types = message_types()
    for connection, _, data in bag_messages(path, lambda one: one.topic == _STATIC):
        try:
            transforms = types.deserialize_cdr(data, connection.msgtype).transforms
        except Exception as error:  # noqa: B902 - a damaged message leads rosbags to any exception
            raise DatasetError(path, f'a message on {_STATIC} is damaged ({error})',
                               'record it again') from error
        for one in transforms:
            place, turn = one.transform.translation, one.transform.rotation
            # TF ignores a transform that is no rotation too.
            with suppress(ValueError):
                parents[one.child_frame_id] = (one.header.frame_id, quaternion_pose(
                    (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w)))
    chains = [_chain(frame, parents) for frame in (source, target)]
    common = next((frame for frame in chains[0] if frame in chains[1]), None)
    if common is None:
        raise DatasetError(path, f'{_STATIC} does not connect the frame {source} of the points '
                           f'with {target} of the images', f'record {_STATIC} too, with the '
                           'poses of both sensors on the robot')
    pose: F64 = np.linalg.inv(chains[1][common]) @ chains[0][common]
    return pose


def depth_of_points(points: F64, pose: F64, camera: Intrinsics, limits: DepthRange) -> F32:
    """
    Return the depth [m] f32 [H, W] of points [N, 3] that ``pose`` moves to the camera's frame.

    NaN where no point is; points behind nearer ones are left out.
    """
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    rows, columns, depth_m = seen_points(moved, camera, camera.size_hw, limits)
    far_to_near = np.argsort(-depth_m)
    found: F32 = np.full(camera.size_hw, np.nan, np.float32)
    found[rows[far_to_near], columns[far_to_near]] = depth_m[far_to_near]
    return found


def _chain(frame: str, parents: dict[str, tuple[str, F64]]) -> dict[str, F64]:
    """Return the poses of a frame in itself and in each of its ancestors, nearest first."""
    pose: F64 = np.eye(4)
    found = {frame: pose}
    while frame in parents:
        frame, step = parents[frame]
        if frame in found:
            break
        pose = step @ pose
        found[frame] = pose
    return found
