"""Depth files, read back by other libraries or by their format."""

import json
from pathlib import Path
from typing import get_args

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.depth_files import (
    camera_cloud, DepthFormat, encode_pfm, encode_png, finite_range, read_npy, scale_to_16bit,
    Snapshot, write_depth, write_snapshot)
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.geometry import pinhole_camera
from disk import largest_file
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

DEPTH = np.array([[0.5, 1.0, 2.0], [4.0, 8.0, 70.0]], np.float32)
IMAGE = ColorImage(np.arange(18, dtype=np.uint8).reshape(2, 3, 3), 'rgb')


def read_pfm(data: bytes) -> np.ndarray:
    """Return the map in a one-channel PFM, by the format's description."""
    kind, size, scale, values = data.split(b'\n', 3)
    assert kind == b'Pf'
    width, height = map(int, size.split())
    order = '<' if float(scale) < 0 else '>'
    return np.frombuffer(values, f'{order}f4').reshape(height, width)[::-1]


def read_ply(data: bytes) -> np.ndarray:
    """Return the vertices of a binary PLY."""
    header, _, vertices = data.partition(b'end_header\n')
    assert header.startswith(b'ply\nformat binary_little_endian 1.0\n')
    return np.frombuffer(vertices, [('xyz', '<f4', 3), ('rgb', 'u1', 3)])


def test_npy_and_pfm_hold_the_values_as_they_are(tmp_path: Path) -> None:
    for name, kind in (('npy', 'relative'), ('pfm', 'metric')):
        write_depth(tmp_path / f'depth.{name}', name, DEPTH, kind, IMAGE, 60.0)
    assert_array_equal(np.load(tmp_path / 'depth.npy'), DEPTH)
    assert np.load(tmp_path / 'depth.npy').dtype == np.float32
    assert_array_equal(read_pfm((tmp_path / 'depth.pfm').read_bytes()), DEPTH)
    assert_array_equal(cv2.imread(str(tmp_path / 'depth.pfm'), cv2.IMREAD_UNCHANGED), DEPTH)


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    np.savez(tmp_path / 'depth.npz', depth=DEPTH)
    with pytest.raises(ImageError, match='is an archive of arrays; give a .npy file'):
        read_npy(tmp_path / 'depth.npz')


@pytest.mark.parametrize('file_format', get_args(DepthFormat))
def test_a_full_disk_is_named_in_every_format(tmp_path: Path, file_format: DepthFormat) -> None:
    """np.save itself would only say how many bytes it wrote."""
    depth = np.random.default_rng(0).random((64, 64), np.float32)
    image = ColorImage(np.zeros((64, 64, 3), np.uint8), 'rgb')
    with largest_file(4096), \
            pytest.raises(OSError, match=r'cannot be written \(File too large\); free some space'):
        write_depth(tmp_path / 'depth', file_format, depth, 'metric', image, 60.0)
    assert not list(tmp_path.iterdir())


def test_pfm_is_little_endian_with_the_lowest_row_first() -> None:
    data = encode_pfm(DEPTH)
    assert data.startswith(b'Pf\n3 2\n-1.0\n')
    assert data[12:16] == np.array(4.0, '<f4').tobytes()


def test_a_relative_map_is_scaled_to_the_whole_range_of_16_bits(tmp_path: Path) -> None:
    assert scale_to_16bit(np.array([[2.0, 3.0, 4.0]], np.float32)).tolist() == [
        [0, 32768, 65535]]
    assert not scale_to_16bit(np.full((2, 2), 3.0, np.float32)).any()
    write_depth(tmp_path / 'depth.png', 'png16', DEPTH, 'relative', IMAGE, 60.0)
    found = cv2.imread(str(tmp_path / 'depth.png'), cv2.IMREAD_UNCHANGED)
    assert_array_equal(found, scale_to_16bit(DEPTH))


def test_png16_of_a_metric_map_holds_millimetres_and_0_beyond_them(tmp_path: Path) -> None:
    write_depth(tmp_path / 'depth.png', 'png16', DEPTH, 'metric', IMAGE, 60.0)
    found = cv2.imread(str(tmp_path / 'depth.png'), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    assert found.tolist() == [[500, 1000, 2000], [4000, 8000, 0]]


def test_70_metres_are_invalid_in_topic_snapshot_and_file(tmp_path: Path) -> None:
    """16 bits of millimetres end at 65.535 m; 65535 would be a wall at that distance."""
    image = np.zeros((2, 3, 3), np.uint8)
    write_snapshot(tmp_path / 'snapshot', Snapshot(image, image, DEPTH, DEPTH, None))
    write_depth(tmp_path / 'depth.png', 'png16', DEPTH, 'metric', IMAGE, 60.0)
    maps = [cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
            for name in ('snapshot/depth_mm.png', 'depth.png')]
    pytest.importorskip('rclpy')
    from depth_anything_ros.ros.messages import depth_message
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    message = deserialize_message(bytes(depth_message(Header(), DEPTH, '16UC1')), Image)
    maps.append(np.frombuffer(message.data, np.uint16).reshape(2, 3))
    for found in maps:
        assert found.tolist() == [[500, 1000, 2000], [4000, 8000, 0]]


@pytest.mark.parametrize('channels', [3, 4])
def test_a_snapshot_has_its_facts_and_its_points_with_or_without_colours(
        tmp_path: Path, channels: int) -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    cloud = np.arange(6 * channels, dtype=np.float32).reshape(2, 3, channels)
    names = write_snapshot(tmp_path / 'snapshot', Snapshot(
        image, image, DEPTH, None, cloud, {'frame_id': 'café'}))
    assert names == ['cloud.ply', 'color.png', 'image.png', 'info.json', 'model_depth.pfm']
    assert json.loads((tmp_path / 'snapshot' / 'info.json').read_text()) == {'frame_id': 'café'}
    data = (tmp_path / 'snapshot' / 'cloud.ply').read_bytes()
    assert (b'property uchar red' in data) is (channels == 4)
    kinds = [('xyz', '<f4', 3), ('rgb', 'u1', 3)][:channels - 2]
    vertices = np.frombuffer(data.partition(b'end_header\n')[2], kinds)
    assert_array_equal(vertices['xyz'], cloud[..., :3].reshape(6, 3))


def test_png_is_lossless() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    data = np.frombuffer(encode_png(pixels), np.uint8)
    assert_array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR), pixels)


def test_a_metric_cloud_is_in_metres_with_the_colours_of_the_image(tmp_path: Path) -> None:
    depth = DEPTH.copy()
    depth[0, 0] = 0.0
    write_depth(tmp_path / 'cloud.ply', 'ply', depth, 'metric', IMAGE, 90.0)
    vertices = read_ply((tmp_path / 'cloud.ply').read_bytes())
    assert len(vertices) == 5
    # Half the width, 1.5 px, is the focal length at 90 degrees; the centre is (1, 0.5).
    assert_allclose(vertices['xyz'][1], [2.0 * 1 / 1.5, 2.0 * -0.5 / 1.5, 2.0], rtol=1e-6)
    assert vertices['rgb'][0].tolist() == IMAGE.pixels[0, 1].tolist()


def test_a_relative_cloud_lies_between_one_and_twenty_metres() -> None:
    inverse = np.linspace(0, 7, 4800, dtype=np.float32).reshape(60, 80)
    image = ColorImage(np.zeros((60, 80, 3), np.uint8), 'bgr')
    camera = pinhole_camera(image.size_hw, 60.0)
    distance = camera_cloud(inverse, 'relative', image, camera)[..., 2]
    low, high = np.percentile(inverse, (2, 98))
    at_high = distance.ravel()[np.abs(inverse.ravel() - high).argmin()]
    at_low = distance.ravel()[np.abs(inverse.ravel() - low).argmin()]
    assert (at_high, at_low) == (pytest.approx(1, rel=0.01), pytest.approx(10, rel=0.01))
    assert 0.9 < np.nanmin(distance) < 1 and np.nanmax(distance) <= 20
    # The second would be at 34 m.
    inverse[0, :2] = -5.0, -0.4
    assert np.isnan(camera_cloud(inverse, 'relative', image, camera)[0, :2, 2]).all()


def test_the_range_is_that_of_what_is_finite() -> None:
    assert finite_range(DEPTH) == (0.5, 70.0)
    assert finite_range(np.array([[np.nan, 2.0, np.inf, 1.0]], np.float32)) == (1.0, 2.0)
    assert finite_range(np.full((2, 2), np.nan, np.float32)) == (0.0, 0.0)


@pytest.mark.parametrize('file_format', get_args(DepthFormat))
def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(
        tmp_path: Path, file_format: DepthFormat) -> None:
    with pytest.raises(OSError, match=r'missing/depth.bin cannot be written \(No such file'):
        write_depth(tmp_path / 'missing' / 'depth.bin', file_format, DEPTH, 'metric', IMAGE, 60.0)
    assert not list(tmp_path.iterdir())
