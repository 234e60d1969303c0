"""Sizes, resizing and normalising as the reference code of Depth Anything does it."""

from aligned import resize_aligned
from depth_anything_ros.vision.transforms import (
    network_size, normalize, resize_depth, resize_for_network)
import numpy as np
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
    result = resize_for_network(image, (28, 42), out=out)
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
