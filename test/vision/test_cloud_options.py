"""Options of a cloud that meet in one frame."""

from depth_anything_ros.vision.cloud import cloud_of, CloudOptions, HeightBand
from depth_anything_ros.vision.geometry import Intrinsics, pixel_rays
import numpy as np
from numpy.testing import assert_allclose
import pytest

RAYS = {stride: pixel_rays(Intrinsics(100.0, 100.0, 79.5, 59.5, (120, 160)), stride)
        for stride in (1, 3)}


@pytest.mark.parametrize('stride', RAYS)
def test_points_that_clear_are_exempt_from_the_height_band(stride: int) -> None:
    """The rows above see far away, at any height; those below a wall that the band cuts."""
    depth_m = np.full((120, 160), 2.0, np.float32)
    depth_m[:60] = np.inf
    band = HeightBand(0.0, 10.0, camera_height_m=0.5, camera_pitch_rad=0.0)
    cloud = cloud_of(depth_m, None, RAYS[stride],
                     CloudOptions(maximum_m=5.0, clearing_m=6.0, band=band))
    rows = np.arange(0, 120, stride)
    assert_allclose(cloud[rows < 60, :, 2], 6.0)
    on_the_wall = (rows - 59.5) / 100 * 2.0 <= 0.5
    assert_allclose(cloud[(rows >= 60) & on_the_wall, :, 2], 2.0)
    assert np.isnan(cloud[~on_the_wall]).all()
