"""The images of folders, videos and bags, and the split into training and held-out images."""

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
from depth_anything_ros.distill.dataset import (  # noqa: E402
    collect, DatasetImage, split_dataset)
from depth_anything_ros.distill.job import Selection  # noqa: E402

NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def write(path: Path, size_hw: tuple[int, int] = (48, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(NOISE, size_hw[::-1]))
    return path


def collected(data: list[Path], folder: Path, selection: Selection | None = None,
              lines: list[str] | None = None) -> list[DatasetImage]:
    """Return the images of all data."""
    report = [].append if lines is None else lines.append
    return collect([str(one) for one in data], folder, selection or Selection(), report,
                   partial(count_in_lines, report))


def test_photographs_stay_in_place_and_keep_the_number_in_their_name(
        tmp_path: Path) -> None:
    files = [write(tmp_path / 'photos' / name)
             for name in ('a_0030.png', 'deep/b17.jpg', 'night.png')]
    found = collected([tmp_path / 'photos'], tmp_path / 'work')
    assert [image.path for image in found] == files
    assert [image.number for image in found] == [30, 17, 2]
    assert not (tmp_path / 'work').exists()


def test_files_of_the_same_name_in_two_folders_are_two_images(tmp_path: Path) -> None:
    write(tmp_path / 'monday' / 'photos' / '1.png')
    write(tmp_path / 'friday' / 'photos' / '1.png')
    found = collected([tmp_path / 'monday' / 'photos', tmp_path / 'friday' / 'photos'], tmp_path)
    assert len({image.name for image in found}) == 2
    assert all(image.name.startswith('photos/1-') for image in found)
    assert len(collected([tmp_path / 'monday', tmp_path / 'monday'], tmp_path)) == 1


def test_large_photographs_are_reduced_once(tmp_path: Path) -> None:
    large = write(tmp_path / 'photos' / '7.png', (120, 90))
    (tmp_path / 'photos' / '8.txt').write_text('no picture')
    (image,) = collected([large], tmp_path / 'work', Selection(short_side=45))
    assert image.path.is_relative_to(tmp_path / 'work') and image.path.suffix == '.jpg'
    assert cv2.imread(str(image.path)).shape == (60, 45, 3)
    assert image.number == 7
    os.utime(image.path, ns=(10 ** 18, 2 * 10 ** 18))
    first = image.path.stat().st_mtime_ns
    assert collected([large], tmp_path / 'work', Selection(short_side=45)) == [image]
    assert image.path.stat().st_mtime_ns == first


@pytest.mark.parametrize('name', ['1.png', '1.mp4'])
def test_an_image_that_was_replaced_is_another_one_although_it_is_older(
        tmp_path: Path, name: str) -> None:
    """So it has no label yet. Moving and unpacking keep the times of files."""
    def record(level: int, time_ns: int) -> DatasetImage:
        data.mkdir(exist_ok=True)
        picture = np.full((96, 128, 3), level, np.uint8)
        if name.endswith('.png'):
            cv2.imwrite(str(data / name), picture)
        else:
            video = VideoFile(data / name, 20)
            video.write(picture)
            video.close()
        os.utime(data / name, ns=(time_ns, time_ns))
        (image,) = collected([data], tmp_path / 'work', Selection(short_side=48))
        return image

    data = tmp_path / 'data'
    first = record(50, 10 ** 18)
    second = record(200, 10 ** 17)
    assert first.name != second.name
    for image, level in ((first, 50), (second, 200)):
        assert abs(cv2.imread(str(image.path)).mean() - level) < 4
    assert record(200, 10 ** 17) == second


def test_every_nth_frame_of_a_video_becomes_a_file(tmp_path: Path) -> None:
    (tmp_path / 'videos').mkdir()
    video = VideoFile(tmp_path / 'videos' / 'drive.mp4', 20)
    for level in range(0, 240, 20):
        video.write(np.full((48, 64, 3), level, np.uint8))
    video.close()
    found = collected([tmp_path / 'videos' / 'drive.mp4'], tmp_path / 'work', Selection(every=4))
    assert [image.number for image in found] == [0, 1, 2]
    assert [image.path.name for image in found] == ['000000.jpg', '000004.jpg', '000008.jpg']
    levels = [float(cv2.imread(str(image.path)).mean()) for image in found]
    assert np.abs(np.array(levels) - [0, 80, 160]).max() < 6
    times = [image.path.stat().st_mtime_ns for image in found]
    assert collected([tmp_path / 'videos'], tmp_path / 'work', Selection(every=4)) == found
    assert [image.path.stat().st_mtime_ns for image in found] == times


def test_the_frames_of_one_topic_of_a_bag_become_files(tmp_path: Path) -> None:
    pytest.importorskip('rosbags.rosbag2')
    bag = write_bag(tmp_path / 'drive', [
        *(('/left', RAW, 10 * number, raw_image(number, NOISE)) for number in range(5)),
        ('/right', RAW, 99, raw_image(0, NOISE))])
    photo = write(tmp_path / 'photos' / '3.png')
    found = collected([bag, photo], tmp_path / 'work', Selection(every=2, topic='/left'))
    assert [image.number for image in found] == [0, 1, 2, 3]
    assert all(cv2.imread(str(image.path)).shape == (48, 64, 3) for image in found)
    with pytest.raises(ImageError, match='choose one: /left, /right'):
        collected([bag], tmp_path / 'work')


def test_unreadable_images_are_reported_and_left_out(tmp_path: Path) -> None:
    good, lines = write(tmp_path / 'photos' / '1.png'), []
    (tmp_path / 'photos' / '2.png').write_bytes(b'no picture')
    (image,) = collected([tmp_path / 'photos'], tmp_path / 'work', lines=lines)
    assert image.path == good
    assert any('2.png is left out: OpenCV cannot decode' in line for line in lines)
    assert any('photos: 1 images' in line for line in lines)


def test_data_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='there is no file or folder'):
        collected([tmp_path / 'none'], tmp_path)
    write(tmp_path / 'photos' / '1.png')
    with pytest.raises(ImageError, match='is no bag, so it has no topic /image'):
        collected([tmp_path / 'photos'], tmp_path, Selection(topic='/image'))


def test_images_whose_number_is_divisible_are_held_out() -> None:
    images = [DatasetImage(f'photos/{number}', Path(f'{number}.png'), number)
              for number in (0, 1, 5, 10, 11, 12, 13, 14, 15, 16, 20)]
    training, held_out = split_dataset(images, 10)
    assert [image.number for image in training] == [1, 5, 11, 12, 13, 14, 15, 16]
    assert [image.number for image in held_out] == [0, 10, 20]
    with pytest.raises(ImageError, match='7 training images and 3 held-out images are too few'):
        split_dataset([image for image in images if image.number != 5], 10)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
def test_a_folder_of_photographs_may_hold_jpeg_png_and_webp(tmp_path: Path, suffix: str) -> None:
    small = write(tmp_path / 'photos' / f'1{suffix}')
    write(tmp_path / 'photos' / f'2{suffix}', (120, 90))
    first, second = collected([tmp_path / 'photos'], tmp_path / 'work', Selection(short_side=60))
    assert (first.path, first.number) == (small, 1)
    assert cv2.imread(str(first.path)).shape == (48, 64, 3)
    assert second.path.suffix == '.jpg' and cv2.imread(str(second.path)).shape == (80, 60, 3)


def test_a_large_photograph_may_have_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b'caf\xe9_7.png')
    write(tmp_path / 'photos' / '7.png', (120, 90)).rename(tmp_path / 'photos' / name)
    (image,) = collected([tmp_path / 'photos'], tmp_path / 'work', Selection(short_side=45))
    assert image.path.suffix == '.jpg' and image.path.stat().st_size > 500


def test_names_may_be_long_and_files_that_are_left_out_are_counted(tmp_path: Path) -> None:
    write(tmp_path / '7.png', (120, 90)).rename(tmp_path / f'{"x" * 249}_7.png')
    (tmp_path / 'a.heic').write_bytes(b'')
    video = VideoFile(tmp_path / f'{"y" * 251}.mp4', 20)
    video.write(NOISE)
    video.close()
    lines: list[str] = []
    photo, frame = collected([tmp_path, tmp_path / f'{"y" * 251}.mp4'], tmp_path / 'work',
                             Selection(short_side=45), lines)
    assert photo.number == 7 and photo.path.is_file() and frame.path.is_file()
    assert any('left out: 1 .heic, 1 .mp4;' in line for line in lines)
