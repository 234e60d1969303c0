"""A textured corner of two walls, with a floor or without, seen by a camera with a known pose."""

from functools import lru_cache

import cv2
from depth_anything_ros.arrays import F32, F64, U8
import numpy as np

HW, FOCAL = (240, 320), 250.0
# 1/z = SCALE * d + SHIFT, where d is what the tiny network computes of the picture.
SCALE, SHIFT = 0.45, -0.2
_TEXTURE = 512
_METRES_PER_TILE = 4.0
# Planes n @ point = 1 in the frame of the world, which is the optical frame at the start.
_WALLS = np.array([[0.55, 0.05, 0.40], [-0.35, 0.10, 0.35]])


def _texture() -> F32:
    """Return smooth noise from -1 to 1 that repeats at its edges."""
    rng = np.random.default_rng(3)
    noise = rng.uniform(-1, 1, (_TEXTURE, _TEXTURE)).astype(np.float32)
    tiled = cv2.GaussianBlur(np.tile(noise, (3, 3)), (0, 0), 2.0)
    middle = tiled[_TEXTURE:2 * _TEXTURE, _TEXTURE:2 * _TEXTURE]
    return np.clip(middle / (2.5 * middle.std()), -1, 1)


TEXTURE = _texture()


def inverse_z(pose: F64, floor_m: float = 0.0) -> F64:
    """
    Return 1/z [1/m] of each pixel for a camera with ``pose`` [4, 4] in the world.

    The floor is ``floor_m`` below the origin of the world; 0 is none.
    """
    return _hit(pose, floor_m)[0]


def picture(pose: F64, floor_m: float = 0.0) -> U8:
    """Return what ``render`` makes; pictures of the same pose are rendered once."""
    return _rendered(pose.tobytes(), floor_m)


@lru_cache(64)
def _rendered(pose: bytes, floor_m: float) -> U8:
    return render(np.frombuffer(pose).reshape(4, 4), floor_m)


def render(pose: F64, floor_m: float = 0.0) -> U8:
    """
    Return what the camera sees, BGR.

    R + 2 G + 4 B, which the tiny network computes, is (1/z - SHIFT) / SCALE: the texture adds to R
    what it takes from B.
    """
    inverse, points = _hit(pose, floor_m)
    along = points @ np.array([[0.8, 0.1], [0.1, 0.9], [-0.6, 0.4]])
    columns, rows = (along / _METRES_PER_TILE * _TEXTURE % _TEXTURE).astype(np.float32).T
    shade = cv2.remap(TEXTURE, columns.reshape(HW), rows.reshape(HW), cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_WRAP)
    quarter = np.rint(30 * shade).astype(int)
    image = np.empty((*HW, 3), np.uint8)
    blue = 31
    image[..., 0] = blue - quarter
    image[..., 2] = 124 + 4 * quarter
    # Red and blue make (124 + 4 * 31) / 255; green makes the rest.
    rest = (inverse - SHIFT) / SCALE - (124 + 4 * blue) / 255
    image[..., 1] = np.clip(np.rint(rest / 2 * 255), 0, 255)
    assert rest.min() >= 0 and rest.max() <= 2, 'the depth of the scene can be shown'
    return image


def _hit(pose: F64, floor_m: float) -> tuple[F64, F64]:
    """Return 1/z [H, W] and the points [N, 3] in the world of the nearest plane of each pixel."""
    planes = np.vstack([_WALLS, (0.0, 1 / floor_m, 0.0)]) if floor_m else _WALLS
    rows, columns = np.mgrid[0:HW[0], 0:HW[1]]
    rays = np.stack([(columns - (HW[1] - 1) / 2) / FOCAL, (rows - (HW[0] - 1) / 2) / FOCAL,
                     np.ones(HW)], axis=-1).reshape(-1, 3) @ pose[:3, :3].T
    inverse = (rays @ planes.T / (1 - planes @ pose[:3, 3])).max(axis=1)
    return inverse.reshape(HW), pose[:3, 3] + rays / inverse[:, None]
