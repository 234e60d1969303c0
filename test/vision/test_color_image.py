"""Views of raw image buffers: every encoding, no copy, and errors for broken buffers."""

from array import array

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.color_image import (
    check_layout, ColorImage, ORDERS, to_bgr, view_image)
import numpy as np
import pytest

SIZE_HW = (5, 7)
KNOWN_ORDERS = {'bgr8': 'bgr', '8UC3': 'bgr', 'rgb8': 'rgb', 'bgra8': 'bgra', '8UC4': 'bgra',
                'rgba8': 'rgba', 'mono8': 'mono', '8UC1': 'mono'}
CHANNELS = {name: 1 if order == 'mono' else len(order) for name, order in KNOWN_ORDERS.items()}


def picture(channels: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Return random pixels [H, W, C], or [H, W] for one channel."""
    shape = (*size_hw, channels) if channels > 1 else size_hw
    return np.random.default_rng(channels).integers(0, 256, shape, dtype=np.uint8)


def test_this_file_knows_every_encoding() -> None:
    assert set(KNOWN_ORDERS) == set(ORDERS)


@pytest.mark.parametrize('padding', [0, 1, 13])
@pytest.mark.parametrize('encoding', CHANNELS)
def test_the_pixels_are_read_whatever_the_padding_of_a_row(encoding: str, padding: int) -> None:
    pixels = picture(CHANNELS[encoding])
    rows = pixels.reshape(SIZE_HW[0], -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=255).tobytes()
    image = view_image(data, encoding, SIZE_HW, rows.shape[1] + padding)
    assert image.order == KNOWN_ORDERS[encoding] and image.size_hw == SIZE_HW
    assert np.array_equal(image.pixels, pixels)


def test_the_last_row_needs_no_padding() -> None:
    pixels = picture(3)
    data = np.pad(pixels.reshape(5, -1), ((0, 0), (0, 4))).tobytes()[:-4]
    assert np.array_equal(view_image(data, 'bgr8', SIZE_HW, 25).pixels, pixels)


@pytest.mark.parametrize('make', [bytearray, lambda data: array('B', data), bytes, memoryview,
                                  lambda data: np.frombuffer(data, np.uint8)])
def test_nothing_is_copied(make: type) -> None:
    buffer = make(picture(3).tobytes())
    image = view_image(buffer, 'rgb8', SIZE_HW, 21)
    assert np.shares_memory(image.pixels, np.frombuffer(buffer, np.uint8))
    assert np.shares_memory(view_image(buffer, 'mono8', (4, 20), 25).pixels, image.pixels)


def test_a_write_to_the_buffer_shows_in_the_view() -> None:
    buffer = bytearray(picture(3).tobytes())
    image = view_image(buffer, 'bgr8', SIZE_HW, 21)
    buffer[2 * 21 + 3 * 3 + 1] ^= 0xFF
    assert image.pixels[2, 3, 1] == picture(3)[2, 3, 1] ^ 0xFF


def test_a_view_of_memory_that_is_read_only_cannot_be_written() -> None:
    image = view_image(picture(3).tobytes(), 'bgr8', SIZE_HW, 21)
    with pytest.raises(ValueError, match='read-only'):
        image.pixels[0, 0, 0] = 1


@pytest.mark.parametrize(('size_hw', 'step', 'data_bytes', 'message'), [
    (SIZE_HW, 21, 104, 'data has 104 bytes, but 5 rows of step 21 need 105; .*truncated'),
    (SIZE_HW, 21, 0, 'data has 0 bytes'),
    (SIZE_HW, 20, 105, 'step is 20 bytes, but 7 bgr8 pixels need 21; .*publisher'),
    (SIZE_HW, 0, 105, 'step is 0 bytes'),
    ((0, 7), 21, 0, 'empty .7x0.*camera driver'),
    ((5, 0), 0, 0, 'empty .0x5.*camera driver')])
def test_a_broken_buffer_is_refused_with_its_numbers(
        size_hw: tuple[int, int], step: int, data_bytes: int, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        view_image(bytes(data_bytes), 'bgr8', size_hw, step)


def test_an_encoding_that_is_not_raw_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ImageError, match="'32FC1'") as error:
        view_image(bytes(1000), '32FC1', SIZE_HW, 28)
    assert [name for name in CHANNELS if name not in str(error.value)] == []


def test_a_layout_counts_the_bytes_of_a_pixel() -> None:
    check_layout('yuv422', (2, 4), 8, 16, 2)
    with pytest.raises(ImageError, match='truncated'):
        check_layout('yuv422', (2, 4), 8, 15, 2)


@pytest.mark.parametrize('into_buffer', [False, True])
@pytest.mark.parametrize('order', ['bgr', 'rgb', 'bgra', 'rgba', 'mono'])
def test_every_order_becomes_bgr(order: str, into_buffer: bool) -> None:
    bgr = picture(3)
    alpha = np.full((*SIZE_HW, 1), 9, np.uint8)
    pixels = {'bgr': bgr, 'rgb': bgr[..., ::-1], 'bgra': np.dstack([bgr, alpha]),
              'rgba': np.dstack([bgr[..., ::-1], alpha]), 'mono': bgr[..., 0]}[order]
    expected = np.repeat(bgr[..., :1], 3, axis=2) if order == 'mono' else bgr
    out = np.zeros_like(bgr) if into_buffer else None
    result = to_bgr(ColorImage(np.ascontiguousarray(pixels), order), out)  # type: ignore[arg-type]
    assert np.array_equal(result, expected)
    assert out is None or (np.shares_memory(result, out) and np.array_equal(out, expected))


def test_bgr_stays_where_it_is() -> None:
    image = ColorImage(picture(3), 'bgr')
    assert to_bgr(image) is image.pixels


def test_padded_rows_can_be_converted_and_resized() -> None:
    pixels = picture(3, (30, 41))
    data = np.pad(pixels.reshape(30, -1), ((0, 0), (0, 5)), constant_values=77).tobytes()
    image = view_image(data, 'rgb8', (30, 41), 41 * 3 + 5)
    assert np.array_equal(to_bgr(image), pixels[..., ::-1])
    assert np.array_equal(cv2.resize(image.pixels, (20, 15)), cv2.resize(pixels, (20, 15)))
