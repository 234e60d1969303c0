"""Raw images of every encoding become the colours that were packed, whatever the layout."""

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.raw_image import ENCODINGS, read_raw_image
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

HW = (32, 48)
# Large blocks of colour: packing YUV and Bayer patterns loses only what is at their edges.
COLORS = np.array([(200, 60, 40), (40, 180, 70), (50, 60, 210), (128, 128, 128), (20, 200, 220),
                   (230, 230, 230)], np.uint8)
BGR = np.repeat(np.repeat(COLORS.reshape(2, 3, 3), 16, axis=0), 16, axis=1)
INSIDE = np.zeros(HW, bool)
for _row in (8, 24):
    for _column in (8, 24, 40):
        INSIDE[_row - 4:_row + 4, _column - 4:_column + 4] = True
PATTERNS = {'rggb': ((2, 1), (1, 0)), 'bggr': ((0, 1), (1, 2)), 'gbrg': ((1, 0), (2, 1)),
            'grbg': ((1, 2), (0, 1))}
YUV_422 = {'yuv422': 'uyvy', 'uyvy': 'uyvy', 'yuv422_yuy2': 'yuyv', 'yuyv': 'yuyv'}


def yuv(bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y, U, V of ITU-R BT.601 in video range."""
    b, g, r = (bgr[..., channel] / 255 for channel in range(3))
    y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
    u = 128 - 37.797 * r - 74.203 * g + 112 * b
    v = 128 + 112 * r - 93.786 * g - 18.214 * b
    return tuple(np.round(plane).astype(np.uint8) for plane in (y, u, v))


def packed_422(order: str) -> np.ndarray:
    """Return rows of pairs of pixels."""
    y, u, v = yuv(BGR)
    parts = {'y': y[:, ::2], 'u': u[:, ::2], 'v': v[:, ::2]}
    rows = np.zeros((HW[0], 2 * HW[1]), np.uint8)
    for at, letter in enumerate(order):
        rows[:, at::4] = y[:, 1::2] if letter == 'y' and at > 1 else parts[letter]
    return rows


def planes(encoding: str) -> np.ndarray:
    """Return the rows of brightness, then those of chroma."""
    y, u, v = yuv(BGR)
    first, second = (v, u) if encoding == 'nv21' else (u, v)
    step = 1 if encoding == 'nv24' else 2
    chroma = np.stack([first[::step, ::step], second[::step, ::step]], axis=-1)
    return np.concatenate([y, chroma.reshape(-1, HW[1])])


def mosaic(pattern: str, dtype: type = np.uint8) -> np.ndarray:
    """Return one colour per pixel; 16 bits hold the value 257 times."""
    values = np.zeros(HW, dtype)
    for row in range(2):
        for column in range(2):
            channel = PATTERNS[pattern][row][column]
            values[row::2, column::2] = BGR[row::2, column::2, channel].astype(dtype) * (
                257 if dtype is np.uint16 else 1)
    return values


def packed(encoding: str, is_bigendian: bool = False) -> np.ndarray:
    """Return rows [H, bytes] of the picture in any encoding but those with 8-bit channels."""
    if encoding in YUV_422:
        return packed_422(YUV_422[encoding])
    if encoding.startswith('nv'):
        return planes(encoding)
    if encoding.startswith('bayer') and encoding.endswith('8'):
        return mosaic(encoding[6:10])
    if encoding.startswith('bayer'):
        values = mosaic(encoding[6:10], np.uint16)
    else:
        alpha = np.full((*HW, 1), 9, np.uint8)
        pixels = {'mono16': BGR[..., :1], '16UC1': BGR[..., :1], 'bgr16': BGR, '16UC3': BGR,
                  'rgb16': BGR[..., ::-1], 'bgra16': np.dstack([BGR, alpha]),
                  '16UC4': np.dstack([BGR, alpha]),
                  'rgba16': np.dstack([BGR[..., ::-1], alpha])}[encoding]
        values = pixels.reshape(HW[0], -1).astype(np.uint16) * 257
    order = '>u2' if is_bigendian else '<u2'
    return np.ascontiguousarray(values.astype(order)).view(np.uint8).reshape(HW[0], -1)


CONVERTED = [name for name in ENCODINGS if name not in (
    'bgr8', '8UC3', 'rgb8', 'bgra8', '8UC4', 'rgba8', 'mono8', '8UC1')]


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 6])
@pytest.mark.parametrize('encoding', CONVERTED)
def test_the_colours_are_those_that_were_packed(encoding: str, padding: int,
                                                is_bigendian: bool) -> None:
    rows = packed(encoding, is_bigendian)
    if encoding == 'nv24':
        # Rows of chroma have twice the padding of those of brightness.
        bright, chroma = rows[:HW[0]], rows[HW[0]:].reshape(HW[0], -1)
        data = b''.join(np.pad(part, ((0, 0), (0, times * padding)), constant_values=77).tobytes()
                        for part, times in ((bright, 1), (chroma, 2)))
    else:
        data = np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()
    image = read_raw_image(data, encoding, HW, rows.shape[1] + padding, is_bigendian)
    found = to_bgr(image)
    expected = BGR if encoding not in ('mono16', '16UC1') else np.repeat(BGR[..., :1], 3, axis=2)
    assert (found.shape, found.dtype) == (BGR.shape, np.uint8)
    assert_allclose(found[INSIDE].astype(int), expected[INSIDE].astype(int), atol=4)


def test_all_encodings_of_ros_that_hold_colours_are_read() -> None:
    """Those of sensor_msgs/image_encodings.hpp, but for the float and signed ones."""
    assert {*YUV_422, 'nv21', 'nv24', 'mono8', 'mono16', 'bgr8', 'rgb8', 'bgra8', 'rgba8', 'bgr16',
            'rgb16', 'bgra16', 'rgba16', '8UC1', '8UC3', '8UC4', '16UC1', '16UC3', '16UC4',
            *(f'bayer_{name}{bits}' for name in PATTERNS for bits in (8, 16))} <= set(ENCODINGS)


def test_16_bits_use_the_whole_range() -> None:
    for value, expected in ((0, 0), (128, 0), (129, 1), (32896, 128), (65535, 255)):
        data = np.full((4, 4), value, '<u2').tobytes()
        assert_array_equal(read_raw_image(data, 'mono16', (4, 4), 8).pixels, expected)


def test_8_bit_images_are_not_copied() -> None:
    data = BGR.tobytes()
    image = read_raw_image(data, 'rgb8', HW, HW[1] * 3)
    assert np.shares_memory(image.pixels, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize('encoding', CONVERTED)
def test_a_buffer_that_is_too_small_is_refused(encoding: str) -> None:
    """One byte less than the last row needs; its padding is not needed."""
    rows = packed(encoding)
    step = rows.shape[1]
    data = rows.tobytes()
    with pytest.raises(ImageError, match='truncated'):
        read_raw_image(data[:-1], encoding, HW, step)
    with pytest.raises(ImageError, match='step is 7 bytes'):
        read_raw_image(data, encoding, HW, 7)
    with pytest.raises(ImageError, match='empty'):
        read_raw_image(b'', encoding, (0, 0), 0)


@pytest.mark.parametrize('size_hw', [(2, 2), (5, 7), (1, 1)])
def test_each_pixel_of_nv24_has_its_own_colour(size_hw: tuple[int, int]) -> None:
    """Odd sizes too; the last row may lack its padding, in which the step of chroma is twice."""
    height, width = size_hw
    bgr = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    bright, *chroma = yuv(bgr)
    rows = np.zeros((height, width + 6), np.uint8), np.zeros((height, 2 * (width + 6)), np.uint8)
    rows[0][:, :width], rows[1][:, :2 * width] = bright, np.stack(chroma, -1).reshape(height, -1)
    data = b''.join(part.tobytes() for part in rows)
    found = to_bgr(read_raw_image(data[:-12], 'nv24', size_hw, width + 6))
    assert_allclose(found.astype(int), bgr.astype(int), atol=4)


@pytest.mark.parametrize('encoding', [*YUV_422, 'nv12', 'nv21'])
def test_odd_sizes_of_shared_colours_are_refused(encoding: str) -> None:
    with pytest.raises(ImageError, match=f'33x32, but neighbouring {encoding} pixels'):
        read_raw_image(bytes(33 * 32 * 8), encoding, (32, 33), 66)
    if encoding.startswith('nv'):
        with pytest.raises(ImageError, match='32x33, but'):
            read_raw_image(bytes(33 * 32 * 4), encoding, (33, 32), 32)
    else:
        assert read_raw_image(bytes(33 * 32 * 2), encoding, (33, 32), 64).size_hw == (33, 32)


@pytest.mark.parametrize('encoding', ['32FC1', '', 'h264', 'nv16'])
def test_other_encodings_are_refused_with_the_known_ones(encoding: str) -> None:
    with pytest.raises(ImageError, match=f"'{encoding}' cannot be read; known are bgr8, .*nv24"):
        read_raw_image(bytes(100), encoding, (2, 2), 8)


def test_bayer_patterns_are_those_of_opencv_shifted_by_one() -> None:
    """The names of OpenCV begin with the second row and column."""
    values = mosaic('rggb')
    expected = cv2.cvtColor(values, cv2.COLOR_BAYER_BG2BGR)
    assert_array_equal(to_bgr(read_raw_image(values.tobytes(), 'bayer_rggb8', HW, HW[1])),
                       expected)
