"""Images with measured depth from folders and bags, and a sentence for each kind of bad data."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
import os
from pathlib import Path
import sqlite3
from typing import Any

from bags import COMPRESSED, INFO, RAW, write_bag
import cv2
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.errors import DatasetError, DepthAnythingError, ImageError
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
from numpy.testing import assert_allclose
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('rosbags')

import bags  # noqa: E402, I100
from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402
from depth_anything_ros.distill.metric.bags import BagTopics  # noqa: E402
from depth_anything_ros.distill.metric.checks import (  # noqa: E402
    check_pairs, draw_pairs, measure_agreement)
from depth_anything_ros.distill.metric.frames import (  # noqa: E402
    collect_frames, Frame, FrameSelection)
from depth_anything_ros.distill.metric.objective import MetricPair  # noqa: E402
from depth_anything_ros.distill.metric.split import split_frames  # noqa: E402

SELECTION = FrameSelection(1, 384, DepthRange(0.5, 20.0))
YAML = """
color: 'rgb_*.png'
depth: 'depth_*.png'
depth_scale: 1000
max_depth: 50
camera: [50, 60, 20, 15]
"""


def depth_of(number: int, size_hw: tuple[int, int] = (30, 40)) -> np.ndarray:
    """Return millimetres of a box before a wall; it moves with the number."""
    depth = np.full(size_hw, 4000, np.uint16)
    depth[8:20, number:number + 12] = 1500
    return depth


def picture(number: int, size_hw: tuple[int, int] = (30, 40)) -> np.ndarray:
    rng = np.random.default_rng(number)
    return cv2.resize(rng.integers(0, 255, (4, 5, 3), np.uint8), size_hw[::-1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the description of a folder with twelve images and their depth."""
    target = tmp_path / 'room'
    target.mkdir()
    for number in range(12):
        cv2.imwrite(str(target / f'rgb_{number:02}.png'), picture(number))
        cv2.imwrite(str(target / f'depth_{number:02}.png'), depth_of(number))
    (target / 'room.yaml').write_text(YAML)
    return target / 'room.yaml'


def collect(data: Path, work: Path, selection: FrameSelection = SELECTION,
            lines: list[str] | None = None) -> list[Frame]:
    report: Callable[[str], Any] = [].append if lines is None else lines.append
    return collect_frames([str(data)], work, selection, report,
                          partial(count_in_lines, lambda line: None))


def test_frames_of_a_folder_are_reduced_with_their_focal_length(
        folder: Path, tmp_path: Path) -> None:
    frames = collect(folder, tmp_path, replace(SELECTION, every=5, short_side=15))
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert all(frame.focal_xy == (25, 30) for frame in frames)
    assert cv2.imread(str(frames[1].image.path)).shape == (15, 20, 3)
    depth = frames[1].read_depth()
    assert_allclose(depth, depth_of(5)[1::2, 1::2] / 1000, rtol=1e-3)
    again = collect(folder, tmp_path, replace(SELECTION, every=5, short_side=15))
    assert again == frames


def read_again(data: Path, work: Path) -> bool:
    """Return whether the frames of data are made again."""
    lines: list[str] = []
    collect_frames([str(data)], work, SELECTION, print,
                   partial(count_in_lines, lines.append, period_s=0.0))
    return bool(lines)


@pytest.mark.parametrize('name', ['rgb_03.png', 'depth_03.png', 'room.yaml'])
def test_a_file_of_a_folder_that_was_replaced_is_read_again(
        name: str, folder: Path, tmp_path: Path) -> None:
    """By an older one too, as where one of two versions of a folder takes the place of another."""
    assert read_again(folder, tmp_path) and not read_again(folder, tmp_path)
    changed = folder.with_name(name)
    os.utime(changed, ns=(10 ** 18, 10 ** 18))
    assert read_again(folder, tmp_path) and not read_again(folder, tmp_path)
    before = collect(folder, tmp_path)[3].read_depth()
    cv2.imwrite(str(folder.with_name('depth_03.png')), depth_of(9))
    assert not np.array_equal(collect(folder, tmp_path)[3].read_depth(), before, equal_nan=True)


def test_a_file_of_a_bag_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    bag = recording(tmp_path / 'bag')
    assert read_again(bag, tmp_path) and not read_again(bag, tmp_path)
    change_messages(bag, '/camera/depth', 'UPDATE messages SET timestamp = timestamp + 1')
    assert read_again(bag, tmp_path) and not read_again(bag, tmp_path)


def camera_info(**changes: Any) -> Any:
    message = bags.camera_info(0)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def depth_message(number: int, frame_id: str = 'camera_optical_frame',
                  values: np.ndarray | None = None, late_ns: int = 0) -> Any:
    values = depth_of(number) if values is None else values
    message = bags.raw_image(number, values, '16UC1' if values.dtype == np.uint16 else '32FC1')
    message.header.frame_id = frame_id
    message.header.stamp.nanosec += late_ns
    return message


def recording(folder: Path, *, info: Any = 'default', compressed: bool = False,
              image_topic: str = '/camera/color', **depth: Any) -> Path:
    """Write a bag of twelve frames."""
    entries = []
    for number in range(12):
        at = number * 10 ** 9
        image = (bags.compressed_image if compressed else bags.raw_image)(number, picture(number))
        entries.append((image_topic, COMPRESSED if compressed else RAW, at, image))
        entries.append(('/camera/depth', RAW, at + 5, depth_message(number, **depth)))
        if info is not None:
            entries.append(('/camera/camera_info', INFO, at + 7,
                            camera_info() if info == 'default' else info))
    return write_bag(folder, entries)


@pytest.mark.parametrize('compressed', [False, True])
def test_frames_of_a_bag_have_the_depth_of_their_stamp(tmp_path: Path, compressed: bool) -> None:
    bag = recording(tmp_path / 'bag', compressed=compressed, late_ns=3_000_000)
    frames = collect(bag, tmp_path, replace(SELECTION, every=3))
    assert [frame.focal_xy for frame in frames] == [(50, 50)] * 4
    for number, frame in zip((0, 3, 6, 9), frames):
        assert_allclose(frame.read_depth(), depth_of(number) / 1000, rtol=1e-3)
        assert np.abs(cv2.imread(str(frame.image.path)).astype(int) - picture(number)).mean() < 4


def test_depth_belongs_to_the_nearest_of_several_images(tmp_path: Path) -> None:
    """A camera of 100 Hz has several images within the limit around each depth of 10 Hz."""
    entries: list[tuple[str, str, int, Any]] = [('/camera/camera_info', INFO, 0, camera_info())]
    for number in range(60):
        at = number * 10_000_000
        image, depth = bags.raw_image(0, picture(number)), depth_message(number // 10)
        for message in (image, depth):
            message.header.stamp.sec, message.header.stamp.nanosec = 1, at
        entries.append(('/camera/color', RAW, at, image))
        if number % 10 == 5:
            entries.append(('/camera/depth', RAW, at + 1, depth))
    bag = write_bag(tmp_path / 'bag', entries)
    frames = collect(bag, tmp_path, replace(SELECTION, every=2))
    assert len(frames) == 3
    for number, frame in zip((5, 25, 45), frames):
        assert_allclose(frame.read_depth(), depth_of(number // 10) / 1000, rtol=1e-3)
        assert np.abs(cv2.imread(str(frame.image.path)).astype(int) - picture(number)).mean() < 4


def test_a_message_that_was_recorded_twice_counts_once(tmp_path: Path) -> None:
    bag = recording(tmp_path / 'bag')
    with closing(sqlite3.connect(next(bag.glob('*.db3')))) as database, database:
        database.execute('INSERT INTO messages (topic_id, timestamp, data) '
                         'SELECT topic_id, timestamp + 50, data FROM messages')
    assert len(collect(bag, tmp_path)) == 12


def test_depth_of_a_bag_may_be_floats_in_metres(tmp_path: Path) -> None:
    values = np.full((30, 40), 2.5, np.float32)
    values[0, 0] = np.nan
    frames = collect(recording(tmp_path / 'bag', values=values), tmp_path)
    assert np.isnan(frames[0].read_depth()[0, 0])
    assert_allclose(frames[0].read_depth()[1:], 2.5, rtol=1e-3)


@pytest.mark.parametrize(('options', 'message'), [
    ({'info': None}, 'it holds no camera_info; record one'),
    ({'frame_id': 'depth_frame'}, 'is in the frame depth_frame, .* so it is not registered; '
     'record the depth that the driver registers'),
    ({'values': np.full((15, 20), 900, np.uint16)}, 'none of its 12 frames has valid depth'),
    ({'values': np.zeros((30, 40), np.uint16)}, 'none of its 12 frames has valid depth; check'),
    ({'late_ns': 400_000_000}, 'no depth on /camera/depth has the stamp of an image'),
    ({'info': camera_info(k=np.zeros(9))}, 'is not calibrated'),
    ({'info': camera_info(width=80)}, 'describes 80x30 images, those on /camera/color are 40x30')])
def test_a_bag_that_cannot_be_used_is_named_with_the_remedy(
        options: dict[str, Any], message: str, tmp_path: Path) -> None:
    bag = recording(tmp_path / 'bag', **options)
    with pytest.raises(DatasetError, match=message):
        collect(bag, tmp_path)


def lidar_bag(folder: Path, *, static: bool = True,
              turn_of_lidar: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0),
              row_step: int | None = None, height: int = 1, image_topic: str = '/image',
              **info: Any) -> Path:
    """Write a bag with points of a wall at 4 m and a box at 1.5 m, seen 0.2 m beside the lidar."""
    types = bags.store().types
    rows, columns = np.mgrid[0:30:3, 0:40:2]
    z = np.where((rows > 8) & (rows < 20) & (columns > 10) & (columns < 26), 1.5, 4.0)
    optical = np.stack([(columns - 20) / 50 * z, (rows - 15) / 50 * z, z], -1).reshape(-1, 3)
    # The lidar looks along its x axis, 0.2 m to the left of the camera.
    points = np.stack([optical[:, 2], -optical[:, 0] - 0.2, -optical[:, 1]], 1)
    stamped = np.concatenate([points, np.full((len(points), 1), 7)], 1).astype(np.float32)
    stamped = np.concatenate([stamped, np.full((1, 4), np.nan, np.float32)])
    field = types['sensor_msgs/msg/PointField']
    header = bags.header(0)
    header.frame_id = 'lidar'
    cloud = types['sensor_msgs/msg/PointCloud2'](
        header, height, len(stamped),
        [field(name, 4 * place, 7, 1) for place, name in enumerate('xyz')],
        False, 16, 16 * len(stamped) if row_step is None else row_step,
        stamped.view(np.uint8).reshape(-1), False)
    vector, turn = (types[f'geometry_msgs/msg/{name}'] for name in ('Vector3', 'Quaternion'))
    transforms = []
    for parent, child, place, rotation in (
            ('base', 'lidar', (0.0, 0.2, 0.5), turn_of_lidar),
            ('base', 'another sensor', (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
            ('base', 'camera_optical_frame', (0.0, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))):
        parent_header = bags.header(0)
        parent_header.frame_id = parent
        transforms.append(types['geometry_msgs/msg/TransformStamped'](
            parent_header, child, types['geometry_msgs/msg/Transform'](
                vector(*place), turn(*rotation))))
    entries = [(image_topic, RAW, 5, bags.raw_image(0, picture(0))),
               ('/points', 'sensor_msgs/msg/PointCloud2', 6, cloud),
               ('/camera_info', INFO, 7, camera_info(**info))]
    if static:
        entries.append(('/tf_static', 'tf2_msgs/msg/TFMessage', 1,
                        types['tf2_msgs/msg/TFMessage'](transforms)))
    return write_bag(folder, entries)


@pytest.mark.parametrize('row_step', [None, 0])
def test_points_of_a_lidar_become_sparse_depth_of_the_camera(
        row_step: int | None, tmp_path: Path) -> None:
    frame, = collect(lidar_bag(tmp_path / 'bag', row_step=row_step), tmp_path)
    depth = frame.read_depth()
    seen = np.isfinite(depth)
    assert 0.1 < seen.mean() < 0.2 and set(np.unique(depth[seen])) == {1.5, 4.0}
    assert depth[12, 18] == 1.5 and depth[3, 4] == 4.0
    assert np.isnan(depth[1]).all()


def test_a_cloud_that_is_cut_off_is_left_out_with_the_reason(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(DatasetError, match='none of its 1 frames'):
        collect(lidar_bag(tmp_path / 'bag', height=2), tmp_path, lines=lines)
    assert 'is left out: the point cloud has ' in lines[0] and 'truncated' in lines[0]


# A lens with barrel distortion, rectified to a picture that shows all of it.
LENS = {'d': np.array([-0.3, 0.1, 0.0, 0.0, 0.0]),
        'p': np.array([35, 0, 20, 0, 0, 35, 15, 0, 0, 0, 1, 0], np.float64)}


@pytest.mark.parametrize(('image_topic', 'focal_px'), [('/image_raw', 50), ('/image_rect', 35)])
def test_the_camera_of_a_bag_is_that_of_the_node(
        image_topic: str, focal_px: float, tmp_path: Path) -> None:
    """K and the distortion for raw images, else P: metres are proportional to the focal length."""
    bag = recording(tmp_path / 'bag', image_topic=image_topic, info=camera_info(**LENS))
    assert {frame.focal_xy for frame in collect(bag, tmp_path)} == {(focal_px, focal_px)}


def test_points_of_a_lidar_are_where_the_lens_shows_them(tmp_path: Path) -> None:
    frame, = collect(lidar_bag(tmp_path / 'bag', image_topic='/image_raw', **LENS), tmp_path)
    rows, columns = np.mgrid[0:30:3, 0:40:2]
    rays = np.stack([(columns - 20) / 50, (rows - 15) / 50, np.ones(rows.shape)], -1)
    seen = cv2.projectPoints(rays.reshape(-1, 1, 3), np.zeros(3), np.zeros(3),
                             camera_info().k.reshape(3, 3), LENS['d'])[0][:, 0]
    expected = np.zeros((30, 40), bool)
    expected[np.rint(seen[:, 1]).astype(int), np.rint(seen[:, 0]).astype(int)] = True
    found = np.isfinite(frame.read_depth())
    # Points of the wall beside the box may be hidden.
    assert not (found & ~expected).any() and found.sum() > 0.9 * expected.sum()


def test_points_without_the_pose_of_the_lidar_are_refused(tmp_path: Path) -> None:
    for number, options in enumerate(({'static': False}, {'turn_of_lidar': (0.0,) * 4})):
        bag = lidar_bag(tmp_path / f'bag_{number}', **options)
        with pytest.raises(DatasetError, match='/tf_static does not connect the frame lidar of '
                           'the points with camera_optical_frame of the images; record /tf_stat'):
            collect(bag, tmp_path)


def change_messages(bag: Path, topic: str, change: str) -> Path:
    """Change the messages of a topic in the database of a bag by an SQL statement."""
    with closing(sqlite3.connect(next(bag.glob('*.db3')))) as database, database:
        database.execute(f'{change} WHERE topic_id = (SELECT id FROM topics WHERE name = ?)',
                         (topic,))
    return bag


@pytest.mark.parametrize('topic', ['/camera/color', '/camera/depth'])
def test_a_message_without_a_whole_stamp_is_left_out(topic: str, tmp_path: Path) -> None:
    bag = change_messages(recording(tmp_path / 'bag'), topic, 'UPDATE messages SET data = '
                          "CASE timestamp / 1000000000 WHEN 3 THEN x'' WHEN 4 THEN x'0001000007' "
                          'ELSE data END')
    assert len(collect(bag, tmp_path)) == 10


@pytest.mark.parametrize('topic', ['/camera/color', '/camera/depth', '/camera/camera_info'])
def test_messages_that_only_the_metadata_has_are_named(topic: str, tmp_path: Path) -> None:
    bag = change_messages(recording(tmp_path / 'bag'), topic, 'DELETE FROM messages')
    with pytest.raises(DatasetError, match=f'no message on {topic}, although its metadata.yaml '
                       'counts some; make that file again with `ros2 bag reindex'):
        collect(bag, tmp_path)


def test_a_damaged_pose_of_the_lidar_is_named(tmp_path: Path) -> None:
    bag = change_messages(lidar_bag(tmp_path / 'bag'), '/tf_static',
                          "UPDATE messages SET data = x'00010000ff'")
    with pytest.raises(DatasetError, match='a message on /tf_static is damaged .*; record it'):
        collect(bag, tmp_path)


def test_several_topics_ask_for_a_choice(tmp_path: Path) -> None:
    entries = [(topic, RAW, 0, bags.raw_image(0, picture(0))) for topic in ('/left', '/right')]
    entries += [('/depth', RAW, 0, depth_message(0)), ('/right/camera_info', INFO, 0,
                                                       camera_info())]
    bag = write_bag(tmp_path / 'bag', entries)
    with pytest.raises(DatasetError, match='image on /left, /right; choose one with --topic'):
        collect(bag, tmp_path)
    with pytest.raises(DatasetError, match='no image on /up; name one of /left, /right'):
        collect(bag, tmp_path, replace(SELECTION, topics=BagTopics(image='/up')))
    assert len(collect(bag, tmp_path, replace(SELECTION, topics=BagTopics(image='/left')))) == 1


@pytest.mark.parametrize(('change', 'message'), [
    (lambda text: text.replace('camera:', '#'), 'camera is missing: metres need the focal'),
    (lambda text: text.replace('[50,', '[-5,'), 'the camera is not calibrated'),
    (lambda text: text.replace('1000', '1'), 'none of its 12 frames has valid depth; check the '
     'unit'),
    (lambda text: text + 'lens: wide', 'lens is not one of the keys')])
def test_a_description_that_cannot_be_used_names_the_key(
        folder: Path, tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    folder.write_text(change(YAML))
    with pytest.raises(DatasetError, match=message):
        collect(folder, tmp_path)


def test_frames_without_depth_or_of_another_size_are_left_out_by_name(
        folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(folder.parent / 'depth_03.png'), np.zeros((30, 40), np.uint16))
    cv2.imwrite(str(folder.parent / 'depth_04.png'), depth_of(0, (60, 80)))
    lines: list[str] = []
    frames = collect(folder, tmp_path, lines=lines)
    assert [frame.number for frame in frames] == [0, 1, 2, *range(5, 12)]
    said = '\n'.join(lines)
    assert '1 frames have no depth between 0.5 and 20 m' in said and 'rgb_03.png' in said
    assert 'rgb_04.png is left out: its depth is 80x60 and the image 40x30; register' in said


@pytest.mark.parametrize('name', ['nothing.yaml', 'nothing', 'empty'])
def test_data_that_is_missing_or_something_else_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DepthAnythingError, match=name):
        collect(tmp_path / name, tmp_path / 'work')


def test_the_ends_of_each_source_judge_it_without_places_that_return(
        folder: Path, tmp_path: Path) -> None:
    for number in range(12, 16):
        cv2.imwrite(str(folder.parent / f'rgb_{number}.png'), picture(number))
        cv2.imwrite(str(folder.parent / f'depth_{number}.png'), depth_of(number))
    # The second frame shows the same as the last one, the sixth the same as the first one.
    for copy, number in ((1, 15), (5, 0)):
        for kind in ('rgb', 'depth'):
            (folder.parent / f'{kind}_{copy:02}.png').write_bytes(
                (folder.parent / f'{kind}_{number:02}.png').read_bytes())
    frames = collect(folder, tmp_path)
    split = split_frames(frames, 0.25)
    parts = ([frame.number for frame in part] for part in (
        split.training, split.validation, split.held_out))
    assert list(parts) == [[3, 4, *range(6, 12)], [0, 2], [12, 13, 14, 15]]
    assert split.left_out == 2
    with pytest.raises(ImageError, match='5 images to learn from, 1 for validation and 8 held out '
                       'are too few, after 2 that show the same'):
        split_frames(frames, 0.5)


def test_a_damaged_file_of_the_work_folder_is_named(folder: Path, tmp_path: Path) -> None:
    frames = collect(folder, tmp_path)
    frames[3].image.path.write_bytes(b'\xff\xd8')
    with pytest.raises(ImageError, match=r'000003\.jpg: .*; remove its folder and run the same'):
        split_frames(frames, 0.25)
    frames[4].depth.write_bytes(b'PK\3\4')
    with pytest.raises(DatasetError, match=r'000004\.npy: the depth cannot be read'):
        frames[4].read_depth()


def scene(folder: Path, *, shift_px: int = 0, lag: int = 0) -> list[MetricPair]:
    """Return frames of boxes that pass by; the depth is shifted, or late by some frames."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    boxes = [(int(row), int(column), int(side), float(near)) for row, column, side, near in zip(
        rng.integers(0, 80, 20), rng.integers(0, 400, 20), rng.integers(10, 25, 20),
        rng.uniform(0.3, 1.0, 20))]

    def inverse(number: int, offset: int = 0) -> np.ndarray:
        found = np.full((96, 128), 0.2, np.float32)
        for row, column, side, near in sorted(boxes, key=lambda box: box[3]):
            left = column - 6 * number + offset
            found[row:row + side, max(0, left):max(0, left + side)] = near
        return found

    pairs = []
    for number in range(16):
        names = [folder / f'{number}{suffix}' for suffix in ('.png', '.label.npy', '.depth.npy')]
        cv2.imwrite(str(names[0]), (inverse(number) * 255).astype(np.uint8))
        np.save(names[1], inverse(number) * 3 + 0.5)
        np.save(names[2], 1 / inverse(number - lag, shift_px))
        labelled = LabelledImage(names[0], names[1])
        pairs.append(MetricPair(Frame(
            None, names[2], (100.0, 100.0), 0, number), labelled))  # type: ignore[arg-type]
    return pairs


def test_registered_depth_of_the_same_moment_passes(tmp_path: Path) -> None:
    pairs = scene(tmp_path / 'scene')
    found = check_pairs(pairs, {0: 'drive'})['drive']
    assert (found.shift_xy, found.lag, found.problem) == ((0, 0), 0, '')
    draw_pairs(pairs, tmp_path / 'pairs.png')
    assert cv2.imread(str(tmp_path / 'pairs.png')).shape == (4 * 240, 3 * 320, 3)


def test_a_source_whose_frames_were_all_left_out_is_not_compared(tmp_path: Path) -> None:
    assert list(check_pairs(scene(tmp_path / 'scene'), {0: 'drive', 1: 'it again'})) == ['drive']


def test_depth_that_is_shifted_is_not_registered(tmp_path: Path) -> None:
    pairs = scene(tmp_path / 'scene', shift_px=4)
    assert measure_agreement(pairs).shift_xy == pytest.approx((4 / 128, 0))
    with pytest.raises(DatasetError, match=r'drive: its depth is shifted .* by 3.1 % .* not '
                       r'registered; register the depth'):
        check_pairs(pairs, {0: 'drive'})


@pytest.mark.parametrize(('lag', 'text'), [(1, '1 frame late'), (-2, '2 frames early')])
def test_depth_that_lags_while_the_camera_moves_is_named(
        lag: int, text: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f'its depth is {text} while the camera moves'):
        check_pairs(scene(tmp_path / 'scene', lag=lag), {0: 'drive'})
