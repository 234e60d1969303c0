"""Inputs that are nearly right are answered with the fact and the fix."""

import os
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.open_images import open_images
from depth_anything_ros.media.pictures import read_picture, read_size_hw
from depth_anything_ros.media.video import VideoFile
import numpy as np
import pytest

POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'


@pytest.mark.parametrize(('name', 'sentence'), [
    ('rtsp://camera.local:554/stream', r'is a URL, which is not read; .*`ffmpeg -i rtsp://cam'),
    ('https://example.org/a.jpg', 'is a URL, which is not read; save it to a file first'),
    ('photos/*.jpg', r'patterns are not expanded; name the folder, or .*`ls photos/\*.jpg > lis'),
    ('photos/[ab].jpg', 'patterns are not expanded'),
    ('/dev/video77', 'there is no camera 77'),
    ('/dev/null', 'is a pipe or a device; name a file')])
def test_what_is_no_file_is_named_with_the_fix(name: str, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        open_images(name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(ImageError, match='pipe.png is a pipe or a device'):
        open_images(str(tmp_path / 'pipe.png'))


def test_the_device_of_a_camera_is_the_camera(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoFile(tmp_path / 'clip.mp4', 20)
    video.write(np.zeros((48, 64, 3), np.uint8))
    video.close()
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', lambda place: real(
        str(tmp_path / 'clip.mp4') if place == 77 else place))
    (tmp_path / 'by-id').symlink_to('/dev/video77')
    for name in ('/dev/video77', str(tmp_path / 'by-id')):
        source = open_images(name)
        assert (source.kind, source.name) == ('camera', 'camera 77')


@pytest.mark.parametrize('name', ['clip.mp4', 'drive.mcap', 'drive.db3'])
def test_a_pointer_in_place_of_a_video_or_bag_is_named(tmp_path: Path, name: str) -> None:
    if name != 'clip.mp4':
        pytest.importorskip('rosbags.rosbag2')
    (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(ImageError, match=f'{name}: it is a Git LFS pointer.*git lfs pull'):
        open_images(str(tmp_path / name))


def test_a_pointer_in_place_of_a_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(POINTER)
    (item,) = open_images(str(tmp_path))
    with pytest.raises(ImageError, match='it is a Git LFS pointer'):
        item.read()


def test_what_a_list_names_besides_files_fails_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'circle.png').symlink_to('circle.png')
    cv2.imwrite(str(tmp_path / 'good.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'list.txt').write_text(f'pipe.png\ncircle.png\n{"x" * 5000}.png\ngood.png\n')
    *wrong, good = open_images(str(tmp_path / 'list.txt'))
    assert good.read().size_hw == (8, 8)
    for item, sentence in zip(wrong, ('is a pipe or a device', 'cannot be read', 'too long')):
        assert item.path is not None and read_size_hw(item.path) is None
        with pytest.raises(ImageError, match=sentence):
            item.read()


@pytest.mark.parametrize('name', ['a\0b.png', 'a\ud800.png'])
def test_names_that_no_file_can_have_are_named(name: str) -> None:
    """As JSON may hold them."""
    assert read_size_hw(Path(name)) is None
    with pytest.raises(ImageError, match='no file can have this name'):
        read_picture(Path(name))


def test_a_name_that_is_too_long_is_no_file() -> None:
    with pytest.raises(ImageError, match='there is no file or folder xxx'):
        open_images('x' * 5000)
