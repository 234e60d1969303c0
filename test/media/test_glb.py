"""Point clouds as binary glTF, read back by its structure."""

import json
from pathlib import Path
import struct

from depth_anything_ros.errors import PointCloudError
from depth_anything_ros.media.glb import write_glb
from depth_anything_ros.vision.cloud import organized_cloud
from depth_anything_ros.vision.geometry import pinhole_camera, pixel_rays
import numpy as np
from numpy.testing import assert_allclose
import pytest

RAYS = pixel_rays(pinhole_camera((2, 2), 90.0), 1)
BLUE_THEN_WHITE = np.array([[[255, 0, 0], [255, 255, 255]], [[0, 0, 0], [0, 0, 128]]], np.uint8)


def read_glb(path: Path) -> tuple[dict, np.ndarray, np.ndarray]:
    """Return the description, the points [N, 3] and the linear colours [N, 4] in 0..1."""
    data = path.read_bytes()
    assert struct.unpack_from('<4sII', data) == (b'glTF', 2, len(data))
    length, kind = struct.unpack_from('<I4s', data, 12)
    assert kind == b'JSON' and length % 4 == 0
    description = json.loads(data[20:20 + length])
    size, kind = struct.unpack_from('<I4s', data, 20 + length)
    binary = data[28 + length:]
    assert kind == b'BIN\0' and size == len(binary) == description['buffers'][0]['byteLength']

    def at(name: str, index: int) -> dict:
        assert index >= 0
        return description[name][index]

    (node,) = at('scenes', description['scene'])['nodes']
    (drawn,) = at('meshes', at('nodes', node)['mesh'])['primitives']
    assert drawn['mode'] == 0 and at('materials', drawn['material'])
    values = []
    for name, kind, columns in (('POSITION', 'f4', 3), ('COLOR_0', 'u2', 4)):
        accessor = at('accessors', drawn['attributes'][name])
        view = at('bufferViews', accessor['bufferView'])
        assert at('buffers', view['buffer']) and accessor['type'] == f'VEC{columns}'
        part = binary[view.get('byteOffset', 0):][:view['byteLength']]
        values.append(np.frombuffer(part, f'<{kind}').reshape(accessor['count'], columns))
    return description, values[0], values[1] / 65535


def test_points_are_written_with_y_up_and_their_colours(tmp_path: Path) -> None:
    depth_m = np.float32([[1.0, 2.0], [np.nan, 4.0]])
    assert write_glb(tmp_path / 'a.glb', organized_cloud(depth_m, BLUE_THEN_WHITE, RAYS)) == 3
    description, points, colors = read_glb(tmp_path / 'a.glb')
    assert_allclose(points, [[-0.5, 0.5, -1], [1, 1, -2], [2, -2, -4]])
    assert_allclose(colors[:2], [[0, 0, 1, 1], [1, 1, 1, 1]])
    assert colors[2, 0] == pytest.approx((128 / 255) ** 2.2, abs=1e-4)
    assert description['accessors'][0]['min'] == [-0.5, -2, -4]
    assert description['accessors'][0]['max'] == [2, 1, -1]


def test_a_cloud_without_a_point_is_refused(tmp_path: Path) -> None:
    empty = organized_cloud(np.full((2, 2), np.nan, np.float32), BLUE_THEN_WHITE, RAYS)
    with pytest.raises(PointCloudError, match='no pixel'):
        write_glb(tmp_path / 'a.glb', empty)
    assert list(tmp_path.iterdir()) == []
