"""Messages to arrays and arrays to messages, compared with what rclpy reads and writes."""

import struct

from depth_anything_ros.errors import ImageError, MessageError
from depth_anything_ros.ros.messages import (
    cloud_message, color_message, decode_compressed, decode_image, depth_message, pinhole_info,
    SerializedMessage)
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.encoded_image import FILE_LIMIT
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from robot import as_received, camera_info, image_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
SMOOTH = np.stack(np.broadcast_arrays(
    np.arange(40, 104, dtype=np.uint8)[None, :], np.arange(60, 108, dtype=np.uint8)[:, None],
    np.uint8(120)), axis=-1)


@pytest.mark.parametrize('encoding', ['bgr8', 'rgba8', 'mono8', 'bayer_rggb8'])
@pytest.mark.parametrize('frame_id', ['', 'a', 'cam', 'left', 'front', 'ö/optical'])
def test_header_and_pixels_are_read_whatever_the_length_of_the_strings(
        frame_id: str, encoding: str) -> None:
    """Numbers are aligned after strings of any length."""
    message = image_message(PIXELS, encoding, stamp_ns=12_345_678_901_234)
    message.header.frame_id = frame_id
    serialized = as_received(message)
    image, pixels = serialized.image
    assert bytes(pixels) == bytes(message.data)
    assert serialized.stamp_ns == 12_345_678_901_234
    assert serialized.header == message.header
    assert serialized.message == message
    message.data = b''
    assert image == message


def test_big_endian_messages_are_read() -> None:
    """Other machines may send them."""
    text = struct.pack('>I5s', 5, b'left\0') + bytes(3)
    data = (bytes((0, 0, 0, 0)) + struct.pack('>iI', 7, 9) + text
            + struct.pack('>II', 1, 2) + struct.pack('>I6s', 6, b'mono8\0') + b'\1' + bytes(1)
            + struct.pack('>II', 2, 2) + b'\3\4')
    serialized = SerializedMessage(Image, data)
    image, pixels = serialized.image
    assert serialized.stamp_ns == 7_000_000_009
    assert (image.header.frame_id, image.height, image.width, image.encoding, image.step) == (
        'left', 1, 2, 'mono8', 2)
    assert bytes(pixels) == b'\3\4'


def test_bytes_that_are_not_a_message_raise() -> None:
    """Nothing is read beyond the end."""
    data = serialize_message(image_message(PIXELS))
    for length in (0, 1, 4, 11, 20, 40):
        with pytest.raises(MessageError, match=f'^{length} bytes are no Image message'):
            assert SerializedMessage(Image, data[:length]).image
    with pytest.raises(MessageError):
        assert SerializedMessage(Image, data[:11]).stamp_ns
    with pytest.raises(MessageError, match='damaged on the way'):
        assert SerializedMessage(Image, data[:40]).message


def test_messages_are_compared_without_their_stamps() -> None:
    """A camera repeats its camera_info with every image."""
    first, second, other = (camera_info(64, 48, focal) for focal in (50.0, 50.0, 51.0))
    second.header.stamp.sec = 5
    assert as_received(first).data_without_stamp == as_received(second).data_without_stamp
    assert as_received(first).data_without_stamp != as_received(other).data_without_stamp
    assert as_received(second).header == second.header
    assert isinstance(as_received(second).message, CameraInfo)


def test_raw_images_share_the_memory_of_the_message() -> None:
    """Nothing is copied on the way in."""
    serialized = as_received(image_message(SMOOTH))
    image = decode_image(serialized)
    assert np.shares_memory(image.pixels, np.frombuffer(serialized.image[1], np.uint8))
    assert_array_equal(image.pixels, SMOOTH)


@pytest.mark.parametrize('padding', [0, 10])
@pytest.mark.parametrize('encoding', ['mono16', 'bayer_rggb8', 'yuv422_yuy2', 'uyvy', 'bgr16'])
def test_other_encodings_are_converted(encoding: str, padding: int) -> None:
    """Also with padded rows; cv_bridge is not needed."""
    gray = np.full((48, 64), 120, np.uint8)
    neutral = np.full_like(gray, 128)
    pixels = {'mono16': gray.astype(np.uint16) * 256, 'bayer_rggb8': gray,
              'bgr16': np.dstack([gray] * 3).astype(np.uint16) * 256,
              'yuv422_yuy2': np.stack([gray, neutral], axis=-1),
              'uyvy': np.stack([neutral, gray], axis=-1)}[encoding]
    bgr = to_bgr(decode_image(as_received(image_message(pixels, encoding=encoding,
                                                        padding=padding))))
    assert bgr.shape == (48, 64, 3)
    assert bgr.dtype == np.uint8
    assert_allclose(bgr, 120, atol=4)


def test_the_byte_order_of_16_bits_is_that_of_the_message() -> None:
    """Other machines may send them."""
    message = image_message(np.full((4, 6), 120 * 257, '>u2'), encoding='mono16')
    message.is_bigendian = 1
    assert_array_equal(decode_image(as_received(message)).pixels, 120)


def test_a_short_16_bit_message_is_refused() -> None:
    """With the numbers that disagree."""
    message = image_message(np.zeros((4, 4), np.uint16), encoding='mono16')
    message.data = bytes(20)
    with pytest.raises(ImageError, match='20 bytes.*need 32'):
        decode_image(as_received(message))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_compressed_images_are_decoded(suffix: str) -> None:
    """JPEG within its loss, PNG exactly."""
    import cv2
    data = cv2.imencode(suffix, SMOOTH)[1].tobytes()
    image = decode_compressed(as_received(CompressedImage(format=suffix, data=data)), FILE_LIMIT)
    assert image.order == 'bgr'
    loss = 8 if suffix == '.jpg' else 0
    assert_allclose(image.pixels.astype(int), SMOOTH.astype(int), atol=loss)


@pytest.mark.parametrize('frame_id', ['', 'abc', 'camera_optical'])
def test_images_are_written_as_rclpy_would(frame_id: str) -> None:
    """Also arrays that are not contiguous."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = 3, 4
    depth = np.linspace(0, 9, 35, dtype=np.float32).reshape(5, 7)
    message = depth_message(header, depth[:, ::2])
    written, memory = bytes(message), np.zeros(len(message), np.uint8)
    message.write(memory)
    assert memory.tobytes() == written
    expected = Image(header=header, height=5, width=4, encoding='32FC1', step=16,
                     data=np.ascontiguousarray(depth[:, ::2]).tobytes())
    assert len(written) == len(serialize_message(expected))
    assert deserialize_message(written, Image) == expected
    color = deserialize_message(bytes(color_message(header, PIXELS)), Image)
    assert (color.encoding, color.step, color.header) == ('bgr8', 21, header)
    assert_array_equal(np.frombuffer(color.data, np.uint8), PIXELS.ravel())


def test_messages_of_one_size_have_their_own_stamps_and_frames() -> None:
    """What precedes the data is kept from message to message."""
    headers = [Header(frame_id=frame_id) for frame_id in ('left', 'left', 'front', 'left')]
    for number, header in enumerate(headers):
        header.stamp.sec, header.stamp.nanosec = number - 2, 999_999_999 - number
    pixels = np.ones((2, 3), np.float32)
    for make, kind in ((lambda header: depth_message(header, pixels), Image),
                       (lambda header: depth_message(header, pixels, '16UC1'), Image),
                       (lambda header: cloud_message(header, pixels), PointCloud2)):
        assert [deserialize_message(bytes(make(header)), kind).header
                for header in headers] == headers


@pytest.mark.parametrize('shape', [(2, 3, 4), (2, 3, 3), (5, 4), (0, 4)])
def test_clouds_are_written_as_rclpy_would(shape: tuple[int, ...]) -> None:
    """Organized clouds and lists of points, also an empty one."""
    cloud = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    height, width, step = (1, *shape)[-3], shape[-2], 4 * shape[-1]
    expected = PointCloud2(
        header=Header(frame_id='front'), height=height, width=width, point_step=step,
        row_step=step * width, is_dense=len(shape) == 2, data=cloud.tobytes(),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
                for index, name in enumerate(('x', 'y', 'z', 'rgb')[:shape[-1]])])
    message = cloud_message(Header(frame_id='front'), cloud)
    written, memory = bytes(message), np.zeros(len(message), np.uint8)
    message.write(memory)
    assert memory.tobytes() == written
    assert deserialize_message(written, PointCloud2) == expected
    assert len(written) == len(serialize_message(expected))


def test_the_camera_info_of_a_pinhole_has_its_matrices() -> None:
    info = pinhole_info(Header(frame_id='front'), Intrinsics(50.0, 60.0, 20.0, 15.0, (30, 40)))
    k = np.array([[50, 0, 20], [0, 60, 15], [0, 0, 1]])
    assert (info.height, info.width, info.header.frame_id) == (30, 40, 'front')
    assert_array_equal(info.k.reshape(3, 3), k)
    assert_array_equal(info.p.reshape(3, 4), np.column_stack([k, np.zeros(3)]))
    assert_array_equal(info.r.reshape(3, 3), np.eye(3))
    assert (info.distortion_model, list(info.d)) == ('plumb_bob', [0.0] * 5)
