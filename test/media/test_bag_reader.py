"""Images of ROS 2 bags, read without ROS."""

from contextlib import closing
from dataclasses import replace
import errno
import os
from pathlib import Path
import shutil
import sqlite3
import sys

from bags import (
    camera_info, COMPRESSED, compressed_image, INFO, RAW, raw_image, store, TEXT, text, write_bag)
import cv2
from depth_anything_ros.errors import ImageError, MissingDependencyError
from depth_anything_ros.media.bag_reader import is_bag
from depth_anything_ros.media.open_images import list_recordings, open_images
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np
from numpy.testing import assert_array_equal
from photos import with_orientation
import pytest

pytest.importorskip('rosbags.rosbag2')


def picture(level: int) -> np.ndarray:
    return np.random.default_rng(level).integers(0, 255, (30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize('mcap', [False, True])
def test_a_bag_gives_its_images_with_header_and_time(tmp_path: Path, mcap: bool) -> None:
    bag = write_bag(tmp_path / 'drive', [
        ('/chatter', TEXT, 5, text('hello')),
        *(('/camera/image_raw', RAW, 1000 * number, raw_image(number, picture(number)))
          for number in (1, 2, 3)),
        ('/camera/camera_info', INFO, 6, camera_info(0))], mcap)
    (file,) = bag.glob('drive.*')
    for name in (bag, file):
        source = open_images(str(name))
        assert (source.kind, source.count, source.size_hw) == ('bag', 3, (30, 40))
        assert source.topic == '/camera/image_raw'
        items = list(source)
        assert [item.timestamp_ns for item in items] == [1000, 2000, 3000]
        for number, item in enumerate(items, start=1):
            assert item.header is not None and item.header.frame_id == 'camera_optical_frame'
            assert (item.header.stamp_sec, item.header.stamp_nanosec) == (100 + number, 7)
            assert_array_equal(item.read().pixels, picture(number))


@pytest.mark.parametrize(('encoding', 'channels'), [
    ('bgr8', 3), ('rgb8', 3), ('bgra8', 4), ('rgba8', 4), ('mono8', 1)])
def test_raw_images_keep_their_order_and_lose_their_padding(
        tmp_path: Path, encoding: str, channels: int) -> None:
    bgr = picture(1)
    pixels = {'bgr8': bgr, 'rgb8': bgr[..., ::-1], 'mono8': bgr[..., 0],
              'bgra8': np.dstack([bgr, bgr[..., :1]]),
              'rgba8': np.dstack([bgr[..., ::-1], bgr[..., :1]])}[encoding]
    bag = write_bag(tmp_path / 'bag', [('/image', RAW, 1, raw_image(0, pixels, encoding, 5))])
    (item,) = open_images(str(bag))
    expected = np.repeat(bgr[..., :1], 3, axis=2) if channels == 1 else bgr
    assert_array_equal(to_bgr(item.read()), expected)


@pytest.mark.parametrize('encoding', ['yuv422', 'yuyv', 'bayer_grbg8', 'mono16', 'nv21'])
def test_encodings_of_cameras_are_decoded_like_by_the_node(tmp_path: Path,
                                                           encoding: str) -> None:
    gray = np.full((30, 40), 120, np.uint8)
    neutral = np.full_like(gray, 128)
    pixels = {'yuv422': np.stack([neutral, gray], axis=-1), 'bayer_grbg8': gray,
              'yuyv': np.stack([gray, neutral], axis=-1), 'nv21': gray,
              'mono16': gray.astype(np.uint16) * 257}[encoding]
    message = raw_image(0, pixels, encoding)
    if encoding == 'nv21':
        message.data = np.concatenate([message.data, neutral[:15].reshape(-1)])
    source = open_images(str(write_bag(tmp_path / 'bag', [('/image', RAW, 1, message)])))
    assert source.size_hw == (30, 40)
    found = to_bgr(next(iter(source)).read())
    assert found.shape == (30, 40, 3)
    assert abs(found.astype(int) - 120).max() <= 5


def test_compressed_images_are_decoded(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', [
        ('/camera/image/compressed', COMPRESSED, 1, compressed_image(0, picture(1)))])
    source = open_images(str(bag))
    assert source.size_hw == (30, 40)
    assert_array_equal(next(iter(source)).read().pixels, picture(1))


def test_compressed_images_of_a_bag_are_not_turned_upright(tmp_path: Path) -> None:
    """Like those on a topic, because camera_info describes them as they are stored."""
    message = compressed_image(0, picture(1))
    jpeg = cv2.imencode('.jpg', picture(1))[1].tobytes()
    message.data = np.frombuffer(with_orientation(jpeg, 6), np.uint8)
    source = open_images(str(write_bag(tmp_path / 'bag', [
        ('/camera/image/compressed', COMPRESSED, 1, message)])))
    assert source.size_hw == (30, 40)
    assert next(iter(source)).read().size_hw == (30, 40)


def test_of_several_image_topics_one_must_be_chosen(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', [
        ('/left/image', RAW, 1, raw_image(0, picture(1))),
        ('/right/image', RAW, 2, raw_image(0, picture(2)))])
    with pytest.raises(ImageError, match='choose one: /left/image, /right/image'):
        open_images(str(bag))
    with pytest.raises(ImageError, match='no images on /top; it has them on /left/image, /right'):
        open_images(str(bag), '/top')
    (item,) = open_images(str(bag), '/right/image')
    assert_array_equal(item.read().pixels, picture(2))


def test_a_bag_without_images_or_of_foreign_ones_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'text', [('/chatter', TEXT, 5, text('hello'))])
    with pytest.raises(ImageError, match='text holds no image; its topics are .*supported are se'):
        open_images(str(bag))
    depth = np.zeros((30, 40), np.float32)
    bag = write_bag(tmp_path / 'depth', [('/depth', RAW, 5, raw_image(0, depth, '32FC1'))])
    with pytest.raises(ImageError, match="'32FC1' on /depth cannot be read; supported are bgr8"):
        open_images(str(bag))


def test_one_bad_message_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = raw_image(2, picture(2))
    broken.data = broken.data[:100]
    bag = write_bag(tmp_path / 'bag', [
        ('/image', RAW, 1, raw_image(1, picture(1))), ('/image', RAW, 2_500_000_000, broken),
        ('/image', RAW, 3_000_000_000, raw_image(3, picture(3)))])
    first, second, third = open_images(str(bag))
    assert_array_equal(first.read().pixels, picture(1))
    assert second.name == '/image at 2.500 s'
    with pytest.raises(ImageError, match='data has 100 bytes'):
        second.read()
    assert_array_equal(third.read().pixels, picture(3))


def test_a_message_that_is_no_image_message_is_damaged(tmp_path: Path) -> None:
    from rosbags.rosbag2 import Writer
    with Writer(tmp_path / 'bag', version=8) as writer:
        connection = writer.add_connection('/image', RAW, typestore=store())
        writer.write(connection, 1, b'\0\1\0\0' + b'\xff' * 9)
    (item,) = open_images(str(tmp_path / 'bag'))
    assert item.header is None
    with pytest.raises(ImageError, match='the message is damaged'):
        item.read()


def test_without_rosbags_the_line_that_installs_it_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'rosbags.rosbag2', None)
    (tmp_path / 'bag.mcap').write_bytes(b'')
    with pytest.raises(MissingDependencyError, match='reading a bag needs rosbags, .*tools'):
        open_images(str(tmp_path / 'bag.mcap'))


@pytest.mark.parametrize('mcap', [False, True])
def test_a_damaged_bag_is_one_clear_error(tmp_path: Path, mcap: bool) -> None:
    bag = write_bag(tmp_path / 'bag', [
        ('/image', RAW, number, raw_image(0, picture(1))) for number in range(20)], mcap)
    (file,) = bag.glob('bag.*')
    file.write_bytes(file.read_bytes()[:5000])
    for name in (bag, file):
        with pytest.raises(ImageError, match='cannot be read as a bag .*is it complete') as caught:
            list(open_images(str(name)))
        assert ('`mcap recover` repairs' in str(caught.value)) is mcap
    (bag / 'metadata.yaml').write_text('nothing: [')
    with pytest.raises(ImageError, match='cannot be read as a bag'):
        open_images(str(bag))


@pytest.mark.parametrize('mcap', [False, True])
def test_a_folder_without_metadata_is_read_from_its_only_file(tmp_path: Path, mcap: bool) -> None:
    bag = write_bag(tmp_path / 'crashed', [('/image', RAW, 1, raw_image(1, picture(1)))], mcap)
    (bag / 'metadata.yaml').unlink()
    (bag / 'crashed.db3-wal').write_bytes(b'')
    source = open_images(str(bag))
    assert (source.kind, source.name) == ('bag', str(bag))
    assert_array_equal(next(iter(source)).read().pixels, picture(1))


def test_of_several_files_without_metadata_the_command_that_makes_it_is_named(
        tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'crashed', [('/image', RAW, 1, raw_image(1, picture(1)))])
    (bag / 'metadata.yaml').unlink()
    (bag / 'crashed_1.db3').write_bytes((bag / 'crashed.db3').read_bytes())
    with pytest.raises(ImageError, match='no metadata.yaml.* `ros2 bag reindex .*crashed`.* 2 fi'):
        open_images(str(bag))


def test_pictures_beside_a_file_of_a_bag_are_still_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / 'drive.mcap').write_bytes(b'')
    (tmp_path / 'photo.png').write_bytes(b'')
    assert open_images(str(tmp_path)).kind == 'images'


@pytest.mark.parametrize(('name', 'fix'), [
    ('drive.bag', 'is a bag of ROS 1; convert it with `rosbags-convert --src .*drive.bag'),
    ('drive.db3.zstd', 'is compressed; .* `zstd -d .*drive.db3.zstd`'),
    ('drive_0.mcap.zstd', 'is compressed; .* `zstd -d .*drive_0.mcap.zstd`')])
def test_bags_of_other_kinds_are_named_with_the_command_that_converts_them(
        tmp_path: Path, name: str, fix: str) -> None:
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / name).write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(ImageError, match=fix):
        open_images(str(tmp_path / 'folder' / name))
    if name.endswith('.zstd'):
        with pytest.raises(ImageError, match=fix):
            open_images(str(tmp_path / 'folder'))


def test_a_bag_without_images_lists_its_topics(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'text', [
        ('/chatter', TEXT, 5, text('hello')), ('/camera_info', INFO, 6, camera_info(0)),
        ('/camera_info', INFO, 7, camera_info(0))])
    for topic in (None, '/image'):
        with pytest.raises(ImageError, match=(
                r'its topics are /camera_info \(sensor_msgs/msg/CameraInfo, 2 messages\), '
                r'/chatter \(std_msgs/msg/String, 1 messages\); supported are')):
            open_images(str(bag), topic)


def test_a_recording_that_was_cut_off_names_the_command_that_repairs_it(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', [
        ('/image', RAW, number, raw_image(0, picture(1))) for number in range(20)], mcap=True)
    (bag / 'metadata.yaml').unlink()
    (bag / 'bag.mcap').write_bytes((bag / 'bag.mcap').read_bytes()[:5000])
    with pytest.raises(ImageError, match='is it complete.; after a crash `mcap recover`'):
        list(open_images(str(bag)))


@pytest.mark.parametrize('size', [(0, 0), (2**32 - 1, 2**32 - 1), (20000, 12000)])
def test_a_first_message_with_an_impossible_size_states_none(
        tmp_path: Path, size: tuple[int, int]) -> None:
    wrong = replace(raw_image(0, picture(1)), height=size[0], width=size[1],
                    step=3 * size[1] % 2**32)
    write_bag(tmp_path / 'drive', [
        ('/camera/image_raw', RAW, number, message)
        for number, message in enumerate((wrong, raw_image(1, picture(1))), start=1)])
    source = open_images(str(tmp_path / 'drive'))
    first, second = source
    assert source.size_hw is None and second.read().size_hw == (30, 40)
    with pytest.raises(ImageError):
        first.read()


def test_a_topic_with_several_types_gives_its_images(tmp_path: Path) -> None:
    from rosbags.rosbag2 import Writer
    with Writer(tmp_path / 'drive', version=8) as writer:
        for number, (kind, message) in enumerate((
                (RAW, raw_image(0, picture(1))), (TEXT, text('no image')),
                (COMPRESSED, compressed_image(1, picture(1))))):
            connection = writer.add_connection('/camera/image_raw', kind, typestore=store())
            writer.write(connection, number, store().serialize_cdr(message, kind))
    source = open_images(str(tmp_path / 'drive'))
    assert source.count == 2
    assert [item.read().size_hw for item in source] == [(30, 40)] * 2


@pytest.mark.parametrize(('before', 'after', 'sentence'), [
    ('/camera/image_raw', '/camera/other', 'counts some; make that file again with `ros2 bag'),
    ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage', 'counts some; make that file'),
    ('version: 8', 'version: [[', 'reindex .*drive` makes its metadata.yaml again')])
def test_metadata_of_another_bag_is_answered_with_the_command_that_makes_it(
        tmp_path: Path, before: str, after: str, sentence: str) -> None:
    folder = write_bag(
        tmp_path / 'drive', [('/camera/image_raw', RAW, 1, raw_image(0, picture(1)))])
    metadata = folder / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace(before, after))
    with pytest.raises(ImageError, match=sentence):
        open_images(str(tmp_path / 'drive'))


@pytest.mark.parametrize('has_metadata', [True, False])
def test_messages_that_sqlite_keeps_beside_the_file_are_not_left_out_silently(
        tmp_path: Path, has_metadata: bool) -> None:
    folder = write_bag(
        tmp_path / 'live', [('/camera/image_raw', RAW, 1, raw_image(0, picture(1)))])
    with closing(sqlite3.connect(folder / 'live.db3')) as database:
        database.execute('PRAGMA journal_mode=WAL')
        database.execute('UPDATE messages SET timestamp = 5')
        database.commit()
        shutil.copytree(folder, tmp_path / 'crashed')
    if not has_metadata:
        (tmp_path / 'crashed' / 'metadata.yaml').unlink()
    with pytest.raises(ImageError, match=r'live.db3-wal holds a part .*close it with `sqlite3'):
        open_images(str(tmp_path / 'crashed'))
    assert len(list(open_images(str(folder)))) == 1


@pytest.mark.parametrize('name', ['run#1', 'really?', '100%25'])
def test_a_name_that_rosbags_takes_for_another_one_is_named(tmp_path: Path, name: str) -> None:
    one = [('/camera/image_raw', RAW, 1, raw_image(0, picture(1)))]
    write_bag(tmp_path / 'drive', one).rename(tmp_path / name)
    with pytest.raises(ImageError, match='in its path; rename the file or folder'):
        open_images(str(tmp_path / name))


def test_a_damaged_table_of_messages_is_one_clear_error(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / 'drive', [
        ('/camera/image_raw', RAW, number, raw_image(number, picture(number)))
        for number in (1, 2)])
    with closing(sqlite3.connect(folder / 'drive.db3')) as database:
        database.execute("UPDATE messages SET timestamp = 'soon' WHERE id = 2")
        database.commit()
    images = iter(open_images(str(folder)))
    assert next(images).timestamp_ns == 1
    with pytest.raises(ImageError, match='the table of messages is damaged'):
        next(images)


@pytest.mark.parametrize('name', ['drive.bag', 'drive.zstd', 'drive.mcap', 'drive.db3'])
def test_the_folder_of_a_bag_may_have_any_name(tmp_path: Path, name: str) -> None:
    one = [('/camera/image_raw', RAW, 1, raw_image(0, picture(1)))]
    write_bag(tmp_path / 'all' / 'plain', one).rename(tmp_path / 'all' / name)
    assert len(list(open_images(str(tmp_path / 'all' / name)))) == 1
    assert not is_bag(tmp_path / 'all')
    assert list_recordings(str(tmp_path / 'all')) == [str(tmp_path / 'all' / name)]
    with pytest.raises(ImageError, match='holds no image'):
        open_images(str(tmp_path / 'all'))


def test_a_full_temporary_folder_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is where rosbags puts the content of compressed files."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, reader, Writer
    writer = Writer(tmp_path / 'drive', version=8)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        image = writer.add_connection('/image', RAW, typestore=store())
        writer.write(image, 1, store().serialize_cdr(raw_image(0, picture(1)), RAW))
    assert len(list(open_images(str(tmp_path / 'drive')))) == 1

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(reader.shutil, 'copyfileobj', fail)
    with pytest.raises(ImageError, match=(
            'drive is compressed, and .* has no room .* name another folder in TMPDIR')):
        open_images(str(tmp_path / 'drive'))
