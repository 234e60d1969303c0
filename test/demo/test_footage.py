"""Pictures that stand for a camera."""

from pathlib import Path

import cv2
from depth_anything_ros.demo import footage as footage_module
from depth_anything_ros.demo.footage import fit, open_footage
from depth_anything_ros.errors import ImageError
import numpy as np
from numpy.testing import assert_array_equal
import pytest


def test_a_folder_is_played_in_the_order_of_names_without_depth_maps(tmp_path: Path) -> None:
    """RGB-D folders keep both kinds side by side, or in folders of their own as TUM RGB-D."""
    for folder in ('depth', 'rgb'):
        (tmp_path / folder).mkdir()
    for name, level in (('rgb_2.png', 20), ('rgb_1.png', 10), ('depth_1.png', 99),
                        ('rgb/3.png', 5), ('depth/3.png', 98)):
        cv2.imwrite(str(tmp_path / name), np.full((60, 80, 3), level, np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    footage = open_footage(tmp_path, (60, 80), None)
    assert [int(footage.read(index).mean()) for index in range(footage.count)] == [5, 10, 20]


def test_the_camera_has_60_degrees_or_the_given_focal_length(tmp_path: Path) -> None:
    """Half the width over the focal length is the tangent of half the field of view."""
    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((60, 80, 3), np.uint8))
    camera = open_footage(tmp_path, (60, 80), None).camera
    assert np.degrees(np.arctan(40 / camera.fx)) == pytest.approx(30)
    assert (camera.cx, camera.cy) == (39.5, 29.5)
    assert open_footage(tmp_path, (60, 80), 77.0).camera.fx == 77.0


def test_a_picture_of_another_aspect_is_cropped_around_its_centre() -> None:
    """Nothing is stretched."""
    wide = np.zeros((50, 200, 3), np.uint8)
    wide[:, 75:125] = 200
    assert_array_equal(fit(wide, (50, 50)), wide[:, 75:125])
    assert fit(wide, (480, 640)).shape == (480, 640, 3)
    assert fit(wide, (1, 8192)).shape == (1, 8192, 3)


def test_an_empty_folder_and_a_broken_picture_are_named(tmp_path: Path) -> None:
    """With the path."""
    with pytest.raises(ImageError, match='holds no image'):
        open_footage(tmp_path, (60, 80), None)
    cv2.imwrite(str(tmp_path / 'depth.png'), np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(ImageError, match='all left out as depth maps'):
        open_footage(tmp_path, (60, 80), None)
    (tmp_path / 'broken.jpg').write_bytes(b'not a jpeg')
    with pytest.raises(ImageError, match='broken.jpg'):
        open_footage(tmp_path, (60, 80), None)


def test_long_folders_are_not_held_in_memory(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit pictures are read when they are played."""
    monkeypatch.setattr(footage_module, '_KEPT_PICTURES', 1)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((60, 80, 3), number, np.uint8))
    footage = open_footage(tmp_path, (60, 80), None)
    assert [int(footage.read(index).max()) for index in range(3)] == [0, 1, 2]


def test_without_a_folder_the_photographs_of_the_package_are_played() -> None:
    """Each for two seconds at 30 Hz."""
    footage = open_footage(None, (480, 640), None)
    names = [file.stem for file in sorted(Path(footage.name).glob('*.jpg'))]
    assert names == ['camera', 'coffee', 'motorcycle']
    assert footage.count == 60 * len(names)
    first, second = footage.read(0), footage.read(60)
    assert first.shape == (480, 640, 3)
    assert_array_equal(footage.read(59), first)
    assert (first != second).mean() > 0.5
