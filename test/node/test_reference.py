"""Poses of reference sensors, by parameter and by TF."""

from collections.abc import Callable, Iterator
from dataclasses import replace
import gc
from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from typing import Any
import weakref

from depth_anything_ros.alignment.fit import AlignmentFrame
from depth_anything_ros.errors import AlignmentError, MissingDependencyError
from depth_anything_ros.node import reference as reference_module
from depth_anything_ros.node.poses import FixedPose, TfPoses
from depth_anything_ros.node.reference import Reference
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
from numpy.testing import assert_allclose
import pytest
from rclpy.clock import Clock, JumpThreshold
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from robot import image_message
from sensor_msgs.msg import Image, PointCloud2, PointField, Range
from std_srvs.srv import Trigger
from waiting import until

STAMP = Time(seconds=5).to_msg()
# What needs TF, and what to do without it.
USE = ('alignment.reference_frame tf', 'set alignment.reference_pose')


@pytest.fixture
def node(context: Context) -> Iterator[Node]:
    """Return a node to hang a listener on."""
    node = Node('frames', context=context)
    yield node
    node.destroy_node()


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Keep reference cycles in memory, as between two collections."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident_mib() -> float:
    """Return this process's resident memory."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096 / 2 ** 20


def test_a_fixed_pose_turns_by_roll_then_pitch_then_yaw_and_moves() -> None:
    """As in URDF and static_transform_publisher (REP 103: fixed axes)."""
    poses = FixedPose(lambda: (1.0, 2.0, 3.0, np.pi / 2, 0.0, np.pi / 2))
    turned = poses.pose('camera', 'lidar', STAMP) @ [0.0, 1.0, 0.0, 1.0]
    # y turns to z by the roll and stays there under the yaw.
    assert_allclose(turned, [1.0, 2.0, 4.0, 1.0], atol=1e-12)
    forward = poses.pose('camera', 'lidar', STAMP) @ [1.0, 0.0, 0.0, 1.0]
    assert_allclose(forward, [1.0, 3.0, 3.0, 1.0], atol=1e-12)


def test_a_fixed_pose_is_read_anew_each_time() -> None:
    """The parameter may change while the node runs."""
    pose = [0.0] * 6
    poses = FixedPose(lambda: pose)
    pose[2] = 0.5
    assert poses.pose('camera', 'lidar', STAMP)[2, 3] == 0.5


def test_without_tf2_the_error_has_the_install_line_and_the_alternative(node: Node) -> None:
    if 'tf2_ros' in sys.modules:
        pytest.skip('tf2_ros is installed')
    with pytest.raises(MissingDependencyError, match='tf2-ros-py.*reference_pose'):
        TfPoses(node, *USE)


class _TransformError(Exception):
    """Stands for tf2_ros.TransformException."""


class _Buffer:
    """
    What tf2_ros.Buffer does: one transform, or an exception.

    As the real one it makes a service if it gets a node, leaves a callback at a clock, and refers
    to itself by that callback.
    """

    known: Any = None
    jump_handles: list[Any] = []

    def __init__(self, cache_time: Any = None, node: Node | None = None) -> None:
        self.lookups: list[Any] = []
        self.cleared = 0
        if node is not None:
            self.srv = node.create_service(Trigger, 'tf2_frames', lambda asked, answer: answer)
        self.clock = node.get_clock() if node is not None else Clock()
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1),
                                  on_clock_change=True)
        self.jump_handle = self.clock.create_jump_callback(threshold,
                                                           post_callback=self.on_jump)
        self.jump_handles.append(self.jump_handle)

    def on_jump(self, jump: Any) -> None:
        """Do what the real one does when its clock jumps."""
        self.clear()

    def clear(self) -> None:
        """Count the calls."""
        self.cleared += 1

    def lookup_transform(self, target: str, source: str, time: Time) -> Any:
        """Return the transform of a quarter turn about z, 2 m ahead."""
        self.lookups.append((target, source, time))
        if self.known is None:
            raise _TransformError(f'{source} does not exist')
        return self.known


class _Listener:
    """What tf2_ros.TransformListener does: two subscriptions, which ``unregister`` destroys."""

    def __init__(self, buffer: _Buffer, node: Node) -> None:
        self.buffer, self.node = buffer, node
        self.subscriptions = [node.create_subscription(Image, topic, self.on_message, 10)
                              for topic in ('/tf', '/tf_static')]

    def on_message(self, message: Any) -> None:
        """Ignore it."""

    def unregister(self) -> None:
        """Unsubscribe."""
        for subscription in self.subscriptions:
            self.node.destroy_subscription(subscription)


@pytest.fixture
def tf2(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module with the interface of tf2_ros, which PyPI does not carry."""
    module = ModuleType('tf2_ros')
    module.Buffer, module.TransformException = _Buffer, _TransformError
    module.TransformListener = _Listener
    monkeypatch.setattr(_Buffer, 'jump_handles', [])
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    return module


def test_tf_gives_the_pose_of_the_sensor_in_the_camera(tf2: ModuleType, node: Node) -> None:
    half = np.sqrt(0.5)
    tf2.Buffer.known = SimpleNamespace(transform=SimpleNamespace(
        translation=SimpleNamespace(x=0.0, y=0.0, z=2.0),
        rotation=SimpleNamespace(x=0.0, y=0.0, z=half, w=half)))
    poses = TfPoses(node, *USE)
    matrix = poses.pose('camera', 'lidar', STAMP)
    assert_allclose(matrix @ [1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 2.0, 1.0], atol=1e-12)
    assert poses._buffer.lookups == [('camera', 'lidar', Time.from_msg(STAMP))]
    poses.close()


def test_a_missing_transform_is_an_error_with_both_frames(tf2: ModuleType, node: Node) -> None:
    tf2.Buffer.known = None
    with pytest.raises(AlignmentError, match='from lidar to camera.*does not exist'):
        TfPoses(node, *USE).pose('camera', 'lidar', STAMP)


def test_a_stamp_before_the_time_of_tf_is_an_error_of_its_publisher(
        tf2: ModuleType, node: Node) -> None:
    stamp = Time(seconds=5).to_msg()
    stamp.sec = -1
    with pytest.raises(AlignmentError, match='the stamp is -1 s; correct the clock'):
        TfPoses(node, *USE).pose('camera', 'lidar', stamp)


def entities(node: Node) -> tuple[int, int]:
    """Return how many services and subscriptions a node has."""
    return len(list(node.services)), len(list(node.subscriptions))


def test_closing_the_poses_leaves_no_service_no_subscription_and_no_clock_callback(
        tf2: ModuleType, node: Node) -> None:
    before = entities(node)
    for _ in range(3):
        poses = TfPoses(node, *USE)
        poses.close()
        poses.close()
        assert entities(node) == before
    assert len(tf2.Buffer.jump_handles) == 3
    # A handle that has no clock any more is not registered there.
    assert [handle._clock for handle in tf2.Buffer.jump_handles] == [None] * 3


def test_closed_poses_release_their_transforms(tf2: ModuleType, node: Node) -> None:
    """The listener and its subscriptions refer to each other, so both live on for a while."""
    poses = TfPoses(node, *USE)
    poses.close()
    assert poses._buffer.cleared == 1
    assert poses._buffer.jump_handle is None


def cloud(stamp_s: float, count: int = 200_000) -> PointCloud2:
    """Return a cloud of 16 bytes a point in front of the sensor."""
    points = np.full((count, 4), 2.0, np.float32)
    points[:, 0] = (np.arange(count) % 64 - 31.5) / 50 * 2
    points[:, 1] = (np.arange(count) // 64 % 48 - 23.5) / 50 * 2
    message = PointCloud2(
        height=1, width=count, point_step=16, row_step=16 * count, data=points.tobytes(),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
                for index, name in enumerate('xyz')])
    message.header.stamp = Time(nanoseconds=round(stamp_s * 1e9)).to_msg()
    return message


def depth_image(stamp_s: float) -> Image:
    """Return a dense depth image of 1280x960."""
    return image_message(np.full((960, 1280), 2.0, np.float32), '32FC1',
                         stamp_ns=round(stamp_s * 1e9))


FIXED = AlignmentSettings(source='points', reference_frame='fixed')
FRAME = AlignmentFrame(np.full((48, 64), 0.5, np.float32),
                       Intrinsics(50.0, 50.0, 31.5, 23.5, (48, 64)), '', 100.0, 'camera')


def make_reference(node: Node, source: str) -> Reference:
    """Return a reference whose messages the test hands over itself."""
    return Reference(node, source, f'reference/{source}', lambda: FIXED, [].append, lambda: False)


def kept_bytes(reference: Reference) -> int:
    """Return the memory that the measurements of a reference keep, that of viewed arrays too."""
    total = 0
    for entry in reference._messages:
        data = [entry.data] if isinstance(entry.data, np.ndarray) else vars(entry.data).values()
        for array in (value for value in data if isinstance(value, np.ndarray)):
            total += len(memoryview(array.base).cast('B')) if array.base is not None else (
                array.nbytes)
    return total


MESSAGES = pytest.mark.parametrize('source, make, most_bytes', [
    ('points', cloud, 260_000), ('depth', depth_image, 40_000)], ids=['points', 'depth'])


@MESSAGES
def test_measurements_are_kept_and_messages_are_not(
        node: Node, source: str, make: Callable[[float], Any], most_bytes: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reference_module._KEPT, source, 20)
    reference = make_reference(node, source)
    for number in range(30):
        reference._on_message(make(90.0 + number / 2))
    assert len(reference._messages) == 20
    assert 0 < kept_bytes(reference) < 20 * most_bytes
    fit = reference.fit(FRAME, with_shift=False)
    assert fit.support > 1000 and fit.scale == pytest.approx(1.0)
    reference.close()


@pytest.mark.parametrize(('source', 'rate_hz'), [('depth', 90), ('points', 20), ('range', 200)])
def test_the_reference_of_an_image_is_there_after_the_seconds_that_a_slow_computer_needs(
        node: Node, source: str, rate_hz: int) -> None:
    reference = make_reference(node, source)
    for number in range(4 * rate_hz):
        stamp_s = FRAME.stamp_s + number / rate_hz
        message = cloud(stamp_s, 3072)
        if source == 'depth':
            message = image_message(np.full((48, 64), 2.0, np.float32), '32FC1',
                                    stamp_ns=round(stamp_s * 1e9))
        elif source == 'range':
            message = Range(header=message.header, min_range=0.1, max_range=9.0, range=2.0)
        reference._on_message(message)
    assert reference._nearest(FRAME.stamp_s).stamp_s == FRAME.stamp_s
    reference.close()


@pytest.mark.parametrize(('first_column', 'nearest'), [(36, 1.0), (47, 0.5)])
def test_the_field_of_view_of_a_range_sensor_is_its_whole_angle(
        node: Node, first_column: int, nearest: float) -> None:
    """An object from a column on is nearer; the cone ends 12.8 pixels right of the centre."""
    ahead = replace(FIXED, source='range', reference_pose=(0.0, 0.0, 0.0, 0.0, -np.pi / 2, 0.0))
    reference = Reference(node, 'range', 'reference/range', lambda: ahead, [].append,
                          lambda: False)
    message = Range(field_of_view=0.5, min_range=0.1, max_range=9.0, range=2.0)
    message.header.stamp = Time(seconds=100).to_msg()
    reference._on_message(message)
    inverse_depth = FRAME.inverse_depth.copy()
    inverse_depth[:, first_column:] = 1.0
    fit = reference.fit(replace(FRAME, inverse_depth=inverse_depth), with_shift=False)
    assert fit.scale == pytest.approx(0.5 / nearest)
    reference.close()


@pytest.mark.parametrize(('most_bytes', 'kept'), [(25 * 48 * 64 * 4, 25), (1, 20)])
def test_whole_images_are_kept_while_there_is_room_and_always_some(
        node: Node, monkeypatch: pytest.MonkeyPatch, most_bytes: int, kept: int) -> None:
    monkeypatch.setattr(reference_module, '_IMAGE_BYTES', most_bytes)
    reference = Reference(node, 'depth', 'reference/depth', lambda: FIXED, [].append,
                          keeps_images=lambda: True)
    for number in range(40):
        reference._on_message(image_message(np.full((48, 64), 2.0, np.float32), '32FC1',
                                            stamp_ns=(100 + number) * 10 ** 9))
    assert sum(entry.image is not None for entry in reference._messages) == kept
    assert reference.measured_depth(139.0) is not None
    assert reference.measured_depth(140.0 - kept) is not None
    for stamp_s in (139.0 - kept, 100.0):
        with pytest.raises(AlignmentError,
                           match='no room for the depth images .* lower input_size'):
            reference.measured_depth(stamp_s)
    assert reference.fit(FRAME, with_shift=False).support > 1000
    reference.close()


@MESSAGES
def test_activating_again_and_again_does_not_grow_without_the_garbage_collector(
        node: Node, source: str, make: Callable[[float], Any], most_bytes: int,
        no_garbage_collection: None) -> None:
    """Whole messages would grow by 60 to 100 MiB in each cycle."""
    def cycle() -> None:
        reference = make_reference(node, source)
        for number in range(20):
            reference._on_message(make(90.0 + number / 2))
        reference.close()

    cycle()
    before_mib = resident_mib()
    for _ in range(6):
        cycle()
    assert resident_mib() - before_mib < 40


def test_a_closed_reference_keeps_nothing_and_is_released_at_once(
        node: Node, no_garbage_collection: None) -> None:
    reference = make_reference(node, 'points')
    reference._on_message(cloud(100.0))
    reference.close()
    reference._on_message(cloud(100.1))
    assert not reference._messages
    released = weakref.ref(reference)
    del reference
    assert released() is None


def test_of_messages_with_one_stamp_the_newest_is_used(node: Node) -> None:
    """Some drivers never stamp their messages."""
    reference = make_reference(node, 'depth')
    for depth_m in (1.0, 2.0, 4.0):
        reference._on_message(image_message(np.full((48, 64), depth_m, np.float32), '32FC1',
                                            stamp_ns=100 * 10 ** 9))
    assert reference.fit(FRAME, with_shift=False).scale == pytest.approx(0.5)
    assert reference.measured_depth(100.0) is None, 'nobody wanted whole images'
    reference.close()


@pytest.mark.parametrize(('own', 'distance_m', 'limits'), [
    ((0.1, 9.0), 0.5, '1 and 4'), ((0.1, 9.0), 5.0, '1 and 4'),
    ((2.0, 3.0), 1.5, '2 and 3'), ((2.0, 3.0), 3.5, '2 and 3')])
def test_a_range_beyond_the_limits_of_sensor_or_parameters_is_refused(
        node: Node, own: tuple[float, float], distance_m: float, limits: str) -> None:
    settings = AlignmentSettings(source='range', reference_frame='fixed', reference_min=1.0,
                                 reference_max=4.0)
    reference = Reference(node, 'range', 'reference/range', lambda: settings, [].append,
                          lambda: False)
    message = Range(min_range=own[0], max_range=own[1], range=distance_m)
    message.header.stamp.sec = 100
    reference._on_message(message)
    with pytest.raises(AlignmentError, match=f'{distance_m:g} m, which is not within {limits} m'):
        reference.fit(FRAME, with_shift=False)
    reference.close()


@pytest.mark.parametrize('field_of_view', [25.0, np.pi, -0.1, np.nan, np.inf])
def test_a_field_of_view_that_is_no_cone_is_refused(node: Node, field_of_view: float) -> None:
    """Such as 25 degrees: half of it is a tangent that means nothing."""
    settings = AlignmentSettings(source='range', reference_frame='fixed')
    reference = Reference(node, 'range', 'reference/range', lambda: settings, [].append,
                          lambda: False)
    message = Range(min_range=0.1, max_range=9.0, range=2.0, field_of_view=field_of_view)
    message.header.stamp.sec = 100
    reference._on_message(message)
    with pytest.raises(AlignmentError, match='rad, which is no cone; its driver may'):
        reference.fit(FRAME, with_shift=False)
    reference.close()


def test_points_are_not_kept_whole_for_somebody_who_wants_depth_images(node: Node) -> None:
    reference = Reference(node, 'points', 'reference/points', lambda: FIXED, [].append,
                          keeps_images=lambda: True)
    reference._on_message(cloud(100.0, 10))
    assert reference._messages[0].image is None
    reference.close()


def test_a_message_that_cannot_be_read_is_kept_as_its_reason_only(node: Node) -> None:
    reference = make_reference(node, 'depth')
    wrong = image_message(np.zeros((480, 640, 3), np.uint8), stamp_ns=100 * 10 ** 9)
    reference._on_message(wrong)
    assert reference._messages[0].data is None
    for read in (lambda: reference.fit(FRAME, with_shift=False),
                 lambda: reference.measured_depth(100.0)):
        with pytest.raises(AlignmentError, match="'bgr8'; it must be 32FC1"):
            read()
    reference.close()


def test_transforms_of_the_past_are_forgotten_when_a_bag_starts_over(
        tf2: ModuleType, node: Node) -> None:
    """TF refuses transforms that are older than those it has."""
    with_tf = AlignmentSettings(source='points')
    reference = Reference(node, 'points', 'reference/points', lambda: with_tf, [].append,
                          lambda: False)
    for stamp_s in (100.0, 100.1, 100.05, 101.5):
        reference._on_message(cloud(stamp_s, 10))
    assert reference._poses._buffer.cleared == 0
    reference._on_message(cloud(100.2, 10))
    assert reference._poses._buffer.cleared == 1
    assert len(reference._messages) == 1
    reference.close()


def test_a_sensor_that_offers_too_little_qos_is_named(context: Context) -> None:
    node = Node('frames', context=context, parameter_overrides=[
        Parameter('qos_overrides./reference/depth.subscription.reliability', value='reliable')])
    executor, warned = SingleThreadedExecutor(context=context), []
    executor.add_node(node)
    reference = Reference(node, 'depth', 'reference/depth', lambda: FIXED, warned.append,
                          lambda: False)
    node.create_publisher(Image, 'reference/depth', qos_profile_sensor_data)
    assert until(lambda: executor.spin_once(timeout_sec=0.1) or bool(warned))
    assert 'from a publisher on /reference/depth: it offers a weaker' in warned[0]
    reference.close()
    executor.shutdown()
    node.destroy_node()


def test_a_reference_that_cannot_subscribe_leaves_nothing_behind(
        tf2: ModuleType, context: Context) -> None:
    node = Node('frames', context=context, parameter_overrides=[
        Parameter('qos_overrides./reference/points.subscription.reliability', value='sometimes')])
    before = entities(node)
    with_tf = AlignmentSettings(source='points')
    with pytest.raises(Exception, match='sometimes'):
        Reference(node, 'points', 'reference/points', lambda: with_tf, [].append,
                  lambda: False)
    assert entities(node) == before
    node.destroy_node()
