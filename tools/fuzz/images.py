"""Broken and odd images: raw and compressed messages, and their camera_info."""

from io import BytesIO
from random import Random
import struct
import zlib

import cv2
from depth_anything_ros.arrays import AnyArray
from depth_anything_ros.vision.raw_image import ENCODINGS
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

# Few sizes, because each new one is compiled; the last ones cannot be computed.
SIZES_HW = ((60, 80), (48, 64), (64, 48), (33, 47), (120, 160), (1, 1), (2, 64), (64, 2), (0, 5))
_GOOD_SIZES = 3
_FOREIGN_ENCODINGS = ('', 'notes', '32FC1', '64FC4', '8UC', '8UC999', 'BGR8', 'bgr8 ',
                      'bayer_rggb', 'jpeg', 'yuv', '8SC3', '32SC1', 'é' * 40, 'x' * 3000,
                      '%s%n', '../bgr8')
_EXTREMES = (0, 1, 2, 3, 255, 65535, 2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1)
_NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 1e6, float('nan'), float('inf'),
            float('-inf'))
_MODELS = ('plumb_bob', 'rational_polynomial', 'equidistant', 'fisheye', 'thin_prism', '',
           'PLUMB_BOB', 'kannala_brandt4', 'é' * 30)
_SUFFIXES = ('.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm', '.pgm', '.jp2')
_FORMATS = ('jpeg', 'png', 'bgr8; jpeg compressed bgr8', 'rgb8; png compressed ', 'tiff', '',
            'h264', '16UC1; compressedDepth', 'avif', 'é' * 30, 'x' * 3000)
_WRONG_STARTS = (b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'RIFF\0\0\0\0WEBP', b'GIF89a',
                 b'II*\0', b'MM\0*', b'P6\n', b'\0\0\0\1', b'\0\0\0\x0cjP  ', b'<!DOCTYPE html>')


def header(rng: Random, stamp_ns: int, frames: tuple[str, ...] = ('camera',)) -> Header:
    """Return a header, of which one in ten has an odd stamp or frame."""
    result = Header(frame_id=rng.choice(frames))
    result.stamp.sec, result.stamp.nanosec = divmod(stamp_ns, 10 ** 9)
    if rng.random() < 0.05:
        result.stamp.sec = rng.choice((-2 ** 31, -1, 0, 2 ** 31 - 1))
        result.stamp.nanosec = rng.choice((0, 10 ** 9, 2 ** 32 - 1))
    if rng.random() < 0.05:
        result.frame_id = rng.choice(('', '/', 'a b', 'é' * 100, 'x' * 5000, '\n', 'a\tb'))
    return result


def raw_image(rng: Random, stamp_ns: int) -> Image:
    """Return an image in any encoding with up to three fields that do not fit, or a good one."""
    if rng.random() < 0.3:
        return good_image(rng, stamp_ns)
    height, width = rng.choice(SIZES_HW)
    encoding = rng.choice(ENCODINGS)
    pixel_bytes = rng.choice((1, 2, 3, 4, 6, 8))
    step = width * pixel_bytes + rng.choice((0, 0, 1, 7, 64))
    message = Image(header=header(rng, stamp_ns), height=height, width=width, encoding=encoding,
                    is_bigendian=rng.choice((0, 1, 255)), step=step,
                    data=_bytes(rng, step * height * rng.choice((1, 1, 1, 2))))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        _break_image(rng, message)
    return message


def _break_image(rng: Random, message: Image) -> None:
    field = rng.choice(('height', 'width', 'step', 'encoding', 'cut', 'longer', 'empty'))
    if field == 'encoding':
        message.encoding = rng.choice(_FOREIGN_ENCODINGS)
    elif field == 'cut':
        message.data = message.data[:rng.randrange(len(message.data) + 1)]
    elif field == 'longer':
        message.data = bytes(message.data) + _bytes(rng, rng.choice((1, 100, 10_000)))
    elif field == 'empty':
        message.data = b''
    else:
        near = getattr(message, field) + rng.choice((-1, 1))
        setattr(message, field, rng.choice((*_EXTREMES, max(0, near))))


def compressed_image(rng: Random, stamp_ns: int) -> CompressedImage:
    """Return a picture that is damaged, claims another size, or is none."""
    return CompressedImage(header=header(rng, stamp_ns), format=rng.choice(_FORMATS),
                           data=_picture(rng))


def _picture(rng: Random) -> bytes:
    kind = rng.choice(('whole', 'cut', 'bits', 'zeros', 'tail', 'claim', 'bomb', 'exif', 'start',
                       'noise', 'twice'))
    if kind == 'start':
        return rng.choice(_WRONG_STARTS) + _bytes(rng, rng.choice((0, 1, 20, 500)))
    if kind == 'noise':
        return _bytes(rng, rng.randrange(2000))
    if kind == 'bomb':
        return png_bomb(rng.choice((3000, 20_000, 2 ** 31 - 1)))
    height, width = rng.choice(((60, 80), (48, 64), (33, 47), (1, 1)))
    pixels = np.frombuffer(_bytes(rng, height * width * 3), np.uint8).reshape(height, width, 3)
    data = bytearray(encoded(rng.choice(_SUFFIXES), pixels // 8 * 8))
    if kind == 'claim':
        return jpeg_that_claims(rng.choice(((20_000, 20_000), (65_535, 65_535), (0, 80), (1, 1))))
    if kind == 'exif':
        return with_exif(encoded('.jpg', pixels), rng)
    _break_picture(rng, kind, data)
    return bytes(data)


def _break_picture(rng: Random, kind: str, data: bytearray) -> None:
    if kind == 'cut':
        del data[rng.randrange(len(data)):]
    elif kind == 'bits':
        for _ in range(rng.choice((1, 3, 30))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 'zeros':
        first = rng.randrange(len(data))
        data[first:] = bytes(len(data) - first)
    elif kind == 'tail':
        data += rng.choice((bytes(3), bytes(5000), _bytes(rng, 300)))
    elif kind == 'twice':
        data += bytes(data)


def encoded(suffix: str, pixels: AnyArray) -> bytes:
    """Return pixels as the content of a picture file; PNG where a format cannot hold them."""
    if suffix == '.pgm':
        pixels = pixels[..., 0]
    if suffix == '.jp2' and min(pixels.shape[:2]) < 40:
        suffix = '.png'
    return cv2.imencode(suffix, pixels)[1].tobytes()


def jpeg_that_claims(size_hw: tuple[int, int]) -> bytes:
    """Return a JPEG of 640x480 whose header claims another size."""
    data = encoded('.jpg', np.zeros((480, 640, 3), np.uint8))
    at = data.index(b'\xff\xc0') + 5
    return data[:at] + struct.pack('>HH', *size_hw) + data[at + 4:]


def png_bomb(side: int) -> bytes:
    """Return a PNG whose header claims ``side`` x ``side``, with as many black pixels or fewer."""
    rows = zlib.compress(bytes((side + 1) * min(side, 300)) if side < 10 ** 6 else b'', 9)
    data = BytesIO(b'\x89PNG\r\n\x1a\n')
    data.seek(0, 2)
    for name, content in ((b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)),
                          (b'IDAT', rows), (b'IEND', b'')):
        data.write(struct.pack('>I', len(content)) + name + content
                   + struct.pack('>I', zlib.crc32(name + content)))
    return data.getvalue()


def with_exif(jpeg: bytes, rng: Random) -> bytes:
    """Return a JPEG with an Exif segment, of which some are damaged or never end."""
    entry = struct.pack('>HHIHH', 0x0112, 3, 1, rng.randrange(12), 0)
    tiff = b'MM\0*' + struct.pack('>IH', rng.choice((8, 0, 2 ** 32 - 1)), 1) + entry + bytes(4)
    payload = b'Exif\0\0' + tiff[:rng.choice((len(tiff), rng.randrange(len(tiff))))]
    length = rng.choice((len(payload) + 2, 0, 1, 65_535))
    return jpeg[:2] + b'\xff\xe1' + length.to_bytes(2, 'big') + payload + jpeg[2:]


def good_image(rng: Random, stamp_ns: int) -> Image:
    """Return an image of noise without any fault."""
    height, width = rng.choice(SIZES_HW[:_GOOD_SIZES])
    message = Image(height=height, width=width, encoding='bgr8', step=3 * width,
                    data=_bytes(rng, 3 * width * height))
    message.header.frame_id = 'camera'
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10 ** 9)
    return message


def camera_info(rng: Random, stamp_ns: int) -> CameraInfo:
    """Return a calibration of any model, with lengths and numbers that no camera has."""
    height, width = rng.choice(SIZES_HW[:_GOOD_SIZES] * 3 + SIZES_HW)
    focal = rng.choice((50.0, 80.0, 500.0))
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    p = [focal, 0.0, width / 2, 0.0, 0.0, focal, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
    r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message = CameraInfo(
        header=header(rng, stamp_ns), height=height, width=width,
        distortion_model=rng.choice(_MODELS),
        d=[rng.choice((0.0, rng.uniform(-0.5, 0.5), rng.choice(_NUMBERS)))
           for _ in range(rng.choice((0, 0, 1, 4, 4, 5, 5, 8, 12, 14, 15, 200)))])
    for matrix in (k, p, r):
        if rng.random() < 0.2:
            matrix[:] = [0.0] * len(matrix)
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            matrix[rng.randrange(len(matrix))] = rng.choice(_NUMBERS)
    message.k, message.p, message.r = k, p, r
    if rng.random() < 0.2:
        message.height, message.width = rng.choice(_EXTREMES), rng.choice(_EXTREMES)
    if rng.random() < 0.2:
        message.binning_x, message.binning_y = rng.choice(_EXTREMES), rng.choice((0, 1, 2))
    if rng.random() < 0.2:
        for name in ('x_offset', 'y_offset', 'height', 'width'):
            setattr(message.roi, name, rng.choice((*_EXTREMES, 10, 30)))
        message.roi.do_rectify = rng.random() < 0.5
    return message


def _bytes(rng: Random, count: int) -> bytes:
    return rng.randbytes(max(0, count))
