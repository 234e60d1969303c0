"""Inputs that are nearly right are answered with the fact and the fix."""

import os
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.open_images import open_images
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
