"""Colours, cameras and the 3-D view of one picture."""

from collections.abc import Callable
import os
from pathlib import Path
import threading
from types import SimpleNamespace
from typing import NoReturn

import cv2
from depth_anything_ros.app.models import ModelChoice, ModelSlot
from depth_anything_ros.app.pictures import (
    BACKGROUND, Camera, centred, compute_picture, Look, write_shown)
from depth_anything_ros.errors import (
    CameraInfoError, ImageError, PointCloudError, SettingsError)
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


def test_a_folder_that_another_answer_removes_is_no_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('gradio')
    from depth_anything_ros.app import page
    (tmp_path / 'answer-old').mkdir()

    def remove_it() -> float:
        (tmp_path / 'answer-old').rmdir()
        return 0.0

    monkeypatch.setattr(page.time, 'time', remove_it)
    shared = page.Page(ModelSlot(), ModelChoice(Path('m.xml')), {}, [], tmp_path, True)
    assert shared._new_folder().parent == tmp_path


def test_the_video_that_is_being_written_stays_however_long_it_takes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to a file does not change the time of its folder."""
    pytest.importorskip('gradio')
    from depth_anything_ros.app import page
    shared = page.Page(ModelSlot(), ModelChoice(Path('m.xml')), {}, [], tmp_path, True)
    video = tmp_path / 'drive.mp4'
    video.touch()
    targets: list[Path] = []

    def compute(slot: object, choice: object, video: Path, target: Path,
                *rest: object) -> NoReturn:
        targets.append(target)
        os.utime(target.parent, (1, 1))
        shared._new_folder()
        assert target.parent.is_dir()
        raise ImageError('the end')

    monkeypatch.setattr(page, 'compute_video', compute)
    monkeypatch.setattr(page.Page, 'chosen', lambda *rest: ModelChoice(Path('m.xml')))
    with pytest.raises(ImageError, match='the end'):
        shared.on_video(str(video), 'm', None, 'CPU', 'inferno', False,
                        SimpleNamespace(session_hash='a'))
    shared._new_folder()
    assert not targets[0].parent.exists()


def test_the_end_waits_for_running_events_and_refuses_others(tmp_path: Path) -> None:
    """Python would end their threads within OpenCV, and their folder would go away."""
    gradio = pytest.importorskip('gradio')
    from depth_anything_ros.app.page import Page
    page = Page(ModelSlot(), ModelChoice(Path('m.xml')), {}, [], tmp_path, True)
    entered, go_on = threading.Event(), threading.Event()

    def handler(file: str) -> str:
        entered.set()
        go_on.wait(20)
        return file

    answers: list[str] = []
    event = page.event(handler)
    running = threading.Thread(target=lambda: answers.append(event('picture.png')))
    ending = threading.Thread(target=page.end)
    running.start()
    assert entered.wait(20)
    ending.start()
    ending.join(0.1)
    assert ending.is_alive()
    with pytest.raises(gradio.Error, match='the program is ending; start it again'):
        event('another.png')
    go_on.set()
    ending.join(20)
    running.join(20)
    assert not ending.is_alive() and answers == ['picture.png']


@pytest.mark.parametrize('percent', [(60, 40), (50, 50), (-1, 100), (0, 101)])
def test_a_colour_range_without_a_length_is_refused(percent: tuple[float, float]) -> None:
    with pytest.raises(SettingsError, match='colour range'):
        Look('gray', *percent)
