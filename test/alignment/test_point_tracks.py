"""Points that are followed: where they are searched, changing light, and edges."""

import cv2
from depth_anything_ros.alignment.point_tracks import along_edge, PointTracks
from depth_anything_ros.arrays import U8
from motion_scene import pose, view
import numpy as np
import pytest

IMAGE = view(pose())[0]


def moved(columns: float) -> U8:
    """Return the image, moved to the right."""
    shift = np.array([[1.0, 0.0, columns], [0.0, 1.0, 0.0]])
    return np.asarray(cv2.warpAffine(IMAGE, shift, IMAGE.shape[::-1],
                                     borderMode=cv2.BORDER_REFLECT), np.uint8)


def started() -> PointTracks:
    tracks = PointTracks(100, 0.7)
    tracks.start(IMAGE)
    assert tracks.add_corners() > 60
    return tracks


@pytest.mark.parametrize('most', [100, 400])
def test_about_as_many_points_are_followed_as_were_asked_for(most: int) -> None:
    tracks = PointTracks(most, 0.7)
    tracks.start(np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8))
    assert 0.75 * most < tracks.add_corners() < 1.1 * most
    assert tracks.add_corners() == 0, 'each cell has its point'


@pytest.mark.filterwarnings('error')
def test_an_image_lower_than_a_cell_has_no_corners() -> None:
    tracks = PointTracks(50, 0.7)
    tracks.start(np.zeros((16, 1280), np.uint8))
    assert tracks.add_corners() == 0 and not len(tracks.pixels)


@pytest.mark.parametrize('expected, otherwise', [(48.0, 0.0), (0.0, 48.0)])
def test_points_that_are_not_where_they_are_expected_are_searched_elsewhere(
        expected: float, otherwise: float) -> None:
    tracks = started()
    first = tracks.pixels.copy()
    inside = first[:, 0] + 48 < 300
    kept = tracks.follow(moved(48.0), first + (expected, 0.0), first + (otherwise, 0.0))
    assert kept[inside].mean() > 0.95
    off = tracks.pixels - first[kept] - (48.0, 0.0)
    assert np.median(np.hypot(*off.T)) < 0.5


@pytest.mark.parametrize('gain', [0.7, 1.4])
def test_a_camera_that_changes_its_exposure_loses_no_points(gain: float) -> None:
    tracks = started()
    first = tracks.pixels.copy()
    image = np.clip(moved(3.0) * gain, 0, 255).astype(np.uint8)
    kept = tracks.follow(image, first.astype(float), first.astype(float))
    assert kept[first[:, 0] < 300].mean() > 0.9
    assert np.median(np.abs(tracks.pixels - first[kept] - (3.0, 0.0))) < 0.1


def test_the_structure_is_that_of_the_window_around_each_point() -> None:
    tracks = started()
    across, down = (cv2.Sobel(IMAGE, cv2.CV_64F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    for (column, row), found in zip(np.rint(tracks.pixels).astype(int), tracks.structure()):
        window = np.s_[row - 5:row + 6, column - 5:column + 6]
        assert found == pytest.approx([
            (across[window] ** 2).sum(), (across[window] * down[window]).sum(),
            (down[window] ** 2).sum()])


def test_a_point_is_precise_across_an_edge_and_slides_along_it() -> None:
    angle = np.radians(30)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle),
                                                                        np.cos(angle)])
    edge = 100 * np.outer(across, across) + np.outer(along, along)
    structure = np.array([[matrix[0, 0], matrix[0, 1], matrix[1, 1]]
                          for matrix in (edge, np.eye(2))])
    errors = along_edge(structure, np.stack([[3 * along] * 2, [across] * 2]))
    # The covariance of a point is the inverse of its structure tensor, up to a factor.
    assert errors[:, 0] == pytest.approx(np.sqrt([101 / 2, 101 / 200]))
    assert errors[:, 1] == pytest.approx([1.0, 1.0])
