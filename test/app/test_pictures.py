"""Colours, cameras and the 3-D view of one picture."""

from collections.abc import Callable
from pathlib import Path

import cv2
from depth_anything_ros.app.models import ModelChoice, ModelSlot
from depth_anything_ros.app.pictures import (
    BACKGROUND, Camera, centred, compute_picture, Look, write_shown)
from depth_anything_ros.errors import CameraInfoError, PointCloudError, SettingsError
from depth_anything_ros.vision.cloud import unpack_colors
import numpy as np
import pytest


def test_the_middle_of_the_view_is_on_the_optical_axis() -> None:
    cloud = np.float32([[-1, -4, 2, 0], [3, 2, 8, 0], [np.nan, np.nan, np.nan, 0]])
    points, middle_m = centred(cloud)
    low, high = np.nanmin(points[:, :3], axis=0), np.nanmax(points[:, :3], axis=0)
    assert np.allclose((low + high) / 2, [0, 0, middle_m])
    assert (low[2], high[2], middle_m) == (2, 8, 5)
    assert np.array_equal(unpack_colors(points[3:]), [BACKGROUND[::-1]] * 2)
    with pytest.raises(PointCloudError, match='no pixel'):
        centred(cloud[2:])


def test_a_field_of_view_or_a_focal_length_makes_the_camera() -> None:
    assert Camera(90.0).intrinsics((50, 100)).fx == pytest.approx(50)
    assert Camera(90.0, 70.0, 80.0, 1.0, 2.0).intrinsics((50, 100)).fy == 80
    with pytest.raises(SettingsError, match='field of view is 0'):
        Camera(0.0).intrinsics((50, 100))
    with pytest.raises(CameraInfoError, match='not calibrated'):
        Camera(90.0, 70.0).intrinsics((50, 100))


def test_the_cloud_of_a_model_that_needs_the_focal_length_is_in_metres(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.random.default_rng(0).integers(
        50, 256, (112, 140, 3), np.uint8))
    slot = ModelSlot()
    result = compute_picture(slot, ModelChoice(
        make_ir(focal_px=300.0, has_shift=False), input_size=56, precision='f32'),
        tmp_path / 'a.png')
    slot.close()
    # The network sees half of the size, so the focal length is 35 pixels there.
    np.testing.assert_allclose(result.cloud(Camera(90.0))[..., 2],
                               35 / 300 / result.inference.depth, rtol=1e-5)


def test_a_picture_of_one_row_can_be_shown(tmp_path: Path) -> None:
    shown, = write_shown(tmp_path, 'row', [np.zeros((1, 5000, 3), np.uint8)])
    assert cv2.imread(str(shown)).shape == (1, 1600, 3)


@pytest.mark.parametrize('percent', [(60, 40), (50, 50), (-1, 100), (0, 101)])
def test_a_colour_range_without_a_length_is_refused(percent: tuple[float, float]) -> None:
    with pytest.raises(SettingsError, match='colour range'):
        Look('gray', *percent)
