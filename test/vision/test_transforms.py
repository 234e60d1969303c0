"""Sizes, resizing and normalization of the reference, and the grids of published maps."""

from aligned import resize_aligned
from depth_anything_ros.model_info import InputRule
from depth_anything_ros.vision.transforms import (
    crop_to_aspect, depth_on_grid, network_image, network_size, normalize, output_grid, OutputGrid,
    resize_depth, resize_for_network)
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest


def reference_size(image_hw: tuple[int, int], input_size: int) -> tuple[int, int]:
    """Restate the reference: keep the aspect ratio, lower bound, multiples of 14."""
    height, width = image_hw
    scale_height, scale_width = input_size / height, input_size / width
    if scale_width > scale_height:
        scale_height = scale_width
    else:
        scale_width = scale_height

    def constrain(side: float) -> int:
        result = int(np.round(side / 14) * 14)
        return int(np.ceil(side / 14) * 14) if result < input_size else result

    return constrain(scale_height * height), constrain(scale_width * width)


@pytest.mark.parametrize(('image_hw', 'input_size', 'expected_hw'), [
    ((480, 640), 518, (518, 686)),
    ((720, 1280), 518, (518, 924)),
    ((640, 480), 518, (686, 518)),
    ((1280, 720), 518, (924, 518)),
    ((518, 518), 518, (518, 518)),
    ((480, 640), 252, (252, 336)),
    ((1, 1), 14, (14, 14)),
    ((100, 1000), 28, (28, 280))])
def test_the_network_size_keeps_the_aspect_in_multiples_of_14(
        image_hw: tuple[int, int], input_size: int, expected_hw: tuple[int, int]) -> None:
    assert network_size(image_hw, input_size) == expected_hw


@pytest.mark.parametrize(('width', 'expected'), [(35, 28), (49, 56), (63, 56), (77, 84)])
def test_a_side_halfway_between_two_multiples_goes_to_the_even_one(
        width: int, expected: int) -> None:
    assert network_size((28, width), 28) == (28, expected)


def test_a_short_side_that_would_round_below_the_input_size_goes_up() -> None:
    assert network_size((480, 640), 500) == (504, 672)
    assert network_size((480, 640), 495) == (504, 658)


def test_another_patch_size_gives_multiples_of_that() -> None:
    assert network_size((480, 640), 512, multiple=32) == (512, 672)


def test_any_size_agrees_with_the_reference_rule() -> None:
    rng = np.random.default_rng(7)
    cases = [(tuple(int(side) for side in rng.integers(1, 4000, 2)),
              int(rng.integers(14, 1100))) for _ in range(3000)]
    wrong = [(image_hw, size) for image_hw, size in cases
             if network_size(image_hw, size) != reference_size(image_hw, size)]
    assert wrong == []


@pytest.mark.parametrize(('image_hw', 'input_size'), [((0, 5), 14), ((5, 0), 14), ((5, 5), 0)])
def test_a_size_of_nothing_is_refused(image_hw: tuple[int, int], input_size: int) -> None:
    with pytest.raises(ValueError, match='must be positive'):
        network_size(image_hw, input_size)


def test_an_image_is_resized_into_the_given_buffer() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    out = np.zeros((28, 42, 3), np.uint8)
    result = network_image(image, InputRule(14), (28, 42), out)
    assert np.shares_memory(result, out)
    assert np.array_equal(out, resize_for_network(image, (28, 42)))
    assert out.any()


def test_an_image_is_resized_by_cubic_interpolation() -> None:
    step = np.repeat(np.uint8([60, 190]), 20)[None, :, None].repeat(8, axis=0).repeat(3, axis=2)
    enlarged = resize_for_network(np.ascontiguousarray(step), (16, 160))
    assert enlarged.shape == (16, 160, 3)
    assert enlarged.min() < 60 and enlarged.max() > 190


@pytest.mark.parametrize('size_hw', [(48, 64), (11, 90), (5, 7), (1, 1), (1, 30), (9, 1)])
def test_depth_is_resized_bilinearly_with_aligned_corners(size_hw: tuple[int, int]) -> None:
    depth = np.random.default_rng(1).normal(5, 2, (14, 21)).astype(np.float32)
    resized = resize_depth(depth, size_hw)
    assert resized.shape == size_hw and resized.dtype == np.float32
    np.testing.assert_allclose(resized, resize_aligned(depth, size_hw), atol=2e-6 * 5)


def test_the_corners_of_a_resized_map_are_those_of_the_map() -> None:
    depth = np.random.default_rng(2).normal(size=(14, 28)).astype(np.float32)
    resized = resize_depth(depth, (97, 131))
    assert np.array_equal(resized[::96, ::130], depth[::13, ::27])


def test_a_map_of_one_pixel_fills_the_image() -> None:
    assert np.array_equal(resize_depth(np.float32([[3.5]]), (4, 5)), np.full((4, 5), 3.5))


def test_a_resize_leaves_the_map_unchanged() -> None:
    depth = np.random.default_rng(3).normal(size=(14, 28)).astype(np.float32)
    before = depth.copy()
    resize_depth(depth, (30, 60))
    resize_depth(depth, (14, 56))
    assert np.array_equal(depth, before)


def test_normalising_gives_rgb_planes_in_standard_deviations() -> None:
    image_bgr = np.zeros((2, 3, 3), np.uint8)
    image_bgr[0, 1] = (0, 51, 255)
    tensor = normalize(image_bgr, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
    assert tensor.shape == (1, 3, 2, 3) and tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[0, :, 0, 1], [2.0, -1.0, -3.0], rtol=1e-6)
    np.testing.assert_allclose(tensor[0, :, 1, 2], [-2.0, -2.0, -3.0], rtol=1e-6)


IMAGE_HW, NETWORK_HW = (120, 160), (112, 154)


def ramp(size_hw: tuple[int, int]) -> np.ndarray:
    """Return a map that is column + 1000 * row of the image, on the network's grid over it."""
    rows = np.linspace(0, IMAGE_HW[0] - 1, size_hw[0])
    columns = np.linspace(0, IMAGE_HW[1] - 1, size_hw[1])
    return (columns[None, :] + 1000 * rows[:, None]).astype(np.float32)


def test_input_is_the_image_and_the_reference_resize() -> None:
    grid = output_grid('input', 4, IMAGE_HW, NETWORK_HW)
    assert grid == OutputGrid(IMAGE_HW)
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


@pytest.mark.parametrize(('aspect_hw', 'view'), [
    ((1, 1), np.s_[:, 30:70]), ((40, 100), np.s_[:, :]), ((20, 100), np.s_[10:30, :]),
    ((392, 518), np.s_[:, 23:76]), ((1, 1000), np.s_[19:20, :]), ((1000, 1), np.s_[:, 49:50])])
def test_a_view_of_another_aspect_ratio_is_the_largest_in_the_middle(
        aspect_hw: tuple[int, int], view: tuple[slice, slice]) -> None:
    image = np.arange(4000, dtype=np.uint16).reshape(40, 100, 1)
    assert_array_equal(crop_to_aspect(image, aspect_hw), image[view])
