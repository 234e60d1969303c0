"""The test image is the same on every machine and wrong outputs of a driver are noticed."""

import hashlib
import math

from depth_anything_ros.model_info import SELF_CHECK_GRID_HW, SELF_CHECK_SIZE_HW
from depth_anything_ros.vision.self_check import deviation, make_self_check, self_check_image
import numpy as np
import pytest

# Every IR holds the output for exactly this image. Another one needs another FORMAT_VERSION.
IMAGE_SHA256 = '1e4561cfd6588865e9596667224791a70d14e2c2263424f245f75bf0b5d53b06'


def scene() -> np.ndarray:
    """Return a plausible output for the test image: nearer towards the lower edge."""
    height, width = SELF_CHECK_SIZE_HW
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return y / height * 3 + x / width + self_check_image()[..., 2].astype(np.float32) / 255


def test_the_image_is_the_one_that_every_ir_was_made_with() -> None:
    image = self_check_image()
    assert image.shape == (*SELF_CHECK_SIZE_HW, 3) and image.dtype == np.uint8
    assert hashlib.sha256(image.tobytes()).hexdigest() == IMAGE_SHA256


@pytest.mark.parametrize('size_hw', [(14, 14), (518, 686), (98, 126)])
def test_the_image_can_be_drawn_in_any_size_and_is_never_flat(size_hw: tuple[int, int]) -> None:
    image = self_check_image(size_hw)
    assert image.shape == (*size_hw, 3) and image.dtype == np.uint8
    assert image.std() > 20


def test_both_sides_of_the_image_fit_the_network() -> None:
    assert [side % 14 for side in SELF_CHECK_SIZE_HW] == [0, 0]


def test_an_output_does_not_deviate_from_itself() -> None:
    check = make_self_check(scene())
    assert check.size_hw == SELF_CHECK_SIZE_HW
    assert len(check.samples) == math.prod(SELF_CHECK_GRID_HW)
    assert deviation(check, scene()) == 0


def test_the_deviation_is_in_standard_deviations_of_the_output() -> None:
    check = make_self_check(scene())
    assert check.std == pytest.approx(float(scene().std()))
    moved = (scene() + np.float32(0.25 * check.std)).astype(np.float32)
    assert deviation(check, moved) == pytest.approx(0.25, rel=1e-4)


def test_samples_lie_in_the_middle_of_equal_cells() -> None:
    output = np.arange(14 * 18, dtype=np.float32).reshape(14, 18)
    expected = output[1::2, 1::2]
    samples = np.reshape(make_self_check(output).samples, SELF_CHECK_GRID_HW)
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize('wrong', [
    lambda output: output[::-1], lambda output: output[:, ::-1], lambda output: -output,
    lambda output: np.zeros_like(output), lambda output: output * 2,
    lambda output: np.roll(output, 60, axis=0)],
    ids=['upside down', 'mirrored', 'negative', 'zero', 'doubled', 'shifted'])
def test_a_wrong_output_deviates_by_more_than_a_device_may(wrong: type) -> None:
    assert deviation(make_self_check(scene()), wrong(scene())) > 0.2


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_one_value_that_is_not_finite_is_an_infinite_deviation(value: float) -> None:
    output = scene()
    output[0, 0] = value
    assert deviation(make_self_check(scene()), output) == math.inf
    with pytest.raises(ValueError, match='finite'):
        make_self_check(output)


def test_an_output_of_another_size_is_an_infinite_deviation() -> None:
    assert deviation(make_self_check(scene()), scene()[:-1]) == math.inf
    with pytest.raises(ValueError, match='H, W'):
        make_self_check(scene()[None])


def test_a_smaller_output_is_compared_at_its_own_size() -> None:
    output = np.ascontiguousarray(scene()[::2, ::2])
    check = make_self_check(output, SELF_CHECK_SIZE_HW)
    assert check.size_hw == SELF_CHECK_SIZE_HW
    assert deviation(check, output, (98, 126)) == 0
    assert deviation(check, output) == deviation(check, scene(), (98, 126)) == math.inf


@pytest.mark.filterwarnings('error')
def test_a_flat_expectation_is_compared_without_dividing_by_zero() -> None:
    flat = np.zeros(SELF_CHECK_SIZE_HW, np.float32)
    assert deviation(make_self_check(flat), flat) == 0
    assert deviation(make_self_check(flat), scene()) > 1
