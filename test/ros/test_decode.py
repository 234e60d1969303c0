"""From messages to arrays, with and without cv_bridge."""

import builtins
from typing import Any

from depth_anything_ros.errors import ImageError, MissingDependencyError
from depth_anything_ros.ros.messages import decode_compressed, decode_image
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from robot import as_received, image_message
from sensor_msgs.msg import CompressedImage

SMOOTH = np.stack(np.broadcast_arrays(
    np.arange(40, 104, dtype=np.uint8)[None, :], np.arange(60, 108, dtype=np.uint8)[:, None],
    np.uint8(120)), axis=-1)


def test_raw_images_share_the_memory_of_the_message() -> None:
    """Nothing is copied on the way in."""
    incoming = as_received(image_message(SMOOTH))
    image = decode_image(incoming)
    assert np.shares_memory(image.pixels, np.frombuffer(incoming.image[1], np.uint8))
    assert_array_equal(image.pixels, SMOOTH)


@pytest.mark.parametrize('padding', [0, 10])
@pytest.mark.parametrize('encoding', ['mono16', 'bayer_rggb8', 'yuv422_yuy2'])
def test_other_encodings_come_through_cv_bridge(encoding: str, padding: int) -> None:
    """Also with padded rows, which not every cv_bridge honours."""
    pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    gray = np.full((48, 64), 120, np.uint8)
    pixels = {'mono16': gray.astype(np.uint16) * 256, 'bayer_rggb8': gray,
              'yuv422_yuy2': np.stack([gray, np.full_like(gray, 128)], axis=-1)}[encoding]
    try:
        image = decode_image(as_received(image_message(pixels, encoding=encoding,
                                                       padding=padding)))
    except ImageError as error:
        assert f'cannot convert {encoding} to bgr8' in str(error)
        pytest.skip(f'the installed cv_bridge does not know {encoding}')
    bgr = to_bgr(image)
    assert bgr.shape == (48, 64, 3)
    assert bgr.dtype == np.uint8
    assert_allclose(bgr, 120, atol=24)


def test_without_cv_bridge_the_message_says_how_to_install_it(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """8-bit encodings still work."""
    real_import = builtins.__import__

    def no_cv_bridge(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == 'cv_bridge':
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', no_cv_bridge)
    with pytest.raises(MissingDependencyError, match='apt install .*cv-bridge'):
        decode_image(as_received(image_message(np.zeros((4, 4), np.uint16), encoding='mono16')))
    assert decode_image(as_received(image_message(SMOOTH))).size_hw == (48, 64)


def test_a_short_16_bit_message_is_refused_before_cv_bridge_sees_it() -> None:
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
    image = decode_compressed(as_received(CompressedImage(format=suffix, data=data)))
    assert image.order == 'bgr'
    loss = 8 if suffix == '.jpg' else 0
    assert_allclose(image.pixels.astype(int), SMOOTH.astype(int), atol=loss)
