"""Videos and cameras are read, mp4 files are written."""

import os
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.open_images import open_images
from depth_anything_ros.media.video import open_video, VideoFile
from depth_anything_ros.vision.encoded_image import PixelLimit
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


def test_a_video_whose_size_changes_keeps_the_first_size(tmp_path: Path) -> None:
    """Some versions of OpenCV resize the other frames, 4.6 does not."""
    path = tmp_path / 'clip.mkv'
    parts = []
    for size_hw, level in (((48, 64), 50), ((96, 80), 200)):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, size_hw[::-1])
        for _ in range(3):
            writer.write(np.full((*size_hw, 3), level, np.uint8))
        writer.release()
        parts.append(path.read_bytes())
    path.write_bytes(b''.join(parts))
    frames = [item.read().pixels for item in open_images(str(path))]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 6
    np.testing.assert_allclose([frame.mean() for frame in frames], [50] * 3 + [200] * 3, atol=3)


def test_a_video_of_more_pixels_than_a_picture_may_have_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'clip.mp4', range(0, 200, 50))
    with pytest.raises(ImageError, match=r'clip\.mp4 has 66x48 pixels by its header, which is '
                       r'more than 0\.003 megapixels; buy memory'):
        open_video(path, PixelLimit(0.003, 'buy memory'))
    assert open_video(path, PixelLimit(0.0032, '')).size_hw == (48, 66)


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


def slower(path: Path, factor: int) -> Path:
    """Let each tick of a Matroska file last ``factor`` ms; the rate in its header stays."""
    one_ms = b'\x2a\xd7\xb1\x83' + (1_000_000).to_bytes(3, 'big')
    content = path.read_bytes()
    assert content.count(one_ms) == 1
    path.write_bytes(content.replace(
        one_ms, b'\x2a\xd7\xb1\x83' + (factor * 1_000_000).to_bytes(3, 'big')))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    return path


def noise_video(path: Path, count: int, rate: float = 20) -> Path:
    """Write frames of noise, which take the same space each."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    video = VideoFile(path, rate)
    for number in range(count):
        video.write(np.roll(noise, 5 * number, axis=1))
    video.close()
    return path


@pytest.mark.parametrize('suffix', ['.avi', '.mkv'])
def test_a_video_that_breaks_off_names_its_frames_after_the_last_one(
        tmp_path: Path, suffix: str) -> None:
    source = open_images(str(cut(noise_video(tmp_path / f'clip{suffix}', 60), 0.6)))
    names = []
    with pytest.raises(ImageError, match=r'clip\.\w+ breaks off after \d+ .*copy it again'):
        for item in source:
            names.append(item.name)
    assert 20 < len(names) < 50


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.mkv', '.mov'])
@pytest.mark.parametrize('count', [1, 2, 61])
def test_a_whole_video_does_not_break_off(tmp_path: Path, suffix: str, count: int) -> None:
    assert len(list(open_images(str(noise_video(tmp_path / f'clip{suffix}', count))))) == count


def test_a_video_without_a_frame_is_an_error(tmp_path: Path) -> None:
    path = noise_video(tmp_path / 'clip.avi', 30)
    content = path.read_bytes()
    path.write_bytes(content[:content.index(b'movi') + 4])
    with pytest.raises(ImageError, match='breaks off before its first frame: 0 of 30 frames'):
        list(open_images(str(path)))


def test_a_camera_that_stops_is_an_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(noise_video(tmp_path / 'clip.mp4', 5))
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture', lambda place: real(path))
    with pytest.raises(ImageError, match='camera 3 stopped after 5 frames'):
        list(open_images('3'))


def test_frames_have_their_time_and_the_copy_plays_as_long_as_the_video(tmp_path: Path) -> None:
    source = open_images(str(slower(noise_video(tmp_path / 'clip.mkv', 61, 100), 8)))
    items = list(source)
    times_ns = np.array([item.timestamp_ns for item in items])
    assert np.ptp(times_ns) == pytest.approx(60 * 0.08e9, rel=0.01)
    assert source.frames_per_second is not None
    video = VideoFile(tmp_path / 'copy.mp4', source.frames_per_second)
    for item in items:
        video.write(item.read().pixels, item.timestamp_ns)
    video.close()
    copy = open_images(str(tmp_path / 'copy.mp4'))
    assert (copy.count, copy.frames_per_second) == (61, pytest.approx(12.5, rel=0.01))
    times_ns = np.array([item.timestamp_ns for item in copy])
    assert np.ptp(times_ns) == pytest.approx(60 * 0.08e9, rel=0.01)


@pytest.mark.parametrize(('times_s', 'rate'), [
    ([0, 0.1, 0.2, 0.3], 10), ([0, 0.1, 0.2, 10.2], 0.294), ([0, 0.1, 90000, 90000.1], 10),
    ([5, 5.1, 0, 0.1], 10), ([0, 0, 0, 0], 1000), ([None] * 4, 1000)])
def test_the_rate_of_a_written_video_is_the_mean_of_its_times(
        tmp_path: Path, times_s: list[float | None], rate: float) -> None:
    video = VideoFile(tmp_path / 'clip.mp4', 1000)
    for time_s in times_s:
        video.write(np.zeros((48, 64, 3), np.uint8),
                    None if time_s is None else round(time_s * 1e9))
    video.close()
    source = open_images(str(tmp_path / 'clip.mp4'))
    assert source.count == 4
    assert source.frames_per_second == pytest.approx(rate, rel=0.01)


def test_a_name_that_is_not_utf8_is_an_error_and_no_crash(tmp_path: Path) -> None:
    clip = noise_video(tmp_path / 'clip.mp4', 3)
    for name in (os.fsdecode(b'caf\xe9.mp4'), os.fsdecode(b'caf\xe9/clip.mp4')):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(clip.read_bytes())
        with pytest.raises(ImageError, match='not UTF-8; rename the file or its folder'):
            open_images(str(path))
    with pytest.raises(OSError, match='not UTF-8; choose another folder'):
        VideoFile(path.parent / 'new.mp4', 20).write(np.zeros((48, 64, 3), np.uint8))


def test_a_colon_in_a_relative_name_is_no_protocol(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('out:1').mkdir()
    for name in ('drive:1.mp4', 'http:clip.mp4', 'out:1/clip.mp4'):
        assert len(list(open_images(str(noise_video(Path(name), 3))))) == 3


def test_a_time_lapse_keeps_its_rate(tmp_path: Path) -> None:
    """The encoder takes no rate of one frame in 15 minutes."""
    source = open_images(str(noise_video(tmp_path / 'clip.mp4', 3, 1 / 900)))
    assert source.frames_per_second == pytest.approx(1 / 900, rel=0.02) and source.count == 3
