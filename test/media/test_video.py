"""Videos and cameras are read, mp4 files are written."""

from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.open_images import open_images
from depth_anything_ros.media.video import VideoFile
import numpy as np
import pytest


def write_video(path: Path, levels: range, size_hw: tuple[int, int] = (48, 66),
                rate: float = 12.5) -> Path:
    """Write gray frames of the given levels."""
    video = VideoFile(path, rate)
    for level in levels:
        video.write(np.full((*size_hw, 3), level, np.uint8))
    video.close()
    return path


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv', '.mov'])
def test_a_video_gives_its_frames_in_order_with_rate_and_size(
        tmp_path: Path, suffix: str) -> None:
    source = open_images(str(write_video(tmp_path / f'clip{suffix}', range(10, 250, 40))))
    assert (source.kind, source.count, source.size_hw) == ('video', 6, (48, 66))
    assert source.frames_per_second == pytest.approx(12.5, abs=0.01)
    items = list(source)
    assert [item.name for item in items] == [f'frame {number}' for number in range(1, 7)]
    levels = [float(item.read().pixels.mean()) for item in items]
    assert np.abs(np.array(levels) - np.arange(10, 250, 40)).max() < 6


def test_a_video_can_be_read_again_from_the_start(tmp_path: Path) -> None:
    source = open_images(str(write_video(tmp_path / 'clip.mp4', range(0, 200, 50))))
    first, again = next(iter(source)), next(iter(source))
    assert np.array_equal(first.read().pixels, again.read().pixels)


def test_a_video_or_camera_that_cannot_be_opened_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'clip.mp4').write_bytes(b'no video at all')
    with pytest.raises(ImageError, match='clip.mp4 is damaged, or this OpenCV cannot read'):
        open_images(str(tmp_path / 'clip.mp4'))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match='there is no camera 77'):
        open_images('77')


def test_a_folder_may_have_a_number_for_a_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('77').mkdir()
    cv2.imwrite('77/picture.png', np.zeros((4, 4, 3), np.uint8))
    assert open_images('77').kind == 'images'


def test_odd_sizes_lose_at_most_a_row_and_a_column(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'odd.mp4', range(50, 53), (37, 51))
    height, width = cv2.VideoCapture(str(path)).read()[1].shape[:2]
    assert (height, width) in ((36, 50), (37, 51))


def test_a_frame_of_another_size_is_refused_and_the_video_goes_on(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / 'clip.mp4', 10)
    frame = np.zeros((20, 30, 3), np.uint8)
    video.write(frame)
    with pytest.raises(ImageError, match='picture is 20x30, but the video is 30x20'):
        video.write(frame.transpose(1, 0, 2))
    video.write(frame)
    video.close()
    video.close()
    assert open_images(str(tmp_path / 'clip.mp4')).count == 2


def test_a_video_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match='missing takes no mp4'):
        VideoFile(tmp_path / 'missing' / 'clip.mp4', 10).write(np.zeros((20, 30, 3), np.uint8))
