"""What the page shows of a message."""

import math

from depth_anything_ros.view.pictures import view
import pytest
from sensor_msgs.msg import CameraInfo


def test_the_opening_of_a_camera_is_that_of_its_region_of_interest() -> None:
    info = CameraInfo(width=640, height=480, binning_x=2, binning_y=2)
    info.p[0], info.p[5] = 400.0, 500.0
    assert view(info).vertical_fov == pytest.approx(2 * math.atan(240 / 500))
    assert view(info).aspect == pytest.approx((640 / 400) / (480 / 500))
    info.roi.width, info.roi.height = 160, 240
    assert view(info).vertical_fov == pytest.approx(2 * math.atan(120 / 500))
    assert view(info).aspect == pytest.approx((160 / 400) / (240 / 500))
    assert view(CameraInfo(width=640, height=480)) is None
