"""Pictures that break off are refused, whatever the version of OpenCV makes of them."""

from collections.abc import Callable
from contextlib import suppress
import io
import struct
import zlib

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.encoded_image import (
    check_picture, decode_compressed_data, decode_picture, FILE_LIMIT, PixelLimit)
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from photos import with_orientation
import pytest

HW = (120, 160)
RNG = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (*HW, 3), dtype=np.uint8), (0, 0), 3)
DECODERS: list[Callable[[np.ndarray], object]] = [
    decode_picture, lambda data: decode_compressed_data(data, 'bgr8; jpeg compressed bgr8')]
JPEG_OPTIONS = {
    'baseline': [], 'progressive': [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    'restart markers': [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    'best quality': [cv2.IMWRITE_JPEG_QUALITY, 100]}


def encode(suffix: str, options: list[int] | None = None,
           pixels: np.ndarray = PICTURE) -> bytes:
    """Return an encoded picture."""
    return cv2.imencode(suffix, pixels, options or [])[1].tobytes()


def with_thumbnail(jpeg: bytes) -> bytes:
    """Return a JPEG whose Exif segment holds a small JPEG of its own."""
    payload = b'Exif\0\0II*\0\x08\0\0\0\0\0' + encode('.jpg', pixels=PICTURE[:16, :16])
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(payload) + 2) + payload + jpeg[2:]


def os2_bmp() -> bytes:
    """Return a BMP with the header of OS/2, which OpenCV does not write."""
    header = struct.pack('<IHHHH', 12, HW[1], HW[0], 1, 24)
    pixels = PICTURE[::-1].tobytes()
    return b'BM' + struct.pack('<IHHI', 26 + len(pixels), 0, 0, 26) + header + pixels


def tiff(order: str, big: bool = False, orientation: int | None = None) -> bytes:
    """Return a TIFF or BigTIFF of RGB without compression, whose last bytes are its one strip."""
    pixels = PICTURE[..., ::-1].tobytes()
    offset, count = ('Q', 'Q') if big else ('I', 'H')
    mark = {'<': b'II', '>': b'MM'}[order] + (
        struct.pack(f'{order}HHHQ', 43, 8, 0, 16) if big else struct.pack(f'{order}HI', 42, 8))
    values = {256: HW[1], 257: HW[0], 258: 8, 259: 1, 262: 2, 273: 0, 274: orientation, 277: 3,
              278: HW[0], 279: len(pixels)}
    known = {tag: value for tag, value in values.items() if value is not None}
    entry = struct.Struct(f'{order}HH{offset}I{"4x" * big}')
    known[273] = len(mark) + struct.calcsize(f'={count}{offset}') + (
        len(known) * entry.size)
    return (mark + struct.pack(f'{order}{count}', len(known))
            + b''.join(entry.pack(tag, 4, 1, value) for tag, value in known.items())
            + struct.pack(f'{order}{offset}', 0) + pixels)


def array(data: bytes) -> np.ndarray:
    """Return the bytes as OpenCV takes them."""
    return np.frombuffer(data, np.uint8)


ENCODED = {**{f'jpeg, {name}': encode('.jpg', options) for name, options in JPEG_OPTIONS.items()},
           'jpeg, thumbnail': with_thumbnail(encode('.jpg')),
           'jpeg, gray': encode('.jpg', pixels=PICTURE[..., 0]),
           **{suffix: encode(suffix) for suffix in ('.png', '.bmp', '.webp', '.tiff')},
           'tiff, raw': encode('.tiff', [cv2.IMWRITE_TIFF_COMPRESSION, 1]),
           'os2.bmp': os2_bmp(),
           **{f'{name}, raw': tiff(order, big) for name, order, big in (
               ('II', '<', False), ('MM', '>', False), ('big II', '<', True),
               ('big MM', '>', True))},
           'webp, lossless': encode('.webp', [cv2.IMWRITE_WEBP_QUALITY, 101])}


@pytest.mark.parametrize('name', ENCODED)
@pytest.mark.parametrize('decode', DECODERS, ids=['file', 'message'])
def test_whole_pictures_are_decoded_also_with_bytes_behind_them(
        decode: Callable[[np.ndarray], object], name: str) -> None:
    """Drivers fill their buffers up with zeros, phones append data of their own."""
    for rest in (b'', bytes(1000)):
        image = decode(array(ENCODED[name] + rest))
        assert image.size_hw == HW
        whole = PICTURE.mean() if 'gray' not in name else PICTURE[..., 0].mean()
        assert abs(float(image.pixels.mean()) - whole) < 4


@pytest.mark.parametrize('share', [0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize('name', ENCODED)
@pytest.mark.parametrize('decode', DECODERS, ids=['file', 'message'])
def test_a_picture_that_breaks_off_is_refused(
        decode: Callable[[np.ndarray], object], name: str, share: float) -> None:
    """Also if the buffer was filled up with zeros."""
    data = ENCODED[name]
    cut = data[:int(len(data) * share)]
    with pytest.raises(ImageError, match=f'{len(cut)} bytes'):
        decode(array(cut))
    if '.bmp' not in name and 'raw' not in name and 'webp' not in name:
        with pytest.raises(ImageError, match=f'{len(data)} bytes'):
            decode(array(cut + bytes(len(data) - len(cut))))


@pytest.mark.parametrize(('orientation', 'upright_hw'), [(None, HW), (1, HW), (6, None)])
def test_only_a_tiff_that_is_turned_has_an_unknown_size(
        orientation: int | None, upright_hw: tuple[int, int] | None) -> None:
    """Versions of OpenCV differ in whether they turn it."""
    assert check_picture(array(tiff('<', orientation=orientation))).upright_hw == upright_hw


def test_a_jpeg_that_the_next_one_interrupts_is_refused() -> None:
    """So do cameras on a bad cable: the end of the second picture is not that of the first."""
    data = encode('.jpg')
    with pytest.raises(ImageError, match='the JPEG is incomplete'):
        check_picture(array(data[:len(data) // 2] + data))


def test_a_jpeg_without_its_last_two_bytes_is_refused() -> None:
    data = encode('.jpg')
    for cut in (data[:-1], data[:-2]):
        with pytest.raises(ImageError, match='the JPEG is incomplete'):
            check_picture(array(cut))


def test_pictures_of_a_photo_camera_may_be_followed_by_others() -> None:
    """A preview or a film behind the picture is no damage."""
    data = encode('.jpg')
    for rest in (data, b'film without an end', data[:300]):
        assert check_picture(array(data + rest)).size_hw == HW


def test_noise_after_a_known_beginning_is_an_image_error() -> None:
    """Whatever follows, nothing else is raised."""
    starts = (b'\xff\xd8', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'II*\0', b'MM\0*',
              b'II+\0\x08\0\0\0', b'RIFF\0\0\0\0WEBPVP8 ', b'RIFF\0\0\0\0WEBPVP8X')
    rng = np.random.default_rng(1)
    for number in range(600):
        noise = rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8).tobytes()
        data = array(starts[number % len(starts)] + noise)
        for decode in DECODERS:
            with suppress(ImageError):
                decode(data)


def test_damage_inside_never_raises_anything_else() -> None:
    """Each picture with a few changed bytes is decoded or refused."""
    rng = np.random.default_rng(2)
    for data in ENCODED.values():
        for _ in range(10):
            damaged = array(data).copy()
            damaged[rng.integers(2, min(200, len(damaged)), 3)] = rng.integers(0, 256, 3)
            with suppress(ImageError):
                decode_picture(damaged, PixelLimit(1.0, '-'))


def claiming(name: str, height: int, width: int) -> bytes:
    """Return a small picture whose header claims another size."""
    if name == 'jpeg':
        data = encode('.jpg')
        at = data.index(b'\xff\xc0') + 5
        return data[:at] + struct.pack('>HH', height, width) + data[at + 4:]
    if name == 'png':
        body = b'IHDR' + struct.pack('>II', width, height) + b'\x08\x02\0\0\0'
        return (b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + body
                + struct.pack('>I', zlib.crc32(body)) + encode('.png')[33:])
    if name == 'bmp':
        data = encode('.bmp')
        return data[:18] + struct.pack('<ii', width, -height) + data[26:]
    if name == 'webp':
        data = encode('.webp', [cv2.IMWRITE_WEBP_QUALITY, 101])
        return data[:21] + struct.pack('<I', (height - 1) << 14 | width - 1) + data[25:]
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value)
                       for tag, value in ((256, width), (257, height), (273, 8), (279, 8)))
    return b'II*\0\x08\0\0\0' + struct.pack('<H', 4) + entries + bytes(4)


@pytest.mark.parametrize('name', ['jpeg', 'png', 'bmp', 'webp', 'tiff'])
@pytest.mark.parametrize('decode', DECODERS, ids=['file', 'message'])
def test_a_size_that_would_fill_the_memory_is_refused_before_decoding(
        decode: Callable[[np.ndarray], object], name: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """By its header; the limit and the remedy are named."""
    monkeypatch.setattr(cv2, 'imdecode', None)
    height, width = (16000, 16001) if name == 'webp' else (20000, 30000)
    with pytest.raises(ImageError, match=f'{width}x{height} .*more than 250 megapixels; if it'):
        decode(array(claiming(name, height, width)))


def test_a_limit_allows_what_it_says() -> None:
    data = array(encode('.jpg'))
    pixels = HW[0] * HW[1] / 1e6
    assert decode_picture(data, PixelLimit(pixels, 'reduce it')).size_hw == HW
    with pytest.raises(ImageError, match='160x120 pixels .*than 0.0191 megapixels; reduce it'):
        decode_picture(data, PixelLimit(0.0191, 'reduce it'))
    assert FILE_LIMIT.megapixels >= 200, 'telephones make such pictures'


def test_a_damaged_header_says_so() -> None:
    with pytest.raises(ImageError, match='the header of the JPEG is damaged'):
        check_picture(array(b'\xff\xd8\xff\xe0' + bytes(30)))


def test_other_formats_are_left_to_opencv_in_files_and_refused_in_messages() -> None:
    data = array(encode('.ppm'))
    assert decode_picture(data).size_hw == HW
    with pytest.raises(ImageError, match=r"format 'ppm', \d+ bytes.*not one of JPEG, PNG"):
        decode_compressed_data(data, 'ppm')


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_message_is_not_turned_upright_but_a_file_is(orientation: int) -> None:
    """As by image_transport: camera_info describes the picture as it is stored."""
    jpeg = encode('.jpg', pixels=PICTURE)
    plain = cv2.imdecode(array(jpeg), cv2.IMREAD_COLOR)
    photo = array(with_orientation(jpeg, orientation))
    assert_array_equal(decode_compressed_data(photo, 'jpeg').pixels, plain)
    upright = decode_picture(photo)
    assert upright.size_hw == (HW if orientation < 5 else HW[::-1])
    assert (orientation == 1) == np.array_equal(upright.pixels, plain)


@pytest.mark.parametrize(('message_format', 'start', 'fact'), [
    ('16UC1; compressedDepth png', bytes(12) + encode('.png'), 'depth .*colour topic'),
    ('32FC1; compressedDepth', bytes(40), 'depth .*colour topic'),
    ('16UC1; compressedDepth rvl', bytes(40), 'depth .*colour topic'),
    ('png', bytes(12) + encode('.png'), 'depth .*colour topic'),
    ('h264', b'abcdefgh', 'video .*publish JPEG'), ('H.265', b'abcdefgh', 'video .*publish JPEG'),
    ('bgr8; hevc', b'abcdefgh', 'video .*publish JPEG'),
    ('jpeg', b'\0\0\0\1\x67' + bytes(9), 'video .*publish JPEG'),
    ('', b'\0\0\1\x67' + bytes(9), 'video .*publish JPEG'),
    ('mjpeg', b'abcdefgh', 'not one of JPEG'), ('jxl', b'abcdefgh', 'not one of JPEG')])
def test_depth_and_video_in_compressed_messages_are_named(
        message_format: str, start: bytes, fact: str) -> None:
    with pytest.raises(ImageError, match=fact) as caught:
        decode_compressed_data(array(start), message_format)
    assert repr(message_format) in str(caught.value)


# Smooth, so that neither a Bayer pattern nor JPEG changes much.
ROWS, COLUMNS = np.mgrid[:32, :48]
SCENE = np.stack([40 + 2 * COLUMNS, 200 - 3 * ROWS, 100 + ROWS + COLUMNS], -1).astype(np.uint8)
PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')


def published(encoding: str) -> np.ndarray:
    """Return the scene in an encoding of sensor_msgs/Image."""
    if encoding.startswith('bayer'):
        values = np.zeros(SCENE.shape[:2], np.uint8)
        for place, color in enumerate(encoding[6:10]):
            row, column = divmod(place, 2)
            values[row::2, column::2] = SCENE[row::2, column::2, 'bgr'.index(color)]
    else:
        values = SCENE[..., ::-1] if encoding.startswith('rgb') else SCENE
    return np.ascontiguousarray(values * np.uint16(257) if encoding.endswith('16') else values)


@pytest.mark.parametrize(('message_format', 'suffix', 'stored'), [
    *((f'{raw}; {codec} compressed {stored}', suffix, stored) for raw in ('bgr8', 'rgb8', 'rgba8')
      for codec, suffix in (('jpeg', '.jpg'), ('png', '.png')) for stored in ('bgr8', 'rgb8')),
    ('rgb16; png compressed rgb16', '.png', 'rgb16'), ('rgb8; tiff compressed ', '.tiff', 'rgb8'),
    ('bgr8; tiff compressed ', '.tiff', 'bgr8'), ('jpeg', '.jpg', 'bgr8'), ('', '.png', 'bgr8'),
    *((f'bayer_{name}{bits}; png compressed ', '.png', f'bayer_{name}{bits}')
      for name in PATTERNS for bits in (8, 16)),
    ('bayer_grbg8; jpeg compressed bayer_grbg8', '.jpg', 'bayer_grbg8'),
    ('bayer_grbg8; jpeg compressed bgr8', '.jpg', 'bgr8'),
    ('bayer_grbg8; png compressed ', '.png', 'bgr8')])
def test_the_format_names_the_order_of_the_compressed_pixels(
        message_format: str, suffix: str, stored: str) -> None:
    """By sensor_msgs/CompressedImage, and as image_transport fills it in."""
    data = array(encode(suffix, pixels=published(stored)))
    found = to_bgr(decode_compressed_data(data, message_format))
    inside = (slice(2, -2), slice(2, -2))
    assert_allclose(found[inside].astype(int), SCENE[inside].astype(int), atol=12)


def test_a_picture_is_decoded_whatever_the_format_says() -> None:
    assert decode_compressed_data(array(encode('.jpg')), 'h264').size_hw == HW


def test_the_bytes_are_not_changed() -> None:
    data = encode('.png')
    stream = io.BytesIO(data)
    check_picture(np.frombuffer(stream.getbuffer(), np.uint8))
    assert stream.getvalue() == data
