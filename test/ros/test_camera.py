"""What a camera_info says about its image."""

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.ros.camera import info_message, intrinsics
import pytest
from robot import camera_info
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


def test_the_projection_matrix_is_used_where_it_is_filled_in() -> None:
    """As depth_image_proc and RViz do."""
    info = camera_info(160, 120)
    info.p[0], info.p[2] = 200.0, 70.0
    camera = intrinsics(info, (120, 160))
    assert (camera.fx, camera.cx, camera.fy, camera.cy) == (200.0, 70.0, 100.0, 59.5)


def test_the_camera_matrix_is_used_without_a_projection_matrix() -> None:
    """Drivers of uncalibrated stereo leave P empty."""
    info = camera_info(160, 120)
    info.p = [0.0] * 12
    assert intrinsics(info, (120, 160)).fx == 100.0


def test_binning_and_region_of_interest_are_applied() -> None:
    """Half of a 100x80 window at (20, 10) of the sensor is a 50x40 image."""
    info = camera_info(160, 120)
    info.binning_x = info.binning_y = 2
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 20, 10, 100, 80
    camera = intrinsics(info, (40, 50))
    assert (camera.fx, camera.cx, camera.cy) == (50.0, (79.5 - 20) / 2, (59.5 - 10) / 2)


@pytest.mark.parametrize('info, fact', [
    (CameraInfo(), '0x0'), (CameraInfo(width=160, height=120), 'not calibrated'),
    (camera_info(160, 120, focal=float('nan')), 'not calibrated'),
    (camera_info(640, 480), '640x480')])
def test_an_unusable_camera_info_is_named(info: CameraInfo, fact: str) -> None:
    """Empty, uncalibrated, not a number, of another size."""
    with pytest.raises(CameraInfoError, match=fact):
        intrinsics(info, (120, 160))


def test_the_original_message_keeps_its_header() -> None:
    """The cached camera_info is shared by all frames."""
    info, header = camera_info(160, 120), Header(frame_id='image_frame')
    assert info_message(header, info).header == header
    assert info.header.frame_id == 'camera_optical'
