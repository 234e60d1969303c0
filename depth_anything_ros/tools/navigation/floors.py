"""Views of a floor with walls and boxes on it, as a model would see them: for measuring fits."""

from dataclasses import dataclass

import cv2
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

FLOOR_CAMERA = Intrinsics(270.0, 270.0, 167.5, 125.5, (252, 336))
_FARTHEST_M, _WALL_HEIGHT_M = 20.0, 3.0


@dataclass(frozen=True)
class Room:
    """
    Where the camera is and what stands around; a wall closes the room at ``wall_m`` (0: none).

    ``height_m`` above the floor, ``pitch_rad`` below the horizon, ``roll_rad`` clockwise. The
    model's d is (1/z - ``shift``) / ``scale``, and ``noise`` the share of 1/z that it errs by.
    """

    height_m: float
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    scale: float = 0.25
    shift: float = 0.0
    noise: float = 0.0
    boxes: int = 4
    wall_m: float = 6.0


@dataclass(frozen=True)
class FloorView:
    """The model's d, the true 1/z [1/m] and whether it is floor, each [H, W]."""

    inverse_depth: F32
    inverse_z: F64
    floor: npt.NDArray[np.bool_]


def floor_view(room: Room, seed: int) -> FloorView:
    """Return what FLOOR_CAMERA sees; boxes, noise and smooth errors come from ``seed``."""
    rng = np.random.default_rng(seed)
    ahead, down, right = _level_rays(room)
    inverse_z = np.maximum(down / room.height_m, 0.0)
    floor = inverse_z > 0
    uprights = [(room.wall_m, -np.inf, np.inf, _WALL_HEIGHT_M)] if room.wall_m else []
    for _ in range(room.boxes):
        distance_m, width_m, top_m = rng.uniform((1.0, 0.2, 0.2), (5.0, 0.8, 1.0))
        left_m = rng.uniform(-0.7, 0.6) * distance_m
        uprights.append((distance_m, left_m, left_m + width_m, top_m))
    for distance_m, left_m, right_m, top_m in uprights:
        nearer = ahead / distance_m
        z = 1 / np.maximum(nearer, 1e-9)
        hit = ((nearer > inverse_z) & (right * z > left_m) & (right * z < right_m)
               & (down * z > room.height_m - top_m))
        inverse_z = np.where(hit, nearer, inverse_z)
        floor = floor & ~hit
    inverse_z = np.maximum(inverse_z, 1 / _FARTHEST_M)
    width, height = FLOOR_CAMERA.size_hw[::-1]
    smooth = cv2.resize(rng.normal(0, 1, (6, 8)), (width, height), interpolation=cv2.INTER_CUBIC)
    errors = 1 + room.noise * (0.7 * smooth + rng.normal(0, 1, inverse_z.shape))
    d = (inverse_z * errors - room.shift) / room.scale
    return FloorView(d.astype(np.float32), inverse_z, floor)


def _level_rays(room: Room) -> tuple[F64, F64, F64]:
    """Return the rays (x, y, 1) in a frame that is level: ahead, down and right, each [H, W]."""
    rows, columns = np.indices(FLOOR_CAMERA.size_hw, np.float64)
    x = (columns - FLOOR_CAMERA.cx) / FLOOR_CAMERA.fx
    y = (rows - FLOOR_CAMERA.cy) / FLOOR_CAMERA.fy
    cos, sin = np.cos(room.roll_rad), np.sin(room.roll_rad)
    x, y = cos * x - sin * y, sin * x + cos * y
    cos, sin = np.cos(room.pitch_rad), np.sin(room.pitch_rad)
    return cos - sin * y, cos * y + sin, x
