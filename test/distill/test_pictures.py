"""What is taken of folders, videos and bags, and what is never learned from."""

from functools import partial
import os
from pathlib import Path

from bags import RAW, raw_image, write_bag
import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.video import VideoFile
import numpy as np
import pytest

pytest.importorskip('rich')

from depth_anything_ros.cli.progress import count_in_lines  # noqa: E402, I100
from depth_anything_ros.distill.dataset import collect, hold_out, Picture, Selection  # noqa: E402

NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def write(path: Path, size_hw: tuple[int, int] = (48, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(NOISE, size_hw[::-1]))
    return path


def input_spec(data: list[Path], folder: Path, how: Selection | None = None,
          lines: list[str] | None = None) -> list[Picture]:
    """Return the pictures of all data."""
    report = [].append if lines is None else lines.append
    return collect([str(one) for one in data], folder, how or Selection(), report,
                  partial(count_in_lines, report))


def test_photographs_stay_where_they_are_and_keep_the_number_in_their_name(
        tmp_path: Path) -> None:
    files = [write(tmp_path / 'photos' / name)
             for name in ('a_0030.png', 'deep/b17.jpg', 'night.png')]
    found = input_spec([tmp_path / 'photos'], tmp_path / 'work')
    assert [picture.path for picture in found] == files
    assert [picture.number for picture in found] == [30, 17, 2]
    assert not (tmp_path / 'work').exists()


def test_files_of_the_same_name_in_two_folders_are_two_pictures(tmp_path: Path) -> None:
    write(tmp_path / 'monday' / 'photos' / '1.png')
    write(tmp_path / 'friday' / 'photos' / '1.png')
    found = input_spec([tmp_path / 'monday' / 'photos', tmp_path / 'friday' / 'photos'], tmp_path)
    assert len({picture.name for picture in found}) == 2
    assert all(picture.name.startswith('photos/1-') for picture in found)
    assert len(input_spec([tmp_path / 'monday', tmp_path / 'monday'], tmp_path)) == 1


def test_large_photographs_are_reduced_once_and_again_when_they_change(tmp_path: Path) -> None:
    large = write(tmp_path / 'photos' / '7.png', (120, 90))
    (tmp_path / 'photos' / '8.txt').write_text('no picture')
    (picture,) = input_spec([large], tmp_path / 'work', Selection(short_side=45))
    assert picture.path.is_relative_to(tmp_path / 'work') and picture.path.suffix == '.jpg'
    assert cv2.imread(str(picture.path)).shape == (60, 45, 3)
    assert picture.number == 7
    os.utime(picture.path, ns=(10 ** 18, 2 * 10 ** 18))
    first = picture.path.stat().st_mtime_ns
    assert input_spec([large], tmp_path / 'work', Selection(short_side=45)) == [picture]
    assert picture.path.stat().st_mtime_ns == first
    os.utime(large, ns=(10 ** 18, 2 * 10 ** 18 + 1))
    input_spec([large], tmp_path / 'work', Selection(short_side=45))
    assert picture.path.stat().st_mtime_ns != first


def test_of_a_video_every_nth_frame_is_kept_as_a_picture(tmp_path: Path) -> None:
    (tmp_path / 'videos').mkdir()
    video = VideoFile(tmp_path / 'videos' / 'drive.mp4', 20)
    for level in range(0, 240, 20):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.close()
    found = input_spec([tmp_path / 'videos' / 'drive.mp4'], tmp_path / 'work', Selection(every=4))
    assert [picture.number for picture in found] == [0, 1, 2]
    assert [picture.path.name for picture in found] == ['000000.jpg', '000004.jpg', '000008.jpg']
    levels = [float(cv2.imread(str(picture.path)).mean()) for picture in found]
    assert np.abs(np.array(levels) - [0, 80, 160]).max() < 6
    times = [picture.path.stat().st_mtime_ns for picture in found]
    assert input_spec([tmp_path / 'videos'], tmp_path / 'work', Selection(every=4)) == found
    assert [picture.path.stat().st_mtime_ns for picture in found] == times


def test_of_a_bag_the_frames_of_one_topic_are_kept(tmp_path: Path) -> None:
    pytest.importorskip('rosbags.rosbag2')
    bag = write_bag(tmp_path / 'drive', [
        *(('/left', RAW, 10 * number, raw_image(number, NOISE)) for number in range(5)),
        ('/right', RAW, 99, raw_image(0, NOISE))])
    photo = write(tmp_path / 'photos' / '3.png')
    found = input_spec([bag, photo], tmp_path / 'work', Selection(every=2, topic='/left'))
    assert [picture.number for picture in found] == [0, 1, 2, 3]
    assert all(cv2.imread(str(picture.path)).shape == (48, 64, 3) for picture in found)
    with pytest.raises(ImageError, match='choose one: /left, /right'):
        input_spec([bag], tmp_path / 'work')


def test_what_cannot_be_read_is_reported_and_left_out(tmp_path: Path) -> None:
    good, lines = write(tmp_path / 'photos' / '1.png'), []
    (tmp_path / 'photos' / '2.png').write_bytes(b'no picture')
    (picture,) = input_spec([tmp_path / 'photos'], tmp_path / 'work', lines=lines)
    assert picture.path == good
    assert any('2.png is left out: OpenCV cannot decode' in line for line in lines)
    assert any('photos: 1 pictures' in line for line in lines)


def test_data_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='there is no file or folder'):
        input_spec([tmp_path / 'none'], tmp_path)
    write(tmp_path / 'photos' / '1.png')
    with pytest.raises(ImageError, match='is no bag, so it has no topic /image'):
        input_spec([tmp_path / 'photos'], tmp_path, Selection(topic='/image'))


def test_pictures_whose_number_is_divisible_are_held_out() -> None:
    pictures = [Picture(f'photos/{number}', Path(f'{number}.png'), number)
                for number in (0, 1, 5, 10, 11, 20)]
    learned, held = hold_out(pictures, 10)
    assert [picture.number for picture in learned] == [1, 5, 11]
    assert [picture.number for picture in held] == [0, 10, 20]
