"""Point clouds as binary glTF (.glb), which browsers show."""

import json
from pathlib import Path
import struct

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import PointCloudError
from depth_anything_ros.vision.cloud import unpack_colors
import numpy as np

# Numbers of glTF 2.0 (Khronos): component types, primitive mode, chunk types.
_FLOAT, _UINT16, _POINTS, _JSON, _BINARY = 5126, 5123, 0, 0x4E4F534A, 0x004E4942
_SRGB_GAMMA = 2.2


def write_glb(path: Path, cloud: F32) -> int:
    """
    Write the finite points of ``cloud`` [..., 4] with their colours and return their number.

    glTF has y up and looks along -z, so points of the optical frame are turned by half a turn
    around x. Its colours are linear. PointCloudError if no point is finite.
    """
    points = finite_points(cloud)
    xyz = (points[:, :3] * np.array([1, -1, -1], np.float32)).astype('<f4')
    rgba = np.full((len(points), 4), 65535, '<u2')
    linear = (np.arange(256) / 255) ** _SRGB_GAMMA * 65535
    rgba[:, :3] = np.rint(linear).astype('<u2')[unpack_colors(points)[:, ::-1]]
    description = json.dumps(_description(xyz, rgba.nbytes)).encode()
    chunks = b''.join(struct.pack('<II', len(data), kind) + data for kind, data in (
        (_JSON, description + b' ' * (-len(description) % 4)),
        (_BINARY, xyz.tobytes() + rgba.tobytes())))
    path.write_bytes(struct.pack('<4sII', b'glTF', 2, 12 + len(chunks)) + chunks)
    return len(points)


def finite_points(cloud: F32) -> F32:
    """Return the finite points [N, C] of ``cloud`` [..., C]; PointCloudError if there are none."""
    points: F32 = cloud[np.isfinite(cloud[..., :3]).all(axis=-1)]
    if not len(points):
        raise PointCloudError('no pixel of the depth map has a valid depth, so the cloud is empty')
    return points


def _description(xyz: F32, rgba_bytes: int) -> dict[str, object]:
    """Return the JSON of one mesh of points: positions first, then colours."""
    return {
        'asset': {'version': '2.0'}, 'scene': 0, 'scenes': [{'nodes': [0]}],
        'extensionsUsed': ['KHR_materials_unlit'],
        'nodes': [{'mesh': 0}],
        'materials': [{'extensions': {'KHR_materials_unlit': {}}}],
        'meshes': [{'primitives': [
            {'attributes': {'POSITION': 0, 'COLOR_0': 1}, 'mode': _POINTS, 'material': 0}]}],
        'buffers': [{'byteLength': xyz.nbytes + rgba_bytes}],
        'bufferViews': [{'buffer': 0, 'byteLength': xyz.nbytes},
                        {'buffer': 0, 'byteOffset': xyz.nbytes, 'byteLength': rgba_bytes}],
        'accessors': [
            {'bufferView': 0, 'componentType': _FLOAT, 'type': 'VEC3', 'count': len(xyz),
             'min': xyz.min(axis=0).tolist(), 'max': xyz.max(axis=0).tolist()},
            {'bufferView': 1, 'componentType': _UINT16, 'type': 'VEC4', 'count': len(xyz),
             'normalized': True}]}
