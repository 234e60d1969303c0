"""Bad messages in mid-stream: a sentence in the log, the node lives, the next frame works."""

from collections.abc import Callable
from pathlib import Path

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from robot import camera_info, image_message, Robot
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from waiting import on_stderr

DEPTH = '/depth_anything/inverse_depth/image'
PICTURE = np.full((120, 160, 3), 90, np.uint8)


def broken(**changes: object) -> Image:
    """Return a good message with some fields changed."""
    message = image_message(PICTURE, stamp_ns=2 * 10 ** 9)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize('message, fact', [
    (broken(data=b''), 'truncated'),
    (broken(data=bytes(1000)), '1000 bytes'),
    (broken(step=100), 'step is 100'),
    (broken(step=0), 'step is 0'),
    (broken(height=0), 'empty'),
    (broken(width=4000), 'step'),
    (broken(encoding='notes'), "'notes'"),
    (broken(encoding=''), 'encoding'),
    (broken(encoding='32FC1'), '32FC1'),
    (broken(encoding='bayer_rggb16', step=160), 'step')],
    ids=['no data', 'short data', 'short step', 'no step', 'no rows', 'wide', 'unknown encoding',
         'no encoding', 'float image', 'short bayer'])
def test_a_broken_image_is_reported_and_the_next_one_works(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], message: Image,
        fact: str) -> None:
    """The failure is counted, in the log and in diagnostics."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    health = robot.listen(DiagnosticArray, '/diagnostics')
    robot.publish('image', message)
    assert robot.until(lambda: robot.depth._scheduler.stats().failed == 1)
    log = capfd.readouterr().err
    assert 'frame lost' in log
    assert fact in log
    assert robot.until(lambda: health and fact in str(health[-1].status[0].values))
    robot._stamp_ns = 3 * 10 ** 9
    robot.show(PICTURE)
    assert robot.until(lambda: depths)


def test_a_compressed_message_without_an_image_is_reported(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Empty data and noise alike."""
    robot = make_robot(image_transport='compressed')
    robot.bring_up()
    robot.listen(Image, DEPTH)
    for number, data in enumerate((b'', b'no picture at all'), start=1):
        message = CompressedImage(format='jpeg', data=data)
        message.header.stamp.sec = number
        robot.publish('image/compressed', message)
        assert robot.until(lambda number=number: robot.depth._scheduler.stats().failed == number)
    assert '17 bytes' in robot.depth._scheduler.stats().last_error
    # The second sentence differs from the first in the number only, so it is not logged at once.
    assert capfd.readouterr().err.count('cannot decode') == 1


def test_a_compressed_image_that_breaks_off_or_is_too_large_is_reported(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Then the next one works; the limit is a parameter that can change at run time."""
    data = cv2.imencode('.jpg', PICTURE)[1].tobytes()
    robot = make_robot(image_transport='compressed')
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    sec = 0

    def show(content: bytes) -> None:
        nonlocal sec
        sec += 1
        message = CompressedImage(format='jpeg', data=content)
        message.header.stamp.sec = sec
        robot.publish('image/compressed', message)

    show(data[:len(data) // 2])
    assert robot.until(lambda: robot.depth._scheduler.stats().failed == 1)
    assert 'the JPEG is incomplete' in capfd.readouterr().err
    show(data)
    assert robot.until(lambda: depths)
    assert robot.set_parameters(max_image_megapixels=0.01)[0].successful
    show(data)
    assert robot.until(lambda: robot.depth._scheduler.stats().failed == 2)
    assert '160x120 pixels by its header, which is more than 0.01 megapixels; raise ' in (
        capfd.readouterr().err)


def test_camera_info_of_another_size_is_reported_and_depth_comes_without_it(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong camera_info is never published beside the depth, nor used for the cloud."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    infos = robot.listen(CameraInfo, '/depth_anything/inverse_depth/camera_info')
    clouds = robot.listen(PointCloud2, '/depth_anything/points')
    robot.publish('camera_info', camera_info(1280, 720))
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    robot.show(PICTURE)
    assert robot.until(lambda: depths)
    assert 'camera_info describes 1280x720 images, but the image is 160x120' in (
        capfd.readouterr().err)
    assert (infos, clouds) == ([], [])
    robot.publish('camera_info', camera_info(160, 120))
    assert robot.until(lambda: robot.stream()._camera_info.width == 160)
    robot.show(PICTURE)
    assert robot.until(lambda: infos and clouds)


@pytest.mark.usefixtures('capfd')
def test_an_uncalibrated_camera_gets_depth_but_no_cloud(
        make_robot: Callable[..., Robot]) -> None:
    """All zero in K and P means not calibrated."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    clouds = robot.listen(PointCloud2, '/depth_anything/points')
    robot.publish('camera_info', CameraInfo(width=160, height=120))
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    robot.show(PICTURE)
    assert robot.until(lambda: depths)
    assert robot.until(lambda: on_stderr('not calibrated'))
    assert clouds == []


def test_an_uncalibrated_camera_is_no_complaint_while_nobody_wants_a_cloud(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Its camera_info is still published beside the depth."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    infos = robot.listen(CameraInfo, '/depth_anything/inverse_depth/camera_info')
    robot.show_camera(CameraInfo(width=160, height=120))
    robot.show(PICTURE)
    assert robot.until(lambda: depths and infos)
    assert robot.until(lambda: robot.depth._scheduler.stats().delivered == 1)
    assert 'not calibrated' not in capfd.readouterr().err


def test_without_camera_info_the_cloud_says_what_it_waits_for(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Once, not for every frame."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.listen(PointCloud2, '/depth_anything/points')
    for number in range(1, 4):
        robot.show(PICTURE)
        assert robot.until(lambda number=number: len(depths) == number)
    assert robot.until(lambda: robot.depth._scheduler.stats().delivered == 3)
    assert capfd.readouterr().err.count('no point cloud') == 1


def test_without_camera_info_whoever_waits_for_that_of_the_depth_is_told(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Once, and nobody else is."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show(PICTURE)
    assert robot.until(lambda: robot.depth._scheduler.stats().delivered == 1)
    assert 'camera_info' not in capfd.readouterr().err
    infos = robot.listen(CameraInfo, '/depth_anything/inverse_depth/camera_info')
    for number in (2, 3):
        robot.show(PICTURE)
        assert robot.until(lambda number=number: len(depths) == number)
    assert infos == []
    assert capfd.readouterr().err.count(
        'no camera_info beside the depth: no camera_info of the size of the image has arrived; '
        'check the topic camera_info') == 1


def test_a_new_image_size_in_mid_stream_gives_depth_of_that_size(
        make_robot: Callable[..., Robot]) -> None:
    """Portrait, landscape and back."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    for number, (height, width) in enumerate(((120, 160), (200, 100), (50, 70), (120, 160)), 1):
        robot.show(np.full((height, width, 3), 90, np.uint8))
        assert robot.until(lambda number=number: len(depths) == number)
        assert (depths[-1].height, depths[-1].width) == (height, width)


def test_a_sliver_of_an_image_is_refused_instead_of_filling_memory(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Keeping the aspect of 2x8000 would need a network of 448000x112."""
    robot = make_robot()
    robot.bring_up()
    robot.listen(Image, DEPTH)
    robot.show(np.zeros((2, 8000, 3), np.uint8))
    assert robot.until(lambda: robot.depth._scheduler.stats().failed == 1)
    assert 'too large' in capfd.readouterr().err


def test_a_network_that_returns_nan_publishes_nothing_and_says_so(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path],
        capfd: pytest.CaptureFixture[str]) -> None:
    """The warm-up finds it, and the device is not used."""
    robot = make_robot(model=str(make_ir(gain=float('nan'))),
                       self_check=False)
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert 'no finite depth' in capfd.readouterr().err


def test_a_late_stamp_is_dropped_and_a_restarted_clock_is_accepted(
        make_robot: Callable[..., Robot]) -> None:
    """A bag that loops jumps back by more than a second."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    for stamp_ns, shown, late in ((10_000_000_000, [10], 0), (9_900_000_000, [10], 1),
                                  (5_000_000_000, [10, 5], 1)):
        robot.publish('image', image_message(PICTURE, stamp_ns=stamp_ns))
        assert robot.until(lambda shown=shown, late=late: robot.depth._scheduler.stats().late
                           == late and [depth.header.stamp.sec for depth in depths] == shown)
