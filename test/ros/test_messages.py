"""Messages read from their bytes, and bytes written for messages, against rclpy's own."""

import struct

from depth_anything_ros.ros.messages import cloud_message, color_message, depth_message, SerializedMessage
import numpy as np
from numpy.testing import assert_array_equal
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from robot import as_received, camera_info, image_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.mark.parametrize('encoding', ['bgr8', 'rgba8', 'mono8', 'bayer_rggb8'])
@pytest.mark.parametrize('frame_id', ['', 'a', 'cam', 'left', 'front', 'ö/optical'])
def test_an_image_is_taken_apart_at_every_length_of_its_texts(frame_id: str,
                                                              encoding: str) -> None:
    """Numbers are aligned behind texts of any length."""
    message = image_message(PIXELS, encoding, stamp_ns=12_345_678_901_234)
    message.header.frame_id = frame_id
    incoming = as_received(message)
    image, pixels = incoming.image
    assert bytes(pixels) == bytes(message.data)
    assert incoming.stamp_ns == 12_345_678_901_234
    assert incoming.header == message.header
    assert incoming.message == message
    message.data = b''
    assert image == message


def test_big_endian_messages_are_read() -> None:
    """Other machines may send them."""
    text = struct.pack('>I5s', 5, b'left\0') + bytes(3)
    data = (bytes((0, 0, 0, 0)) + struct.pack('>iI', 7, 9) + text
            + struct.pack('>II', 1, 2) + struct.pack('>I6s', 6, b'mono8\0') + b'\1' + bytes(1)
            + struct.pack('>II', 2, 2) + b'\3\4')
    incoming = SerializedMessage(Image, data)
    image, pixels = incoming.image
    assert incoming.stamp_ns == 7_000_000_009
    assert (image.header.frame_id, image.height, image.width, image.encoding, image.step) == (
        'left', 1, 2, 'mono8', 2)
    assert bytes(pixels) == b'\3\4'


def test_what_is_no_message_raises() -> None:
    """And does not read beyond the end."""
    data = serialize_message(image_message(PIXELS))
    for length in (4, 11, 20, 40):
        with pytest.raises(Exception):  # noqa: B017 - struct's or rclpy's, both are caught
            assert SerializedMessage(Image, data[:length]).image


def test_other_messages_are_told_apart_by_all_but_their_stamps() -> None:
    """As a camera_info is that comes with every image."""
    first, second, other = (camera_info(64, 48, focal) for focal in (50.0, 50.0, 51.0))
    second.header.stamp.sec = 5
    assert as_received(first).apart_from_stamp == as_received(second).apart_from_stamp
    assert as_received(first).apart_from_stamp != as_received(other).apart_from_stamp
    assert as_received(second).header == second.header
    assert isinstance(as_received(second).message, CameraInfo)


@pytest.mark.parametrize('frame_id', ['', 'abc', 'camera_optical'])
def test_images_are_written_as_rclpy_would(frame_id: str) -> None:
    """Also of arrays that are not contiguous."""
    header = Header(frame_id=frame_id)
    header.stamp.sec, header.stamp.nanosec = 3, 4
    depth = np.linspace(0, 9, 35, dtype=np.float32).reshape(5, 7)
    written = depth_message(header, depth[:, ::2])
    expected = Image(header=header, height=5, width=4, encoding='32FC1', step=16,
                     data=np.ascontiguousarray(depth[:, ::2]).tobytes())
    assert len(written) == len(serialize_message(expected))
    assert deserialize_message(written, Image) == expected
    color = deserialize_message(color_message(header, PIXELS), Image)
    assert (color.encoding, color.step, color.header) == ('bgr8', 21, header)
    assert_array_equal(np.frombuffer(color.data, np.uint8), PIXELS.ravel())


@pytest.mark.parametrize('shape', [(2, 3, 4), (2, 3, 3), (5, 4), (0, 4)])
def test_clouds_are_written_as_rclpy_would(shape: tuple[int, ...]) -> None:
    """Organised ones and lists of points, also an empty one."""
    cloud = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    height, width, step = (1, *shape)[-3], shape[-2], 4 * shape[-1]
    expected = PointCloud2(
        header=Header(frame_id='front'), height=height, width=width, point_step=step,
        row_step=step * width, is_dense=len(shape) == 2, data=cloud.tobytes(),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
                for index, name in enumerate(('x', 'y', 'z', 'rgb')[:shape[-1]])])
    written = cloud_message(Header(frame_id='front'), cloud)
    assert deserialize_message(written, PointCloud2) == expected
    assert len(written) == len(serialize_message(expected))
