"""Folders of consecutive images with measured depth and the poses of the camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_anything_ros.arrays import F64
from depth_anything_ros.errors import DatasetError
from depth_anything_ros.foreign_files import read_text, shown
from depth_anything_ros.media.rgbd_folder import (
    config_of, focal_centre_of, open_folder, read_description, RgbdConfig, RgbdPair)
from depth_anything_ros.vision.geometry import Intrinsics, quaternion_pose
import numpy as np

_OWN = ('poses',)
# Cameras and motion capture of TUM RGB-D have clocks of their own.
_NEAREST_S = 0.02
_FORMAT = ('a line is: name tx ty tz qx qy qz qw, the pose of the camera as in TUM RGB-D; the '
           'name is the text for the * of the image, or its time')


@dataclass(frozen=True)
class SequenceConfig:
    """
    The description of a sequence.

    ``images`` is the description of its images and depth maps, ``focal_centre`` are fx, fy, cx, cy
    in pixels of the images, ``poses`` is the path of a file below the folder.
    """

    images: RgbdConfig
    focal_centre: tuple[float, float, float, float]
    poses: str

    def camera(self, size_hw: tuple[int, int]) -> Intrinsics:
        """Return the camera of images of this size."""
        return Intrinsics(*self.focal_centre, size_hw)


@dataclass(frozen=True, eq=False)
class SequenceFrame:
    """One frame; ``pose`` [4, 4] transforms points of the camera to the world."""

    pair: RgbdPair
    pose: F64


@dataclass(frozen=True)
class CameraSequence:
    """The frames in the order of their names; ``unmatched`` lack an image, depth or a pose."""

    config: SequenceConfig
    frames: tuple[SequenceFrame, ...]
    unmatched: tuple[str, ...] = ()


def read_sequence_config(path: Path) -> SequenceConfig:
    """Return the YAML description of a sequence; DatasetError names the key that is wrong."""
    return read_description(path, _sequence_config)


def open_sequence(folder: Path, config: SequenceConfig, every: int = 1,
                  most: int = 0) -> CameraSequence:
    """
    Return every ``every``-th frame, at most ``most`` (0: all).

    DatasetError if fewer than two have an image, depth and a pose.
    """
    dataset = open_folder(folder, config.images)
    path = folder / config.poses
    poses = _read_poses(path)
    # Numbers without leading zeros are in the order of their values.
    pairs = sorted(dataset.pairs, key=lambda pair: (_number(pair.key) or 0.0, pair.key))
    numbers = {name: value for name in poses if (value := _number(name)) is not None}
    names, times = list(numbers), np.array(list(numbers.values()), np.float64)
    found = [(pair, _pose_of(pair.key, poses, names, times)) for pair in pairs]
    frames = [SequenceFrame(pair, pose) for pair, pose in found if pose is not None]
    frames = frames[::every][:most or None]
    if len(frames) < 2:
        raise DatasetError(
            folder, f'{len(frames)} frames have an image, depth and a pose in {path.name}, which '
            f'has {len(poses)} poses, and a sequence needs two', _FORMAT)
    missing = tuple(pair.name for pair, pose in found if pose is None)
    return CameraSequence(config, tuple(frames), dataset.unmatched + missing)


def _sequence_config(entries: Mapping[Any, Any]) -> SequenceConfig:
    images = config_of(entries, _OWN)
    focal_centre = focal_centre_of(entries)
    poses = entries.get('poses', 'poses.txt')
    if not isinstance(poses, str) or Path(poses).is_absolute() or '..' in Path(poses).parts:
        raise ValueError(f'poses is {shown(poses)}; it must be a file below the folder')
    return SequenceConfig(images, focal_centre, poses)


def _read_poses(path: Path) -> dict[str, F64]:
    """Return the poses by their names; DatasetError names the line that is wrong."""
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DatasetError(path, f'it cannot be read ({reason})', _FORMAT) from error
    poses: dict[str, F64] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        values = [value for word in words[1:] if (value := _number(word)) is not None]
        try:
            if len(words) != 8 or len(values) != 7:
                raise ValueError('it has other columns')
            poses[words[0]] = quaternion_pose(values[:3], values[3:])
        except ValueError as error:
            raise DatasetError(path, f'line {number} is {line.strip()!r} ({error})',
                               _FORMAT) from error
    return poses


def _pose_of(key: str, poses: Mapping[str, F64], names: Sequence[str], times: F64) -> F64 | None:
    """
    Return the pose of the same name, the same number or, for times, of the nearest time.

    ``names`` are those poses whose name is a number, ``times`` these numbers.
    """
    if key in poses:
        return poses[key]
    number = _number(key)
    if number is None or not names:
        return None
    steps = np.abs(times - number)
    nearest = int(steps.argmin())
    allowed = _NEAREST_S if '.' in key else 0.0
    return poses[names[nearest]] if steps[nearest] <= allowed else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
