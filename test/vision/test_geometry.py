"""Depth to points: pinhole rays, packed colours, strides and invalid pixels."""

import struct

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.vision.geometry import Intrinsics, organised_cloud, pixel_rays
import numpy as np
import pytest

CAMERA = Intrinsics(fx=100.0, fy=50.0, cx=31.5, cy=23.5, size_hw=(48, 64))


def gray(size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return a grey BGR image."""
    return np.full((*size_hw, 3), 128, np.uint8)


def test_a_known_pixel_lies_where_the_pinhole_model_says() -> None:
    depth_m = np.full((48, 64), 2.0, np.float32)
    depth_m[40, 10] = 5.0
    cloud = organised_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    assert cloud.shape == (48, 64, 4) and cloud.dtype == np.float32
    np.testing.assert_allclose(
        cloud[40, 10, :3], [(10 - 31.5) / 100 * 5, (40 - 23.5) / 50 * 5, 5.0], rtol=1e-6)


def test_x_points_right_y_down_and_z_forward() -> None:
    cloud = organised_cloud(np.ones((48, 64), np.float32), gray(), pixel_rays(CAMERA, 1))
    assert (np.diff(cloud[..., 0], axis=1) > 0).all()
    assert (np.diff(cloud[..., 1], axis=0) > 0).all()
    assert (cloud[..., 2] == 1).all()


def test_a_tilted_plane_comes_out_as_that_plane() -> None:
    rows, columns = np.mgrid[0:48, 0:64]
    ray = np.stack([(columns - 31.5) / 100, (rows - 23.5) / 50, np.ones((48, 64))], axis=-1)
    normal, distance_m = np.array([0.2, -0.6, 1.0]), 3.0
    depth_m = (distance_m / (ray @ normal)).astype(np.float32)
    cloud = organised_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    np.testing.assert_allclose(cloud[..., :3] @ normal, distance_m, rtol=1e-5)


@pytest.mark.parametrize('stride', [1, 2, 3, 7])
def test_a_stride_keeps_every_nth_row_and_column(stride: int) -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(1, 9, (48, 64)).astype(np.float32)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    every = organised_cloud(depth_m, image, pixel_rays(CAMERA, 1))
    some = organised_cloud(depth_m, image, pixel_rays(CAMERA, stride))
    assert some.shape == (-(-48 // stride), -(-64 // stride), 4)
    assert np.array_equal(some, every[::stride, ::stride])


def test_the_colour_is_packed_as_00rrggbb_in_the_bits_of_a_float() -> None:
    image_bgr = gray((1, 2))
    image_bgr[0, 0], image_bgr[0, 1] = (0x12, 0x34, 0xF6), (255, 255, 255)
    camera = Intrinsics(1.0, 1.0, 0.0, 0.0, (1, 2))
    cloud = organised_cloud(np.ones((1, 2), np.float32), image_bgr, pixel_rays(camera, 1))
    packed = [struct.unpack('=I', struct.pack('=f', value))[0] for value in cloud[0, :, 3]]
    assert packed == [0xF63412, 0xFFFFFF]


def test_an_invalid_pixel_has_no_position_but_keeps_its_colour() -> None:
    depth_m = np.full((48, 64), 2.0, np.float32)
    depth_m[5, 6] = np.nan
    cloud = organised_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    assert np.isnan(cloud[5, 6, :3]).all()
    assert cloud[5, 6, 3] == cloud[5, 7, 3]
    assert np.isnan(cloud).sum() == 3


@pytest.mark.parametrize(('fx', 'fy', 'cx'), [
    (0.0, 0.0, 0.0), (100.0, 0.0, 3.0), (-1.0, 1.0, 3.0), (np.nan, 1.0, 3.0), (1.0, 1.0, np.inf)])
def test_an_uncalibrated_camera_is_refused_with_what_to_do(
        fx: float, fy: float, cx: float) -> None:
    with pytest.raises(CameraInfoError, match='not calibrated .* calibrate it'):
        Intrinsics(fx=fx, fy=fy, cx=cx, cy=0.0, size_hw=(48, 64))
