"""Copies of bags with depth: nothing is lost, and other readers can open them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
import re
import sqlite3
from typing import Any

from bags import (
    camera_info, COMPRESSED, compressed_image, INFO, RAW, raw_image, read_bag, store, TEXT, text,
    write_bag)
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.bag_writer import check_topics, depth_topic, DepthBag
from depth_anything_ros.media.open_images import open_images
import numpy as np
from numpy.testing import assert_array_equal
import pytest

pytest.importorskip('rosbags.rosbag2')
yaml = pytest.importorskip('yaml')

IMAGE, INFO_TOPIC = '/camera/image_raw', '/camera/camera_info'
DEPTH, DEPTH_INFO = '/camera/inverse_depth/image', '/camera/inverse_depth/camera_info'
PIXELS = np.zeros((30, 40, 3), np.uint8)


def drive(folder: Path, mcap: bool = False) -> Path:
    """Write a bag of three images with camera_info, and text before, between and after them."""
    entries: list[tuple[str, str, int, Any]] = [('/chatter', TEXT, 1, text('first'))]
    for number in (1, 2, 3):
        entries += [(INFO_TOPIC, INFO, 100 * number - 1, camera_info(number)),
                    (IMAGE, RAW, 100 * number, raw_image(number, PIXELS)),
                    ('/chatter', TEXT, 100 * number + 50, text(f'after {number}'))]
    return write_bag(folder, entries, mcap)


def depth_map(index: int) -> np.ndarray:
    return np.random.default_rng(index).uniform(0.1, 9.0, (30, 40)).astype(np.float32)


def add_depth(source: Path, target: Path, kind: str = 'relative', count: int = 3,
              copy_rest: bool = True,
              make: Callable[[int], np.ndarray] = depth_map) -> DepthBag:
    """Write and return a copy of ``source`` with depth for its first ``count`` images."""
    images = open_images(str(source))
    assert images.topic is not None
    bag = DepthBag(source, target, images.topic, kind)  # type: ignore[arg-type]
    for item in list(images)[:count]:
        assert item.timestamp_ns is not None and item.header is not None
        bag.write(make(item.index), item.timestamp_ns, item.header)
    bag.close(copy_rest)
    return bag


@pytest.mark.parametrize('mcap', [False, True])
def test_every_message_stays_as_it_is_and_depth_comes_beside_its_image(
        tmp_path: Path, mcap: bool) -> None:
    source, target = drive(tmp_path / 'drive', mcap), tmp_path / 'drive_depth'
    add_depth(source, target)
    before, after = read_bag(source), read_bag(target)
    assert [entry for entry in after if 'inverse' not in entry[0]] == before
    assert sorted(path.name for path in target.iterdir()) == [
        f'drive_depth.{"mcap" if mcap else "db3"}', 'metadata.yaml']
    depths = [entry for entry in after if entry[0] == DEPTH]
    assert [timestamp for _, _, timestamp, _ in depths] == [100, 200, 300]
    for index, (_, message_type, _, data) in enumerate(depths):
        message = store().deserialize_cdr(data, message_type)
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (101 + index, 7)
        assert message.header.frame_id == 'camera_optical_frame'
        assert (message.encoding, message.is_bigendian, message.step) == ('32FC1', 0, 160)
        assert_array_equal(message.data.view(np.float32).reshape(30, 40), depth_map(index))


def infos_beside_depth(source: Path, target: Path) -> tuple[list[Any], list[Any]]:
    """Return time and data of the camera_info of the images, and of that beside their depth."""
    add_depth(source, target)
    messages = read_bag(target)
    image, depth = ([entry[2:] for entry in messages if entry[0] == topic]
                    for topic in (INFO_TOPIC, DEPTH_INFO))
    return image, depth


def test_the_camera_info_of_the_image_is_that_of_its_depth_too(tmp_path: Path) -> None:
    filled = replace(camera_info(1), p=np.array([50., 0, 20, 0, 0, 50, 15, 0, 0, 0, 1, 0]))
    bag = write_bag(tmp_path / 'bag', [(INFO_TOPIC, INFO, 99, filled),
                                       (IMAGE, RAW, 100, raw_image(1, PIXELS)),
                                       (INFO_TOPIC, INFO, 199, filled)])
    image, depth = infos_beside_depth(bag, tmp_path / 'out')
    assert len(image) == 2
    assert depth == image


def test_the_camera_info_beside_depth_is_complete(tmp_path: Path) -> None:
    """Without P, depth_image_proc finds no point in the bag; that of the image stays."""
    bare = replace(camera_info(1), distortion_model='', d=np.empty(0), r=np.zeros(9))
    bag = write_bag(tmp_path / 'bag', [(INFO_TOPIC, INFO, 99, bare),
                                       (IMAGE, RAW, 100, raw_image(1, PIXELS))])
    image, depth = infos_beside_depth(bag, tmp_path / 'out')
    assert [stamp for stamp, _ in depth] == [stamp for stamp, _ in image] == [99]
    for (_, before), (_, after) in zip(image, depth):
        empty, complete = (store().deserialize_cdr(data, INFO) for data in (before, after))
        assert not empty.p.any()
        assert_array_equal(complete.p, [50, 0, 20, 0, 0, 50, 15, 0, 0, 0, 1, 0])
        assert (complete.distortion_model, complete.d.tolist()) == ('plumb_bob', [0.0] * 5)
        assert_array_equal(complete.r, np.eye(3).ravel())
        assert complete.header == empty.header


def test_a_camera_info_that_is_listed_twice_is_copied_once(tmp_path: Path) -> None:
    metadata = drive(tmp_path / 'drive') / 'metadata.yaml'
    content = yaml.safe_load(metadata.read_text())
    topics = content['rosbag2_bagfile_information']['topics_with_message_count']
    topics += [entry for entry in topics if entry['topic_metadata']['name'] == INFO_TOPIC]
    metadata.write_text(yaml.safe_dump(content))
    image, depth = infos_beside_depth(tmp_path / 'drive', tmp_path / 'out')
    assert len(image) == len(depth) == 3


def test_without_a_camera_info_none_is_invented(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', [('/image', RAW, 1, raw_image(0, PIXELS)),
                                       ('/other/camera_info', INFO, 2, camera_info(0))])
    add_depth(bag, tmp_path / 'out')
    assert {entry[0] for entry in read_bag(tmp_path / 'out')} == {
        '/image', '/inverse_depth/image', '/other/camera_info'}


def test_metric_depth_is_nan_where_it_is_invalid(tmp_path: Path) -> None:
    depth = depth_map(0)
    depth[0, :3] = 0.0, -1.0, np.inf
    add_depth(drive(tmp_path / 'drive'), tmp_path / 'out', 'metric', 1, make=lambda index: depth)
    (entry,) = (entry for entry in read_bag(tmp_path / 'out') if entry[0] == '/camera/depth/image')
    found = store().deserialize_cdr(entry[3], RAW).data.view(np.float32).reshape(30, 40)
    assert np.isnan(found[0, :3]).all()
    assert_array_equal(found[1:], depth[1:])


def test_relative_depth_keeps_the_0_of_what_is_infinitely_far(tmp_path: Path) -> None:
    depth = depth_map(0)
    depth[0] = 0.0
    add_depth(drive(tmp_path / 'drive'), tmp_path / 'out', 'relative', 1, make=lambda index: depth)
    (entry,) = (entry for entry in read_bag(tmp_path / 'out') if entry[0] == DEPTH)
    found = store().deserialize_cdr(entry[3], RAW).data.view(np.float32).reshape(30, 40)
    assert_array_equal(found, depth)


def test_a_bag_that_ends_early_holds_everything_up_to_its_last_depth(tmp_path: Path) -> None:
    source = drive(tmp_path / 'drive')
    add_depth(source, tmp_path / 'out', count=2, copy_rest=False)
    kept = [entry for entry in read_bag(tmp_path / 'out') if 'inverse' not in entry[0]]
    assert kept == [entry for entry in read_bag(source) if entry[2] <= 200]


def test_compressed_images_get_raw_depth(tmp_path: Path) -> None:
    topic = '/camera/image_raw/compressed'
    bag = write_bag(tmp_path / 'bag', [(topic, COMPRESSED, 1, compressed_image(0, PIXELS)),
                                       (INFO_TOPIC, INFO, 2, camera_info(0))])
    add_depth(bag, tmp_path / 'out')
    assert {entry[:2] for entry in read_bag(tmp_path / 'out')} == {
        (topic, COMPRESSED), (INFO_TOPIC, INFO), (DEPTH, RAW), (DEPTH_INFO, INFO)}


@pytest.mark.parametrize(('topic', 'kind', 'expected'), [
    ('/image', 'metric', '/depth/image'), ('/image', 'relative', '/inverse_depth/image'),
    ('/a/b/image_color', 'metric', '/a/b/depth/image'),
    ('/depth/image_raw/compressed', 'metric', '/depth/depth/image')])
def test_depth_stands_beside_the_image(topic: str, kind: str, expected: str) -> None:
    assert depth_topic(topic, kind) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize('topic', ['/depth/camera_info', '/camera_info'])
def test_only_the_camera_info_beside_the_image_counts(tmp_path: Path, topic: str) -> None:
    bag = write_bag(tmp_path / 'bag', [('/depth/image', RAW, 1, raw_image(0, PIXELS)),
                                       (topic, INFO, 2, camera_info(0))])
    add_depth(bag, tmp_path / 'out')
    added = {entry[0] for entry in read_bag(tmp_path / 'out')} - {'/depth/image', topic}
    assert added == ({'/depth/inverse_depth/image', '/depth/inverse_depth/camera_info'}
                     if topic.startswith('/depth') else {'/depth/inverse_depth/image'})


def test_a_bag_that_has_such_a_topic_is_refused(tmp_path: Path) -> None:
    add_depth(drive(tmp_path / 'drive'), tmp_path / 'out')
    target = tmp_path / 'new'
    check_topics(tmp_path / 'drive', target, IMAGE, 'relative')
    check_topics(tmp_path / 'out', target, IMAGE, 'metric')
    with pytest.raises(ImageError, match='out already has /camera/inverse_depth/'):
        check_topics(tmp_path / 'out', target, IMAGE, 'relative')


def test_own_types_are_copied_whether_or_not_the_bag_defines_them(tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader
    from rosbags.rosbag2 import Reader, Writer
    source = tmp_path / 'drive'
    with Writer(source, version=8) as writer:
        image = writer.add_connection(IMAGE, RAW, typestore=store())
        own = writer.add_connection('/own', 'robot_msgs/msg/Own', msgdef='int32 x\n',
                                    rihs01=f'RIHS01_{"1" * 64}')
        writer.write(own, 1, b'\0\1\0\0\5\0\0\0')
        writer.write(image, 2, store().serialize_cdr(raw_image(0, PIXELS), RAW))
    add_depth(source, tmp_path / 'defined')
    with Reader(tmp_path / 'defined') as reader:
        (own,) = (entry for entry in reader.connections if entry.topic == '/own')
        assert (own.msgdef.data, own.digest) == ('int32 x\n', f'RIHS01_{"1" * 64}')
    # Humble writes no definitions.
    database = sqlite3.connect(source / 'drive.db3')
    database.execute('DELETE FROM message_definitions')
    database.execute("UPDATE topics SET type_description_hash = ''")
    database.commit()
    database.close()
    metadata = source / 'metadata.yaml'
    metadata.write_text(re.sub(r'type_description_hash:\s+\w+', "type_description_hash: ''",
                               metadata.read_text()))
    add_depth(source, tmp_path / 'undefined')
    copied = read_bag(tmp_path / 'undefined')
    assert ('/own', 'robot_msgs/msg/Own', 1, b'\0\1\0\0\5\0\0\0') in copied
    with AnyReader([tmp_path / 'undefined']) as reader:
        assert DEPTH in reader.topics


def test_depth_is_offered_with_the_qos_of_its_image(tmp_path: Path) -> None:
    from rosbags.interfaces import (
        Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime)
    from rosbags.rosbag2 import Reader, Writer
    never = QosTime(0, 0)
    qos = Qos(QosHistory.KEEP_LAST, 7, QosReliability.BEST_EFFORT, QosDurability.VOLATILE, never,
              never, QosLiveliness.AUTOMATIC, never, False)
    with Writer(tmp_path / 'drive', version=8) as writer:
        words = writer.add_connection('/chatter', TEXT, typestore=store())
        image = writer.add_connection(IMAGE, RAW, typestore=store(), offered_qos_profiles=[qos])
        writer.write(words, 1, store().serialize_cdr(text('first'), TEXT))
        writer.write(image, 2, store().serialize_cdr(raw_image(0, PIXELS), RAW))
    add_depth(tmp_path / 'drive', tmp_path / 'out')
    with Reader(tmp_path / 'out') as reader:
        offered = {entry.topic: entry.ext.offered_qos_profiles for entry in reader.connections}
    assert list(offered[IMAGE]) == list(offered[DEPTH]) == [qos]
    assert not offered['/chatter']


def test_any_thread_may_write(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as other:
        images = open_images(str(drive(tmp_path / 'drive')))
        item = next(iter(images))
        bag = DepthBag(tmp_path / 'drive', tmp_path / 'out', IMAGE, 'relative')
        other.submit(bag.write, depth_map(0), item.timestamp_ns, item.header).result()
        bag.close(copy_rest=True)
    assert len(read_bag(tmp_path / 'out')) == 10 + 1 + 3


def test_rclpy_reads_the_depth(tmp_path: Path) -> None:
    serialization = pytest.importorskip('rclpy.serialization')
    messages = pytest.importorskip('sensor_msgs.msg')
    add_depth(drive(tmp_path / 'drive'), tmp_path / 'out')
    data = next(entry[3] for entry in read_bag(tmp_path / 'out') if entry[0] == DEPTH)
    message = serialization.deserialize_message(data, messages.Image)
    assert (message.encoding, message.height, message.width) == ('32FC1', 30, 40)
    assert message.header.frame_id == 'camera_optical_frame'
    assert_array_equal(np.frombuffer(message.data, np.float32).reshape(30, 40), depth_map(0))


@pytest.mark.parametrize('mcap', [False, True])
def test_messages_that_rosbags_leaves_out_are_named(tmp_path: Path, mcap: bool) -> None:
    """It reads no topic whose QoS in metadata.yaml is another one than in the storage."""
    from rosbags.interfaces import (
        Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime)
    from rosbags.rosbag2 import StoragePlugin, Writer
    never = QosTime(0, 0)
    latched = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
                  never, never, QosLiveliness.AUTOMATIC, never, False)
    source = tmp_path / 'drive'
    with Writer(source, version=8, storage_plugin=(
            StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3)) as writer:
        image = writer.add_connection(IMAGE, RAW, typestore=store())
        words = writer.add_connection('/static', TEXT, typestore=store(),
                                      offered_qos_profiles=[latched])
        writer.write(image, 1, store().serialize_cdr(raw_image(0, PIXELS), RAW))
        writer.write(words, 2, store().serialize_cdr(text('a'), TEXT))
    assert add_depth(source, tmp_path / 'whole', count=1).problem is None
    metadata = source / 'metadata.yaml'
    content = yaml.safe_load(metadata.read_text())
    for topic in content['rosbag2_bagfile_information']['topics_with_message_count']:
        topic['topic_metadata']['offered_qos_profiles'] = ''
    metadata.write_text(yaml.safe_dump(content))
    assert add_depth(source, tmp_path / 'early', count=1, copy_rest=False).problem is None
    problem = str(add_depth(source, tmp_path / 'out', count=1).problem)
    assert problem.endswith('or with another QoS, on /static (0 of 1); make that file again with '
                            f'`ros2 bag reindex {source}`')


def test_a_type_that_an_mcap_bag_does_not_define_is_copied(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rosbags.highlevel import AnyReader
    from rosbags.rosbag2 import Reader, StoragePlugin, storage_mcap, Writer
    whole = storage_mcap.write_schema
    source = tmp_path / 'drive'
    with Writer(source, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        monkeypatch.setattr(storage_mcap, 'write_schema', lambda stream, schema: whole(
            stream, schema if schema.name == RAW else storage_mcap.Schema(
                schema.id, schema.name, '', '')))
        image = writer.add_connection(IMAGE, RAW, typestore=store())
        for topic in ('/own', '/other'):
            own = writer.add_connection(topic, 'robot_msgs/msg/Own', msgdef='int32 x\n',
                                        rihs01=f'RIHS01_{"1" * 64}')
            writer.write(own, 1, b'\0\1\0\0\5\0\0\0')
        writer.write(image, 2, store().serialize_cdr(raw_image(0, PIXELS), RAW))
    monkeypatch.undo()
    assert add_depth(source, tmp_path / 'out').problem is None
    for topic in ('/own', '/other'):
        assert (topic, 'robot_msgs/msg/Own', 1, b'\0\1\0\0\5\0\0\0') in read_bag(tmp_path / 'out')
    with Reader(tmp_path / 'out' / 'out.mcap') as reader:
        assert {entry.topic: entry.msgdef.data for entry in reader.connections}['/own'] == ''
    with AnyReader([tmp_path / 'out']) as reader:
        assert DEPTH in reader.topics


def test_what_rosbags_cannot_write_is_one_sentence_for_each_image(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rosbags.rosbag2 import Writer

    def fail(*_: object, **__: object) -> None:
        raise StopIteration('no schema')

    source = drive(tmp_path / 'drive')
    monkeypatch.setattr(Writer, 'add_connection', fail)
    for _ in range(2):
        with pytest.raises(ImageError, match='drive cannot be copied .no schema.; write files'):
            DepthBag(source, tmp_path / 'out', IMAGE, 'relative')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('mcap', [False, True])
def test_the_storage_is_that_of_the_files_not_of_the_name(tmp_path: Path, mcap: bool) -> None:
    source = drive(tmp_path / 'plain', mcap).rename(tmp_path / 'drive.mcap')
    add_depth(source, tmp_path / 'out')
    assert len(list((tmp_path / 'out').glob('*.mcap' if mcap else '*.db3'))) == 1
