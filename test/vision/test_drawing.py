"""Pictures of depth and clouds."""

from pathlib import Path

from depth_anything_ros.media.depth_files import write_ply
from depth_anything_ros.vision.cloud import organized_cloud
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.drawing import (
    depth_style, draw_depth, render_cloud, side_by_side)
from depth_anything_ros.vision.geometry import Intrinsics, pixel_rays
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest


def wall(depth_m: float = 2.0) -> np.ndarray:
    """Return the cloud of a wall whose left half is blue and right half red, one point NaN."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30, 0] = image[:, 30:, 2] = 255
    depth = np.full((40, 60), depth_m, np.float32)
    depth[0, 0] = np.nan
    return organized_cloud(depth, image, pixel_rays(Intrinsics(50, 50, 29.5, 19.5, (40, 60)), 1))


def test_pictures_stand_side_by_side_with_the_gap_of_the_reference() -> None:
    """50 white pixels."""
    pair = side_by_side(np.zeros((4, 6, 3), np.uint8), np.full((4, 8, 3), 9, np.uint8))
    assert pair.shape == (4, 64, 3)
    assert_array_equal(pair[:, 6:56], 255)


def test_ply_holds_every_finite_point_with_its_colour(tmp_path: Path) -> None:
    """Read back by its header."""
    cloud = wall()
    assert write_ply(tmp_path / 'wall.ply', cloud) == 40 * 60 - 1
    header, _, body = (tmp_path / 'wall.ply').read_bytes().partition(b'end_header\n')
    assert b'element vertex 2399' in header
    points = np.frombuffer(body, [('xyz', '<f4', 3), ('rgb', 'u1', 3)])
    assert_allclose(points['xyz'], cloud.reshape(-1, 4)[1:, :3])
    assert_array_equal(points['rgb'][0], [0, 0, 255])
    assert_array_equal(points['rgb'][-1], [255, 0, 0])


def test_a_wall_is_drawn_with_blue_to_the_left_of_red() -> None:
    """The optical frame's x points to the right."""
    picture = render_cloud(wall(), (120, 160), yaw_deg=0.0, pitch_deg=0.0)
    blue = np.nonzero((picture == (255, 0, 0)).all(axis=-1))[1]
    red = np.nonzero((picture == (0, 0, 255)).all(axis=-1))[1]
    assert len(blue) > 100
    assert len(red) > 100
    assert np.median(blue) < np.median(red)


def test_near_points_hide_far_ones() -> None:
    """Whatever the order of the points."""
    near, far = wall(2.0).reshape(-1, 4)[1:], wall(2.2).reshape(-1, 4)[1:].copy()
    far[:, 3] = np.array([0x0000FF00], np.uint32).view(np.float32)[0]
    for cloud in (np.concatenate([near, far]), np.concatenate([far, near])):
        picture = render_cloud(cloud, (60, 80), yaw_deg=0.0, pitch_deg=0.0)
        assert not (picture[30, 40] == (0, 255, 0)).all()


def test_a_cloud_is_seen_upright_from_the_side_and_from_above() -> None:
    """A green line on the optical axis and a red mast that crosses it."""
    points = np.zeros((2, 60, 4), np.float32)
    points[0, :, 2] = np.linspace(1.5, 2.5, 60)
    points[1, :, 1], points[1, :, 2] = np.linspace(-0.5, 0.5, 60), 2.0
    points[:, :, 3] = np.array([[0x0000FF00], [0x00FF0000]], np.uint32).view(np.float32)
    picture = render_cloud(points, (120, 160))
    rows, columns = np.nonzero(picture[..., 1] == 255)
    assert np.ptp(rows) > 5 and np.ptp(columns) > 5
    assert np.corrcoef(rows, columns)[0, 1] > 0.9, 'the near end is below on the right'
    _, mast = np.nonzero(picture[..., 2] == 255)
    assert np.ptp(mast) <= 4
    assert 60 < np.median(mast) < 100


def test_an_empty_cloud_gives_an_empty_picture() -> None:
    """No point, no crash."""
    assert render_cloud(np.full((4, 4, 4), np.nan, np.float32), (10, 20)).std() == 0


DEPTH = np.random.default_rng(0).uniform(0.3, 9.0, (30, 40)).astype(np.float32)
IMAGE = ColorImage(np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8), 'bgr')


def drawn(kind: str, color_map: str, pred_only: bool = True) -> np.ndarray:
    """Return the picture of DEPTH over its whole range."""
    style = depth_style(kind, color_map, pred_only)  # type: ignore[arg-type]
    return draw_depth(style, IMAGE, DEPTH, float(DEPTH.min()), float(DEPTH.max()))


@pytest.mark.parametrize(('kind', 'name'), [('relative', 'Spectral_r'), ('metric', 'Spectral')])
def test_colours_are_those_of_the_reference(kind: str, name: str) -> None:
    matplotlib = pytest.importorskip('matplotlib')
    levels = ((DEPTH - DEPTH.min()) / (DEPTH.max() - DEPTH.min()) * 255.0).astype(np.uint8)
    colors = matplotlib.colormaps.get_cmap(name)
    expected = (colors(levels)[:, :, :3] * 255)[:, :, ::-1].astype(np.uint8)
    # A rounding to the neighbouring level is a few steps of colour, in a few pixels.
    difference = np.abs(drawn(kind, 'spectral_r').astype(int) - expected)
    assert np.percentile(difference, 99) <= 1
    assert difference.max() <= 8


def test_near_is_red_whatever_the_unit() -> None:
    for kind, near in (('relative', DEPTH.argmax()), ('metric', DEPTH.argmin())):
        blue, green, red = drawn(kind, 'spectral_r').reshape(-1, 3)[near].astype(int)
        assert red > 150 and green < 10 and blue < 80


@pytest.mark.parametrize('kind', ['relative', 'metric'])
def test_gray_is_brighter_for_the_larger_value(kind: str) -> None:
    picture = drawn(kind, 'gray')
    assert picture.reshape(-1, 3)[DEPTH.argmax()].tolist() == [255, 255, 255]
    assert picture.reshape(-1, 3)[DEPTH.argmin()].tolist() == [0, 0, 0]


def test_the_image_stands_left_of_a_white_gap_of_50_pixels() -> None:
    picture = drawn('relative', 'turbo', pred_only=False)
    assert_array_equal(picture[:, :40], IMAGE.pixels)
    assert (picture[:, 40:90] == 255).all()
    assert_array_equal(picture[:, 90:], drawn('relative', 'turbo'))


def test_a_map_of_one_value_is_drawn() -> None:
    flat = np.full((30, 40), 3.0, np.float32)
    picture = draw_depth(depth_style('relative', 'gray', True), IMAGE, flat, 3.0, 3.0)
    assert not picture.any()
