"""Point clouds of known scenes, and their filters."""

import struct

from depth_anything_ros.vision.cloud import (
    CloudOptions, filter_height, HeightBand, move_far_points, organized_cloud, point_cloud,
    unpack_colors, voxel_downsample)
from depth_anything_ros.vision.geometry import Distortion, Intrinsics, pixel_rays
import numpy as np
from numpy.testing import assert_allclose
import pytest

CAMERA = Intrinsics(fx=100.0, fy=50.0, cx=31.5, cy=23.5, size_hw=(48, 64))


def gray(size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return a grey BGR image."""
    return np.full((*size_hw, 3), 128, np.uint8)


def test_a_known_pixel_lies_where_the_pinhole_model_says() -> None:
    depth_m = np.full((48, 64), 2.0, np.float32)
    depth_m[40, 10] = 5.0
    cloud = organized_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    assert cloud.shape == (48, 64, 4) and cloud.dtype == np.float32
    np.testing.assert_allclose(
        cloud[40, 10, :3], [(10 - 31.5) / 100 * 5, (40 - 23.5) / 50 * 5, 5.0], rtol=1e-6)


def test_x_points_right_y_down_and_z_forward() -> None:
    cloud = organized_cloud(np.ones((48, 64), np.float32), gray(), pixel_rays(CAMERA, 1))
    assert (np.diff(cloud[..., 0], axis=1) > 0).all()
    assert (np.diff(cloud[..., 1], axis=0) > 0).all()
    assert (cloud[..., 2] == 1).all()


def test_a_tilted_plane_comes_out_as_that_plane() -> None:
    rows, columns = np.mgrid[0:48, 0:64]
    ray = np.stack([(columns - 31.5) / 100, (rows - 23.5) / 50, np.ones((48, 64))], axis=-1)
    normal, distance_m = np.array([0.2, -0.6, 1.0]), 3.0
    depth_m = (distance_m / (ray @ normal)).astype(np.float32)
    cloud = organized_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    np.testing.assert_allclose(cloud[..., :3] @ normal, distance_m, rtol=1e-5)


@pytest.mark.parametrize('stride', [1, 2, 3, 7])
def test_a_stride_keeps_every_nth_row_and_column(stride: int) -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(1, 9, (48, 64)).astype(np.float32)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    every = organized_cloud(depth_m, image, pixel_rays(CAMERA, 1))
    rays = pixel_rays(CAMERA, stride)
    some = organized_cloud(rays.pick(depth_m), rays.pick_colors(image), rays)
    assert some.shape == (-(-48 // stride), -(-64 // stride), 4)
    assert np.array_equal(some, every[::stride, ::stride])


def test_the_colour_is_packed_as_00rrggbb_in_the_bits_of_a_float() -> None:
    image_bgr = gray((1, 2))
    image_bgr[0, 0], image_bgr[0, 1] = (0x12, 0x34, 0xF6), (255, 255, 255)
    camera = Intrinsics(1.0, 1.0, 0.0, 0.0, (1, 2))
    cloud = organized_cloud(np.ones((1, 2), np.float32), image_bgr, pixel_rays(camera, 1))
    packed = [struct.unpack('=I', struct.pack('=f', value))[0] for value in cloud[0, :, 3]]
    assert packed == [0xF63412, 0xFFFFFF]
    np.testing.assert_array_equal(unpack_colors(cloud), image_bgr)


def test_an_invalid_pixel_has_no_position_but_keeps_its_colour() -> None:
    depth_m = np.full((48, 64), 2.0, np.float32)
    depth_m[5, 6] = np.nan
    cloud = organized_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    assert np.isnan(cloud[5, 6, :3]).all()
    assert cloud[5, 6, 3] == cloud[5, 7, 3]
    assert np.isnan(cloud).sum() == 3


def test_a_cloud_without_an_image_has_positions_only() -> None:
    depth_m = np.full((48, 64), 2.0, np.float32)
    bare = organized_cloud(depth_m, None, pixel_rays(CAMERA, 1))
    colored = organized_cloud(depth_m, gray(), pixel_rays(CAMERA, 1))
    assert bare.shape == (48, 64, 3)
    assert np.array_equal(bare, colored[..., :3])


def test_a_pixel_that_the_lens_hides_is_no_point() -> None:
    folding = Distortion('plumb_bob', (-0.5, 0.0, 0.0, 0.0, 0.0))
    camera = Intrinsics(20.0, 20.0, 31.5, 23.5, (48, 64), folding)
    cloud = organized_cloud(np.ones((48, 64), np.float32), None, pixel_rays(camera, 1))
    assert np.isnan(cloud[0, 0]).all()
    assert np.isfinite(cloud[24, 32]).all()
    assert np.array_equal(np.isnan(cloud).any(axis=-1), np.isnan(cloud).all(axis=-1))


def test_what_is_too_far_moves_to_where_a_costmap_clears() -> None:
    depth_m = np.array([[1.0, 5.0, 5.1, np.inf, np.nan]], np.float32)
    cleared = move_far_points(depth_m, 5.0, 6.0)
    np.testing.assert_array_equal(cleared, np.array([[1, 5, 6, 6, np.nan]], np.float32))
    assert np.isinf(depth_m[0, 3])


@pytest.mark.parametrize('pitch_deg', [0.0, 20.0, -10.0])
def test_heights_are_measured_from_the_floor_of_a_pitched_camera(pitch_deg: float) -> None:
    pitch, camera_height = np.radians(pitch_deg), 1.2
    heights, ahead = np.meshgrid([-0.2, 0.05, 0.5, 1.4, 2.5], [1.0, 3.0, 8.0])
    drop = camera_height - heights
    cloud = np.stack([np.zeros_like(drop), drop * np.cos(pitch) - ahead * np.sin(pitch),
                      drop * np.sin(pitch) + ahead * np.cos(pitch)], axis=-1).astype(np.float32)
    kept = filter_height(cloud, HeightBand(0.1, 2.0, camera_height, float(pitch)))
    assert np.array_equal(np.isfinite(kept).all(axis=-1), (heights > 0.1) & (heights < 2.0))
    assert np.isfinite(cloud).all()


def test_a_point_out_of_the_band_keeps_its_colour() -> None:
    cloud = organized_cloud(np.ones((48, 64), np.float32), gray(), pixel_rays(CAMERA, 1))
    kept = filter_height(cloud, HeightBand(0.0, 1.0, 1.0, 0.0))
    assert np.isnan(kept[0, 0, :3]).all() and kept[0, 0, 3] == cloud[0, 0, 3]


def test_each_voxel_keeps_the_centroid_of_its_points_and_a_colour() -> None:
    cloud = np.array([[0.1, 0.1, 0.1, 7], [0.3, 0.1, 0.1, 8], [-0.1, 0.1, 0.1, 9],
                      [np.nan, 0.1, 0.1, 5], [np.inf, 0.1, 0.1, 5]], np.float32)
    thinned = voxel_downsample(cloud, 0.5)
    np.testing.assert_allclose(thinned, [[-0.1, 0.1, 0.1, 9], [0.2, 0.1, 0.1, 7]], atol=1e-7)


def test_decimation_agrees_with_a_dictionary_of_cubes() -> None:
    rng = np.random.default_rng(3)
    cloud = rng.uniform(-2, 2, (40, 50, 4)).astype(np.float32)
    cubes: dict[tuple[int, ...], list[np.ndarray]] = {}
    for point in cloud.reshape(-1, 4):
        cube = tuple(np.floor(point[:3] / np.float32(0.25)).astype(int))
        cubes.setdefault(cube, []).append(point)
    expected = [[*np.mean(points, axis=0)[:3], points[0][3]]
                for _, points in sorted(cubes.items())]
    np.testing.assert_allclose(voxel_downsample(cloud, 0.25), expected, atol=1e-6)


def test_the_order_of_the_points_does_not_change_where_voxels_lie() -> None:
    cloud = np.random.default_rng(4).uniform(-1, 1, (500, 3)).astype(np.float32)
    np.testing.assert_allclose(voxel_downsample(cloud[::-1], 0.2), voxel_downsample(cloud, 0.2),
                               atol=1e-6)


def test_huge_coordinates_neither_overflow_nor_meet_near_points() -> None:
    cloud = np.array([[0.0, 0.0, 1.0], [1e30, 0.0, 1.0], [-1e30, 0.0, 1.0], [0.0, 1e9, 1.0]],
                     np.float32)
    thinned = voxel_downsample(cloud, 1e-3)
    assert {tuple(point) for point in thinned} == {tuple(point) for point in cloud}


def test_a_cloud_without_a_finite_point_becomes_empty() -> None:
    assert voxel_downsample(np.full((4, 5, 4), np.nan, np.float32), 0.1).shape == (0, 4)


RAYS = {stride: pixel_rays(Intrinsics(100.0, 100.0, 79.5, 59.5, (120, 160)), stride)
        for stride in (1, 3)}


@pytest.mark.parametrize('stride', RAYS)
def test_points_that_clear_are_exempt_from_the_height_band(stride: int) -> None:
    """The upper rows see infinity, the lower ones a wall; the band would cut parts of both."""
    depth_m = np.full((120, 160), 2.0, np.float32)
    depth_m[:60] = np.inf
    band = HeightBand(0.0, 1.0, camera_height_m=0.5, camera_pitch_rad=0.0)
    cloud = point_cloud(RAYS[stride].pick(depth_m), None, RAYS[stride],
                        CloudOptions(maximum_m=5.0, clearing_m=6.0, band=band))
    rows = np.arange(0, 120, stride)
    assert_allclose(cloud[rows < 60, :, 2], 6.0)
    on_the_wall = (rows - 59.5) / 100 * 2.0 <= 0.5
    assert_allclose(cloud[(rows >= 60) & on_the_wall, :, 2], 2.0)
    assert np.isnan(cloud[~on_the_wall]).all()
