"""The grids of published maps: where their pixels lie over the image."""

from depth_anything_ros.vision.transforms import depth_on_grid, Grid, output_grid, resize_depth
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

IMAGE_HW, NETWORK_HW = (120, 160), (112, 154)


def ramp(size_hw: tuple[int, int]) -> np.ndarray:
    """Return a map that is column + 1000 * row of the image, on the network's grid over it."""
    rows = np.linspace(0, IMAGE_HW[0] - 1, size_hw[0])
    columns = np.linspace(0, IMAGE_HW[1] - 1, size_hw[1])
    return (columns[None, :] + 1000 * rows[:, None]).astype(np.float32)


def test_input_is_the_image_and_the_reference_resize() -> None:
    grid = output_grid('input', 4, IMAGE_HW, NETWORK_HW)
    assert grid == Grid(IMAGE_HW)
    depth = np.random.default_rng(0).random(NETWORK_HW, np.float32)
    assert_allclose(depth_on_grid(depth, IMAGE_HW, grid), resize_depth(depth, IMAGE_HW),
                    atol=1e-6)


def test_native_is_what_the_network_gave() -> None:
    depth = ramp(NETWORK_HW)
    grid = output_grid('native', 1, IMAGE_HW, NETWORK_HW)
    assert grid.size_hw == NETWORK_HW
    assert depth_on_grid(depth, IMAGE_HW, grid) is depth


@pytest.mark.parametrize('size, divisor', [('input', 1), ('divisor', 1), ('divisor', 2),
                                           ('divisor', 3), ('divisor', 7), ('native', 1)])
def test_every_pixel_holds_the_depth_of_the_place_that_the_grid_says(
        size: str, divisor: int) -> None:
    """A ramp over the image is read back at u = (u' - offset) / scale."""
    grid = output_grid(size, divisor, IMAGE_HW, NETWORK_HW)
    found = depth_on_grid(ramp(NETWORK_HW), IMAGE_HW, grid)
    assert found.shape == grid.size_hw
    columns = (np.arange(grid.size_hw[1]) - grid.offset_xy[0]) / grid.scale_xy[0]
    rows = (np.arange(grid.size_hw[0]) - grid.offset_xy[1]) / grid.scale_xy[1]
    assert_allclose(found, columns[None, :] + 1000 * rows[:, None], atol=0.05)


def test_a_divided_grid_covers_the_whole_image_edge_to_edge() -> None:
    """The outer edges of its first and last pixel are those of the image."""
    grid = output_grid('divisor', 7, IMAGE_HW, NETWORK_HW)
    assert grid.size_hw == (17, 22)
    for size, image, scale, offset in zip(grid.size_hw[::-1], IMAGE_HW[::-1], grid.scale_xy,
                                          grid.offset_xy):
        assert -0.5 * scale + offset == pytest.approx(-0.5)
        assert (image - 0.5) * scale + offset == pytest.approx(size - 0.5)


def test_a_divisor_larger_than_the_image_leaves_one_pixel() -> None:
    grid = output_grid('divisor', 16, (8, 40), (14, 70))
    assert grid.size_hw == (1, 2)
    assert depth_on_grid(np.ones((14, 70), np.float32), (8, 40), grid).shape == (1, 2)


def test_an_image_of_one_pixel_has_every_grid() -> None:
    depth = np.full((14, 14), 3.0, np.float32)
    for size in ('input', 'native', 'divisor'):
        grid = output_grid(size, 2, (1, 1), (14, 14))
        assert_array_equal(np.unique(depth_on_grid(depth, (1, 1), grid)), [3.0])
