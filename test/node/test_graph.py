"""The node among publishers and subscribers that come, go and restart, over real DDS."""

from collections.abc import Callable
import gc
from pathlib import Path
import threading
from typing import Any
import weakref

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
import numpy as np
from numpy.testing import assert_allclose
import pytest
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from robot import camera_info, image_message, Robot
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from waiting import on_stderr

HW = (120, 160)
PICTURE = np.full((*HW, 3), (0, 0, 128), np.uint8)
MAP, DEPTH, INFO, POINTS = (f'/depth_anything/{topic}' for topic in (
    'inverse_depth/image', 'depth/image', 'depth/camera_info', 'points'))
HEIGHT_M, PITCH = 1.2, 0.3
ON_THE_FLOOR = {'alignment.source': 'ground', 'camera_height': HEIGHT_M, 'camera_pitch': PITCH}
LATCHED = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE,
                     durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def floor() -> np.ndarray:
    """Return the picture of a floor, as a camera at HEIGHT_M with PITCH sees it."""
    y = (np.arange(HW[0]) - 59.5) / 100
    inverse_z = np.clip((y * np.cos(PITCH) + np.sin(PITCH)) / HEIGHT_M, 0, None)
    picture = np.zeros((*HW, 3), np.uint8)
    picture[..., 2] = np.round(inverse_z / 0.8 * 255)[:, None]
    return picture


def seconds(message: Any) -> float:
    """Return the stamp of a message."""
    return float(message.header.stamp.sec + message.header.stamp.nanosec * 1e-9)


def settled(robot: Robot, messages: list[Any], count: int) -> bool:
    """Return whether so many messages come, and no more in a while."""
    return (robot.until(lambda: len(messages) >= count)
            and not robot.until(lambda: len(messages) > count, 0.2))


def unplug(robot: Robot, topic: str) -> None:
    """Take the robot's publisher of ``topic`` out of the graph."""
    gone = robot._publishers.pop(topic)
    robot.node.destroy_publisher(gone)
    resolved = robot.node.resolve_topic_name(topic)
    assert robot.until(lambda: robot.node.count_publishers(resolved) == 0)


def test_a_camera_that_restarts_is_heard_again(make_robot: Callable[..., Robot]) -> None:
    """Also as a different camera: other size, other frame, stamps that restart."""
    robot = make_robot(relative_scale=1.0)
    robot.bring_up()
    depths, clouds = robot.listen(Image, DEPTH), robot.listen(PointCloud2, POINTS)
    for number, (height, width, frame, stamp_s) in enumerate((
            (120, 160, 'front', 100), (120, 160, 'front', 101), (90, 120, 'spare', 5)), start=1):
        robot.show_camera(camera_info(width, height))
        message = image_message(PICTURE[:height, :width], stamp_ns=stamp_s * 10 ** 9)
        message.header.frame_id = frame
        robot.publish('image', message)
        assert robot.until(lambda number=number: len(depths) == len(clouds) == number)
        assert depths[-1].header == clouds[-1].header == message.header
        assert (depths[-1].height, depths[-1].width) == (height, width)
        unplug(robot, 'image')
        unplug(robot, 'camera_info')


@pytest.mark.parametrize('parameters', [
    {'relative_scale': 0.8}, {'relative_scale': 0.8, 'stabilization': 'all'}, ON_THE_FLOOR,
    {**ON_THE_FLOOR, 'stabilization': 'all'}],
    ids=['plain', 'stabilized', 'aligned', 'aligned and stabilized'])
def test_a_clock_that_is_set_back_costs_no_frame_and_disorder_only_the_late_ones(
        make_robot: Callable[..., Robot], parameters: dict[str, Any]) -> None:
    """A bag that starts over jumps by more than a second; the metres stay what they were."""
    robot = make_robot(**parameters)
    robot.bring_up()
    depths, maps = robot.listen(Image, DEPTH), robot.listen(Image, MAP)
    robot.show_camera(camera_info(HW[1], HW[0]))
    accepted = 0
    for stamp_s, is_accepted in ((10.0, True), (10.1, True), (9.9, False), (5.0, True),
                                 (5.1, True), (5.05, False), (0.0, True)):
        robot.publish('image', image_message(floor(), stamp_ns=round(stamp_s * 1e9)))
        accepted += is_accepted
        assert settled(robot, maps, accepted)
    assert robot.until(lambda: len(depths) == accepted)
    assert [seconds(message) for message in depths] == [10.0, 10.1, 5.0, 5.1, 0.0]
    assert robot.depth._scheduler.stats().late == 2
    row = HW[0] - 10
    truth_m = HEIGHT_M / ((row - 59.5) / 100 * np.cos(PITCH) + np.sin(PITCH))
    for message in depths:
        found = np.frombuffer(message.data, np.float32).reshape(HW)
        assert_allclose(found[row, 20:-20], truth_m, rtol=0.05)


@pytest.mark.parametrize('parameters', [{'relative_scale': 0.8}, ON_THE_FLOOR],
                         ids=['plain', 'aligned'])
def test_a_driver_that_never_stamps_its_images_is_served(
        make_robot: Callable[..., Robot], parameters: dict[str, Any]) -> None:
    """All stamps are zero."""
    robot = make_robot(**parameters)
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show_camera(camera_info(HW[1], HW[0]))
    for number in range(1, 4):
        robot.publish('image', image_message(floor()))
        assert robot.until(lambda number=number: len(depths) == number)
    assert [seconds(message) for message in depths] == [0.0] * 3


@pytest.mark.usefixtures('capfd')
def test_two_cameras_of_different_size_on_one_topic_are_named(
        make_robot: Callable[..., Robot]) -> None:
    """The model is compiled for each image; one camera that changes its size is no mistake."""
    robot = make_robot()
    robot.bring_up()
    maps = robot.listen(Image, MAP)
    for number, height in enumerate((120, 90), start=1):
        robot.show(PICTURE[:height])
        assert robot.until(lambda number=number: len(maps) == number)
    assert not on_stderr('publishers on /image')
    second = robot.node.create_publisher(Image, 'image', 1)
    assert robot.until(lambda: robot.depth.count_publishers('/image') == 2)
    robot.show(PICTURE)
    assert robot.until(lambda: on_stderr('2 publishers on /image send images of different sizes'))
    robot.node.destroy_publisher(second)


def tick(robot: Robot, second: int) -> None:
    """Set the simulated time and wait until the depth node has it."""
    message = Clock()
    message.clock.sec = second
    robot.publish('/clock', message)
    assert robot.until(
        lambda: robot.depth.get_clock().now().nanoseconds == second * 10 ** 9)


def test_simulated_time_stamps_the_diagnostics_and_leaves_the_depth_to_the_images(
        make_robot: Callable[..., Robot]) -> None:
    """A clock that starts over does no harm."""
    robot = make_robot(use_sim_time=True)
    robot.bring_up()
    maps, health = robot.listen(Image, MAP), robot.listen(DiagnosticArray, '/diagnostics')
    for number, (now_s, image_s) in enumerate(((500, 498), (600, 597), (20, 19)), start=1):
        tick(robot, now_s)
        robot.publish('image', image_message(PICTURE, stamp_ns=image_s * 10 ** 9))
        assert robot.until(lambda number=number: len(maps) == number)
        assert seconds(maps[-1]) == image_s
        health.clear()
        assert robot.until(lambda: len(health) >= 2), 'diagnostics stop with the clock'
        assert seconds(health[-1]) == now_s


def test_simulated_time_without_a_clock_gives_depth_diagnostics_and_snapshots(
        make_robot: Callable[..., Robot], tmp_path: Path) -> None:
    """Time stays at zero, and still each snapshot has its own folder."""
    robot = make_robot(use_sim_time=True, snapshot_dir=str(tmp_path))
    robot.bring_up()
    maps, health = robot.listen(Image, MAP), robot.listen(DiagnosticArray, '/diagnostics')
    robot.show(PICTURE)
    assert robot.until(lambda: maps and health)
    assert 'running' in health[-1].status[0].message
    client = robot.node.create_client(Trigger, '/depth_anything/save_snapshot')
    assert robot.until(client.service_is_ready)
    for _ in range(2):
        future = client.call_async(Trigger.Request())
        assert robot.until(lambda: bool(robot.stream().snapshots.has_requests))
        robot.show(PICTURE)
        assert robot.until(future.done) and future.result().success
    assert len(list(tmp_path.iterdir())) == 2


def test_the_cloud_starts_with_the_camera_info_and_follows_it(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """A zoom changes the next cloud; a size that does not fit is named and costs the cloud."""
    robot = make_robot(relative_scale=1.0, points_stride=1)
    robot.bring_up()
    depths, infos = robot.listen(Image, DEPTH), robot.listen(CameraInfo, INFO)
    clouds = robot.listen(PointCloud2, POINTS)
    shown = 0

    def show() -> None:
        nonlocal shown
        shown += 1
        robot.show(PICTURE)
        assert robot.until(lambda: len(depths) == shown
                           and robot.depth._scheduler.stats().delivered == shown)

    show()
    assert not clouds and not infos
    for number, focal in enumerate((100.0, 200.0), start=1):
        robot.show_camera(camera_info(HW[1], HW[0], focal))
        show()
        assert robot.until(lambda number=number: len(clouds) == len(infos) == number)
        assert infos[-1].p[0] == focal
        x, _, z = np.frombuffer(clouds[-1].data, np.float32)[:3]
        assert x / z == pytest.approx(-79.5 / focal, rel=1e-5)
    robot.show_camera(camera_info(640, 480))
    show()
    assert 'camera_info describes 640x480' in capfd.readouterr().err
    assert (len(clouds), len(infos)) == (2, 2)
    robot.show_camera(camera_info(HW[1], HW[0]))
    show()
    assert robot.until(lambda: len(clouds) == len(infos) == 3)


def test_a_latched_camera_info_is_heard_when_it_comes_and_with_an_override_at_any_time(
        make_robot: Callable[..., Robot]) -> None:
    """A driver that publishes it once before the node subscribes needs transient_local."""
    robot = make_robot()
    latched = robot.node.create_publisher(CameraInfo, 'camera_info', LATCHED)
    latched.publish(camera_info(HW[1], HW[0]))
    robot.bring_up()
    assert robot.until(lambda: latched.get_subscription_count() == 1)
    latched.publish(camera_info(HW[1], HW[0]))
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    robot.close()
    robot = make_robot(**{'qos_overrides./camera_info.subscription.durability':
                          'transient_local'})
    latched = robot.node.create_publisher(CameraInfo, 'camera_info', LATCHED)
    latched.publish(camera_info(HW[1], HW[0]))
    for _ in range(2):
        robot.bring_up()
        assert robot.until(lambda: robot.stream()._camera_info is not None)
        assert robot.depth.trigger_deactivate().name == 'SUCCESS'
        assert robot.depth.trigger_cleanup().name == 'SUCCESS'


@pytest.mark.parametrize('cameras', [[], ['front', 'rear']], ids=['one', 'several'])
@pytest.mark.parametrize('topic, kind', [('depth/image', Image), ('points', PointCloud2)])
def test_a_stricter_subscriber_is_reported_once_and_the_others_are_served(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], cameras: list[str],
        topic: str, kind: type) -> None:
    """The warning names the topic, the policy and the override that solves it."""
    reliable = {f'qos_overrides./{name}/{topic}.subscription.reliability': 'reliable'
                for name in cameras for topic in ('image', 'camera_info')}
    robot = make_robot(relative_scale=1.0, cameras=cameras, **reliable)
    robot.bring_up()
    camera = cameras[-1] if cameras else ''
    full = f'/depth_anything/{camera}/{topic}' if camera else f'/depth_anything/{topic}'
    refused: list[Any] = []
    robot.node.create_subscription(kind, full, refused.append, LATCHED)
    served = robot.listen(kind, full)
    robot.show_camera(camera_info(HW[1], HW[0]), camera=camera)
    for number in range(1, 4):
        robot.show(PICTURE, camera=camera)
        assert robot.until(lambda number=number: len(served) == number)
    assert refused == []
    log = [line for line in capfd.readouterr().err.splitlines() if 'receives nothing' in line]
    assert len(log) == 1
    assert f'a subscriber to {full} receives nothing: it requests a stricter DURABILITY' in log[0]
    assert f'qos_overrides.{full}.publisher.*' in log[0]


def test_the_override_in_the_warning_serves_the_subscriber(
        make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(relative_scale=1.0, **{
        f'qos_overrides.{DEPTH}.publisher.durability': 'transient_local'})
    robot.bring_up()
    depths: list[Image] = []
    robot.node.create_subscription(Image, DEPTH, depths.append, LATCHED)
    assert robot.until(lambda: robot.stream().has_consumers)
    robot.show(PICTURE)
    assert robot.until(lambda: depths)


@pytest.mark.parametrize('topic, kind, parameters', [
    ('image', Image, {}), ('camera_info', CameraInfo, {}),
    ('rear/image', Image, {'cameras': ['front', 'rear']}),
    ('reference/depth', Image, {'alignment.source': 'depth'})])
def test_a_weaker_publisher_is_reported_once(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], topic: str,
        kind: type, parameters: dict[str, Any]) -> None:
    """Best effort, where an override made the subscription reliable."""
    robot = make_robot(**{
        f'qos_overrides./{topic}.subscription.reliability': 'reliable', **parameters})
    robot.bring_up()
    publisher = robot.node.create_publisher(kind, topic, BEST_EFFORT)
    assert robot.until(lambda: bool(robot.depth._warn._logged_at))
    for _ in range(3):
        publisher.publish(image_message(PICTURE) if kind is Image
                          else camera_info(HW[1], HW[0]))
    robot.until(lambda: False, 0.3)
    log = capfd.readouterr().err
    assert log.count('offers a weaker RELIABILITY than is requested') == 1
    assert f'nothing is received from a publisher on /{topic}: it offers' in log
    assert robot.stream('rear' if parameters.get('cameras') else '').received == 0


def test_subscribers_that_come_and_go_leave_nothing_behind(
        make_robot: Callable[..., Robot]) -> None:
    """While nobody listens nothing is computed."""
    robot = make_robot(relative_scale=1.0)
    robot.bring_up()
    robot.show_camera(camera_info(HW[1], HW[0]))

    def visit(computed: int, passed_by: int) -> None:
        clouds: list[PointCloud2] = []
        guest = robot.node.create_subscription(PointCloud2, POINTS, clouds.append, 5)
        assert robot.until(lambda: robot.stream().has_consumers)
        robot.show(PICTURE)
        assert robot.until(lambda: len(clouds) == 1)
        robot.node.destroy_subscription(guest)
        assert robot.until(lambda: not robot.stream().has_consumers)
        robot.show(PICTURE)
        assert robot.until(lambda: robot.stream().without_subscriber == passed_by)
        assert robot.depth._scheduler.stats().offered == computed

    def entities() -> tuple[int, ...]:
        gc.collect()
        return (threading.active_count(), len(list(robot.depth.publishers)),
                len(list(robot.depth.subscriptions)), len(robot.depth._managed_entities))

    visit(1, 1)
    before = entities()
    for number in range(2, 22):
        visit(number, number)
    assert entities() == before


def test_cleanup_lets_go_of_the_model_without_waiting_for_the_garbage_collector(
        make_robot: Callable[..., Robot]) -> None:
    """Otherwise a node that is configured again would hold two models for a while."""
    robot = make_robot()
    gc.disable()
    try:
        robot.bring_up()
        engine = weakref.ref(robot.depth._engine)
        assert robot.depth.trigger_deactivate().name == 'SUCCESS'
        assert robot.depth.trigger_cleanup().name == 'SUCCESS'
        assert robot.until(lambda: engine() is None, 2.0)
    finally:
        gc.enable()


class Manager:
    """What nav2_lifecycle_manager does: one node after the other, over the services."""

    def __init__(self, robot: Robot, names: list[str]) -> None:
        self._robot = robot
        self._names = names

    def call(self, kind: type, name: str, service: str, request: Any) -> Any:
        """Call a service of a node and return the answer."""
        client = self._robot.node.create_client(kind, f'/{name}/{service}')
        assert self._robot.until(client.service_is_ready)
        future = client.call_async(request)
        assert self._robot.until(future.done, 30.0), f'/{name}/{service} does not answer'
        self._robot.node.destroy_client(client)
        return future.result()

    def change(self, transition: int, state: int, backwards: bool = False) -> None:
        """Bring every node into ``state``, as get_state then confirms."""
        for name in reversed(self._names) if backwards else self._names:
            assert self.call(ChangeState, name, 'change_state', ChangeState.Request(
                transition=Transition(id=transition))).success
            found = self.call(GetState, name, 'get_state', GetState.Request())
            assert found.current_state.id == state


def test_a_lifecycle_manager_takes_two_nodes_up_and_down_five_times(
        make_robot: Callable[..., Robot]) -> None:
    """Depth comes each time; at the end both are shut down."""
    names = ['front_depth', 'rear_depth']
    robots = [make_robot(cli_args=['--ros-args', '-r', f'__node:={name}']) for name in names]
    manager = Manager(robots[0], names)
    maps = [robot.listen(Image, f'/{name}/inverse_depth/image')
            for robot, name in zip(robots, names)]
    for round_number in range(1, 6):
        manager.change(Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE)
        manager.change(Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE)
        assert robots[0].until(lambda: all(robot.stream().has_consumers for robot in robots))
        assert robots[0].until(lambda: robots[0].node.count_subscribers('/image') == 2)
        robots[0].show(PICTURE)
        assert robots[0].until(
            lambda number=round_number: all(len(found) == number for found in maps))
        manager.change(Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE, True)
        manager.change(Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED, True)
    manager.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN, State.PRIMARY_STATE_FINALIZED,
                   True)


def test_the_possible_transitions_are_listed(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot()
    manager = Manager(robot, ['depth_anything'])

    def labels() -> set[str]:
        answer = manager.call(GetAvailableTransitions, 'depth_anything',
                              'get_available_transitions', GetAvailableTransitions.Request())
        return {found.transition.label for found in answer.available_transitions}

    assert labels() == {'configure', 'shutdown'}
    robot.bring_up()
    assert labels() == {'deactivate', 'shutdown'}
