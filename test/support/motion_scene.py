"""A made scene for tests of motion: textured plates, seen by a camera with or without a lens."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
from depth_anything_ros.arrays import F64, U8
from depth_anything_ros.vision.geometry import Distortion, Intrinsics, pixel_rays
import numpy as np

CAMERA = Intrinsics(280.0, 275.0, 158.0, 121.0, (240, 320))
LENS = Intrinsics(280.0, 275.0, 158.0, 121.0, (240, 320),
                  Distortion('plumb_bob', (-0.28, 0.08, 0.001, -0.002, 0.0)))


@dataclass(frozen=True)
class Plate:
    """A plate at ``z_m`` from ``left_m`` to ``right_m``, parallel to the first image."""

    z_m: float
    left_m: float = -np.inf
    right_m: float = np.inf


ROOM = (Plate(4.0), Plate(1.5, -1.0, -0.3), Plate(2.5, 0.4, 1.3))


def pose(x_m: float = 0.0, y_m: float = 0.0, z_m: float = 0.0, yaw_deg: float = 0.0,
         pitch_deg: float = 0.0) -> F64:
    """Return ``odom_from_camera``; odom is the optical frame of the first image."""
    found = np.eye(4)
    found[:3, :3] = cv2.Rodrigues(np.radians([pitch_deg, yaw_deg, 0.0]))[0]
    found[:3, 3] = x_m, y_m, z_m
    return found


def view(odom_from_camera: F64, camera: Intrinsics = CAMERA,
         plates: tuple[Plate, ...] = ROOM) -> tuple[U8, F64]:
    """Return the grey image and 1/z [1/m] of each pixel."""
    rays = pixel_rays(camera, 1)
    x, y = np.broadcast_arrays(rays.x_over_z, rays.y_over_z)
    directions = np.stack([x, y, np.ones_like(x)], axis=-1) @ odom_from_camera[:3, :3].T
    place = odom_from_camera[:3, 3]
    image = np.zeros(camera.size_hw, np.uint8)
    inverse_z = np.zeros(camera.size_hw)
    for number, plate in enumerate(plates):
        near = directions[..., 2] / (plate.z_m - place[2])
        points = place + directions / np.maximum(near, 1e-9)[..., None]
        hit = (near > inverse_z) & (points[..., 0] > plate.left_m) & (
            points[..., 0] < plate.right_m)
        # A texel is about a pixel at the distance of the plate.
        texels = (points[..., :2] / plate.z_m * 270 + 1000).astype(np.float32)
        seen = cv2.remap(_texture(number), texels[..., 0], texels[..., 1], cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_WRAP)
        image[hit], inverse_z[hit] = seen[hit], near[hit]
    return image, inverse_z


def inverse_z_at(inverse_z: F64, pixels: F64) -> F64:
    """Return the 1/z of a map at the nearest pixels [N, 2]."""
    columns, rows = np.rint(pixels).astype(int).T
    return inverse_z[rows, columns]


@lru_cache
def _texture(seed: int) -> U8:
    noise = np.random.default_rng(seed).normal(0, 1, (2000, 2000)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(127 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)
