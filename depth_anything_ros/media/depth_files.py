"""Depth maps and point clouds as files: 16-bit PNG, npy, PFM, PLY, and snapshots of a frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import io
import json
from pathlib import Path
from typing import Literal

import cv2
from depth_anything_ros.arrays import AnyArray, F16, F32, U16, U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.cloud import organized_cloud, unpack_colors
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.depth import (
    display_scale_shift, limit_range, metric_from_inverse, to_millimetres)
from depth_anything_ros.vision.geometry import Intrinsics, pinhole_camera, pixel_rays
import numpy as np

DepthFormat = Literal['png16', 'npy', 'pfm', 'ply']
# Distances at which the cloud of a relative model is displayed, and its limit [m].
_NEAR_M, _FAR_M, _LIMIT_M = 1.0, 10.0, 20.0


def write_depth(path: Path, file_format: DepthFormat, depth: F32, kind: Kind, image: ColorImage,
                fov_deg: float) -> None:
    """
    Write a map [H, W] of the size of ``image``; OSError if the file cannot be written.

    npy and pfm hold the float32 output of the network: inverse depth or metres. png16 holds
    millimetres of a metric map (``to_millimetres``, 0 where invalid), or the scaled range of a
    relative map (``scale_to_16bit``). ply holds the points of ``camera_cloud``, for a camera with
    the horizontal field of view ``fov_deg``.
    """
    with atomic_path(path) as staged:
        if file_format == 'png16':
            staged.write_bytes(encode_png(
                to_millimetres(depth) if kind == 'metric' else scale_to_16bit(depth)))
        elif file_format == 'npy':
            staged.write_bytes(encode_npy(depth))
        elif file_format == 'pfm':
            staged.write_bytes(encode_pfm(depth))
        else:
            write_ply(staged, camera_cloud(depth, kind, image,
                                           pinhole_camera(image.size_hw, fov_deg)))


def encode_png(pixels: U8 | U16) -> bytes:
    """Return a PNG of [H, W] or BGR [H, W, 3]; OpenCV's default compression is its fastest."""
    done, data = cv2.imencode('.png', pixels)
    if not done:
        raise ImageError(f'OpenCV cannot write a PNG of {pixels.shape[1]}x{pixels.shape[0]}')
    return data.tobytes()


def encode_npy(values: F16 | F32) -> bytes:
    """Return an npy file; ``np.save`` to a full disk raises an OSError without a reason."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def read_npy(path: Path) -> AnyArray:
    """Return the array in an npy file; ImageError if it is missing, damaged or an archive."""
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # noqa: B902 - a damaged file leads numpy to nearly any exception
        raise ImageError(f'{path} is missing or not a readable .npy file') from error
    if not isinstance(values, np.ndarray):
        raise ImageError(f'{path} is an archive of arrays; give a .npy file with one')
    return values


def encode_pfm(values: F32) -> bytes:
    """Return a PFM of [H, W]: one channel, little-endian, the lowest row first."""
    header = f'Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n'
    return header.encode() + values[::-1].astype('<f4').tobytes()


def scale_to_16bit(inverse_depth: F32) -> U16:
    """
    Return a relative map as uint16: 0 at its own minimum, 65535 at its maximum.

    The levels have no unit and differ from image to image. What is not finite becomes 0.
    """
    low, high = finite_range(inverse_depth)
    scaled = (inverse_depth - np.float32(low)) * np.float32(65535 / max(high - low, 1e-12))
    finite = np.nan_to_num(scaled, nan=0, posinf=0, neginf=0)
    levels: U16 = np.clip(np.rint(finite), 0, 65535).astype(np.uint16)
    return levels


def camera_cloud(depth: F32, kind: Kind, image: ColorImage, camera: Intrinsics) -> F32:
    """
    Return the points [H, W, 4] of a map [H, W] of the size of ``image``.

    A metric map keeps its metres. A relative map is displayed with its nearest 2 % at 1 m and its
    farthest 2 % at 10 m; these distances are not measurements.
    """
    if kind == 'metric':
        depth_m = limit_range(depth, 0.0, 0.0)
    else:
        low, high = RangeTracker().update(depth)
        depth_m = metric_from_inverse(depth, *display_scale_shift(low, high, _NEAR_M, _FAR_M))
        depth_m = limit_range(depth_m, 0.0, _LIMIT_M)
    return organized_cloud(depth_m, to_bgr(image), pixel_rays(camera, 1))


def finite_range(values: F32) -> tuple[float, float]:
    """Return (minimum, maximum) of the finite values, (0, 0) if there are none."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return low, high


@dataclass(frozen=True)
class Snapshot:
    """
    One frame: BGR images [H, W, 3], maps [H, W], a cloud [..., 3 or 4], None where unknown.

    ``model_depth`` is the model's output, ``depth_m`` metres with NaN where invalid. ``facts``
    become info.json.
    """

    image_bgr: U8
    color_bgr: U8
    model_depth: F32
    depth_m: F32 | None
    cloud: F32 | None
    facts: Mapping[str, object] = field(default_factory=dict)


def write_snapshot(folder: Path, snapshot: Snapshot) -> list[str]:
    """
    Write ``folder``, or replace it, and return the names of its files.

    The folder appears when all files are complete; OSError if they cannot be written.
    """
    with atomic_path(folder) as staged:
        staged.mkdir()
        (staged / 'image.png').write_bytes(encode_png(snapshot.image_bgr))
        (staged / 'color.png').write_bytes(encode_png(snapshot.color_bgr))
        (staged / 'model_depth.pfm').write_bytes(encode_pfm(snapshot.model_depth))
        if snapshot.depth_m is not None:
            (staged / 'depth_m.pfm').write_bytes(encode_pfm(snapshot.depth_m))
            (staged / 'depth_mm.png').write_bytes(encode_png(to_millimetres(snapshot.depth_m)))
        if snapshot.cloud is not None:
            write_ply(staged / 'cloud.ply', snapshot.cloud)
        (staged / 'info.json').write_text(
            json.dumps(snapshot.facts, indent=2) + '\n', encoding='utf-8')
        return sorted(path.name for path in staged.iterdir())


def write_ply(path: Path, cloud: F32) -> int:
    """
    Write the finite points of ``cloud`` as binary PLY [m] and return their number.

    ``cloud`` is [..., 4] with packed rgb, or [..., 3] without colours.
    """
    finite = cloud[np.isfinite(cloud[..., :3]).all(axis=-1)]
    colors = ['red', 'green', 'blue'] if cloud.shape[-1] > 3 else []
    kinds = [('xyz', '<f4', 3), ('rgb', 'u1', 3)]
    vertices = np.empty(len(finite), kinds if colors else kinds[:1])
    vertices['xyz'] = finite[:, :3]
    if colors:
        vertices['rgb'] = unpack_colors(finite)[:, ::-1]
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(finite)}',
              *(f'property float {name}' for name in 'xyz'),
              *(f'property uchar {name}' for name in colors), 'end_header', '']
    path.write_bytes('\n'.join(header).encode() + vertices.tobytes())
    return len(finite)
