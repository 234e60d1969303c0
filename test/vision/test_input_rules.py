"""Sizes, letterboxes and focal lengths of networks that are not Depth Anything V1 and V2."""

from dataclasses import replace
import random

import cv2
from depth_anything_ros.model_info import InputRule, Resize
from depth_anything_ros.vision.geometry import (
    focal_scale, image_focal_scale, Intrinsics)
from depth_anything_ros.vision.transforms import (
    Content, cut_borders, image_content, model_input_hw, network_image, rule_input_hw)
import numpy as np
import pytest
from tiny import TINY_INFO

RNG = np.random.default_rng(0)


def longest_side_reference(image_hw: tuple[int, int], size: int, multiple: int) -> list[int]:
    """Return the sizes that the published code of Depth Anything 3 gives, step by step."""
    scale, result = size / max(image_hw), []
    for side in image_hw:
        resized = max(1, int(round(side * scale)))
        down = resized // multiple * multiple
        up = down + multiple
        result.append(max(multiple, up if abs(up - resized) <= abs(resized - down) else down))
    return result


def test_the_longest_side_follows_the_published_code() -> None:
    chooser = random.Random(0)
    assert rule_input_hw(InputRule(14, 'longest_side'), (480, 640), 504) == (378, 504)
    for _ in range(500):
        image_hw = chooser.randint(20, 4000), chooser.randint(20, 4000)
        size, multiple = chooser.randint(40, 1000), chooser.choice((8, 14, 16, 32))
        found = rule_input_hw(InputRule(multiple, 'longest_side'), image_hw, size)
        assert list(found) == longest_side_reference(image_hw, size, multiple)


@pytest.mark.parametrize(('resize', 'input_size', 'expected'), [
    ('stretch', 320, (320, 320)), ('letterbox', 320, (320, 320)), ('stretch', 300, (320, 320)),
    ('shortest_side', 320, (320, 416)), ('longest_side', 320, (256, 320))])
def test_every_rule_gives_multiples(
        resize: Resize, input_size: int, expected: tuple[int, int]) -> None:
    assert rule_input_hw(InputRule(32, resize), (480, 640), input_size) == expected


@pytest.mark.parametrize('resize', ['shortest_side', 'longest_side', 'stretch', 'letterbox'])
def test_sides_stay_within_the_limits_of_a_network(resize: Resize) -> None:
    chooser = random.Random(0)
    rule = InputRule(16, resize, side_limits=(100, 500))
    for _ in range(200):
        image_hw = chooser.randint(20, 4000), chooser.randint(20, 4000)
        for side in rule_input_hw(rule, image_hw, chooser.randint(20, 2000)):
            assert 100 <= side <= 500
            assert side % 16 == 0


def test_a_fixed_size_wins_over_every_rule() -> None:
    info = replace(TINY_INFO, resize='longest_side', fixed_size_hw=(56, 70))
    assert model_input_hw(info, (480, 640)) == (56, 70)


def letterbox_reference(image: np.ndarray, network_hw: tuple[int, int]) -> np.ndarray:
    """Return the letterbox of ultralytics, pixel by pixel."""
    height, width = image.shape[:2]
    scale = min(network_hw[0] / height, network_hw[1] / width)
    inner = round(height * scale), round(width * scale)
    top = round((network_hw[0] - inner[0]) / 2 - 0.1)
    left = round((network_hw[1] - inner[1]) / 2 - 0.1)
    resized = cv2.resize(image, inner[::-1], interpolation=cv2.INTER_LINEAR)
    result = np.zeros((*network_hw, 3), np.uint8)
    for row in range(network_hw[0]):
        for column in range(network_hw[1]):
            inside = 0 <= row - top < inner[0] and 0 <= column - left < inner[1]
            result[row, column] = resized[row - top, column - left] if inside else 114
    return result


@pytest.mark.parametrize(('image_hw', 'network_hw'), [
    ((30, 40), (32, 32)), ((40, 30), (32, 32)), ((27, 64), (32, 48)), ((32, 32), (32, 32)),
    ((101, 7), (32, 32)), ((15, 20), (33, 47))])
def test_a_letterbox_is_that_of_the_reference(
        image_hw: tuple[int, int], network_hw: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (*image_hw, 3), np.uint8)
    rule = InputRule(1, 'letterbox', 'linear')
    expected = letterbox_reference(image, network_hw)
    np.testing.assert_array_equal(network_image(image, rule, network_hw), expected)
    buffer = np.empty((*network_hw, 3), np.uint8)
    assert network_image(image, rule, network_hw, out=buffer) is buffer
    np.testing.assert_array_equal(buffer, expected)
    gray = network_image(image[..., 0], rule, network_hw)
    np.testing.assert_array_equal(gray, expected[..., 0])


def test_the_map_of_a_letterbox_loses_exactly_its_borders() -> None:
    rule = InputRule(1, 'letterbox', 'linear')
    for image_hw, network_hw in (((30, 40), (32, 32)), ((27, 64), (32, 48)), ((40, 9), (31, 32))):
        marked = network_image(np.full((*image_hw, 3), 200, np.uint8), rule, network_hw)[..., 0]
        content = image_content(rule, image_hw, network_hw)
        cut = cut_borders(marked.astype(np.float32), content, network_hw)
        assert (cut == 200).all()
        assert cut.size == (marked == 200).sum()


@pytest.mark.parametrize('content', [
    Content(4, 0, 24, 32), Content(3, 5, 17, 20), Content(15, 0, 1, 32)])
@pytest.mark.parametrize('shape', [(8, 8), (16, 16), (64, 64)])
def test_a_map_of_another_size_is_cut_at_the_edges_of_the_image(
        content: Content, shape: tuple[int, int]) -> None:
    """A map that is linear in the position shows where each of its pixels was taken."""
    ratio = shape[0] / 32
    positions = (np.arange(shape[0], dtype=np.float32) + 0.5) / ratio
    depth = positions[:, None] * 1000 + positions[None]
    cut = cut_borders(depth, content, (32, 32))
    rows = max(1, round(content.height * ratio))
    columns = max(1, round(content.width * ratio))
    assert cut.shape == (rows, columns)
    for row in range(rows):
        for column in range(columns):
            y = content.top + (row + 0.5) * content.height / rows
            x = content.left + (column + 0.5) * content.width / columns
            y, x = (min(max(value, positions[0]), positions[-1]) for value in (y, x))
            assert cut[row, column] == pytest.approx(y * 1000 + x, rel=1e-5)


@pytest.mark.parametrize(('interpolation', 'image_hw', 'expected'), [
    ('area', (80, 80), cv2.INTER_AREA), ('area', (20, 20), cv2.INTER_CUBIC),
    ('linear', (80, 80), cv2.INTER_LINEAR), ('cubic', (80, 80), cv2.INTER_CUBIC)])
def test_images_are_resized_as_the_network_expects(
        interpolation: str, image_hw: tuple[int, int], expected: int) -> None:
    image = RNG.integers(0, 256, (*image_hw, 3), np.uint8)
    found = network_image(image, InputRule(1, 'stretch', interpolation), (32, 48))
    np.testing.assert_array_equal(found, cv2.resize(image, (48, 32), interpolation=expected))


CAMERA = Intrinsics(500.0, 520.0, 320.0, 240.0, (480, 640))


@pytest.mark.parametrize(('depth_hw', 'changes', 'network_hw'), [
    ((378, 504), {}, (378, 504)), ((216, 288), {'output_multiple': 8}, (378, 504)),
    ((280, 504), {'resize': 'stretch'}, (280, 504))])
def test_metres_are_the_output_times_the_focal_length_of_the_networks_image(
        depth_hw: tuple[int, int], changes: dict[str, object],
        network_hw: tuple[int, int]) -> None:
    """Compare with metres = output * f / 300, where the camera matrix is resized as the image."""
    info = replace(TINY_INFO, focal_px=300.0, **changes)
    matrix = np.diag([network_hw[1] / 640, network_hw[0] / 480, 1.0]) @ np.array(
        [[500.0, 0, 320], [0, 520.0, 240], [0, 0, 1]])
    output = 1.7
    metres = output * (matrix[0, 0] + matrix[1, 1]) / 2 / 300
    assert 1 / (focal_scale(info, CAMERA, depth_hw) / output) == pytest.approx(metres)


@pytest.mark.parametrize('image_hw', [(720, 1280), (359, 640), (640, 250)])
def test_metres_of_a_letterbox_do_not_depend_on_the_size_of_the_output(
        image_hw: tuple[int, int]) -> None:
    """The borders end within a pixel of an output that is smaller than the input."""
    info = replace(TINY_INFO, focal_px=300.0, resize='letterbox', patch_multiple=32)
    camera = Intrinsics(500.0, 520.0, 320.0, 240.0, image_hw)
    scale = 256 / max(image_hw)
    for output_multiple in (None, 8, 1):
        found = image_focal_scale(replace(info, output_multiple=output_multiple), camera, 256)
        assert found == pytest.approx(300 / (510 * scale), rel=3e-3)
