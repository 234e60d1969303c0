"""Transitions: what they acquire and release, and that they cannot break the node."""

from collections.abc import Callable
import gc
from pathlib import Path
import threading
import weakref

from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.ros.rclpy_adapter import lifecycle_state
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nodes import LOADED_S
import numpy as np
from numpy.testing import assert_allclose
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import Image, PointCloud2
from waiting import on_stderr

PICTURE = np.full((120, 160, 3), 90, np.uint8)
DEPTH = '/depth_anything/inverse_depth/image'


def state_of(robot: Robot) -> str:
    """Return the label of the node's lifecycle state."""
    return lifecycle_state(robot.depth)


def request(robot: Robot, transition: int) -> bool:
    """Ask for a transition over the service, as a lifecycle manager does."""
    client = robot.node.create_client(ChangeState, '/depth_anything/change_state')
    assert robot.until(client.service_is_ready)
    future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
    assert robot.until(future.done, LOADED_S), 'the service did not answer'
    return bool(future.result().success)


def test_the_node_exists_before_configure_and_subscribes_only_while_active(
        make_robot: Callable[..., Robot]) -> None:
    """Publishers come with configure, subscriptions with activate, both go in reverse."""
    robot = make_robot()

    def counts() -> tuple[int, int]:
        return robot.node.count_publishers(DEPTH), robot.node.count_subscribers('/image')

    for transition, expected in (('configure', (1, 0)), ('activate', (1, 1)),
                                 ('deactivate', (1, 0)), ('cleanup', (0, 0))):
        assert getattr(robot.depth, f'trigger_{transition}')().name == 'SUCCESS'
        assert robot.until(lambda expected=expected: counts() == expected), counts()


def test_a_missing_model_fails_configure_with_the_way_out_and_can_be_mended(
        make_robot: Callable[..., Robot], tiny_ir: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    """FAILURE leaves the node unconfigured; a good path makes the next try succeed."""
    robot = make_robot(model='/nowhere/vits.xml')
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert state_of(robot) == 'unconfigured'
    log = capfd.readouterr().err
    assert '/nowhere/vits.xml' in log
    assert 'depth_anything_convert' in log
    assert robot.set_parameters(model=str(tiny_ir))[0].successful
    robot.bring_up()


def test_an_unset_model_is_that_of_the_package(make_robot: Callable[..., Robot]) -> None:
    """A copy of config/depth_anything.yaml works as it is, like the node without any file."""
    robot = make_robot(model='')
    assert robot.depth.trigger_configure().name == 'SUCCESS'
    assert robot.depth._engine.info == read_model_info(shipped_model())


def test_an_unknown_device_falls_back_and_no_device_fails_configure(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """The log names every device that was passed over."""
    robot = make_robot(device='NPU,GPU,CPU')
    assert robot.depth.trigger_configure().name == 'SUCCESS'
    log = capfd.readouterr().err
    assert 'NPU cannot run the model' in log
    assert 'GPU cannot run the model' in log
    alone = make_robot(device='NPU', cli_args=['--ros-args', '-r', '__node:=alone'])
    assert alone.depth.trigger_configure().name == 'FAILURE'
    assert 'OpenVINO sees: CPU' in capfd.readouterr().err


def test_a_transition_that_the_state_forbids_is_refused_and_the_node_lives(
        make_robot: Callable[..., Robot]) -> None:
    """Configure twice, activate without configure: the answer is false, services still work."""
    robot = make_robot()
    assert not request(robot, Transition.TRANSITION_ACTIVATE)
    assert request(robot, Transition.TRANSITION_CONFIGURE)
    assert not request(robot, Transition.TRANSITION_CONFIGURE)
    assert request(robot, Transition.TRANSITION_ACTIVATE)
    assert state_of(robot) == 'active'


def test_lifecycle_services_answer_while_inference_runs(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> None:
    """The executor's thread is free during a slow inference."""
    robot = make_robot(model=str(make_ir(slow_layers=20)), expected_width=640,
                       expected_height=480, input_size=448)
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    client = robot.node.create_client(GetState, '/depth_anything/get_state')
    assert robot.until(client.service_is_ready)
    robot.show(np.zeros((480, 640, 3), np.uint8))
    assert robot.until(lambda: robot.depth._scheduler.stats().offered == 1)
    future = client.call_async(GetState.Request())
    assert robot.until(future.done)
    assert depths == [], 'inference was over before the service answered: make it slower'
    assert robot.until(lambda: depths, LOADED_S)


def test_deactivate_lets_the_frames_in_flight_leave(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> None:
    """What was started is published before the publishers go quiet."""
    robot = make_robot(model=str(make_ir(slow_layers=6)))
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show(PICTURE)
    assert robot.until(lambda: robot.depth._scheduler.stats().offered == 1)
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.until(lambda: len(depths) == 1)
    stats = robot.depth._scheduler.stats()
    assert (stats.delivered, stats.failed) == (1, 0)


def test_the_node_works_again_after_deactivate_and_activate(
        make_robot: Callable[..., Robot]) -> None:
    """A pause costs nothing but the frames in between."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show(PICTURE)
    assert robot.until(lambda: len(depths) == 1)
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_activate().name == 'SUCCESS'
    robot.show(PICTURE)
    assert robot.until(lambda: len(depths) == 2)


def test_after_a_pause_the_camera_info_and_the_range_of_colours_begin_empty(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Meanwhile the camera may have been exchanged."""
    robot = make_robot(color_map='gray')
    robot.bring_up()
    clouds, colors = (robot.listen(kind, f'/depth_anything/{topic}') for kind, topic in (
        (PointCloud2, 'points'), (Image, 'color/image')))
    robot.show_camera(camera_info(160, 120))
    ramp = np.broadcast_to(np.linspace(0, 200, 160, dtype=np.uint8)[:, None], (120, 160, 3))
    robot.show(ramp)
    assert robot.until(lambda: clouds and colors)
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_activate().name == 'SUCCESS'
    robot.show(ramp + np.uint8(50))
    assert robot.until(lambda: len(colors) == 2)
    assert robot.until(lambda: on_stderr('no camera_info of the size of the image has arrived'))
    assert len(clouds) == 1
    before, after = (np.frombuffer(color.data, np.uint8) for color in colors)
    assert_allclose(after, before, atol=1)


def test_a_failed_configure_leaves_no_publisher_behind(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """The last of the topics is the one that cannot be made."""
    robot = make_robot(**{
        'qos_overrides./depth_anything/color/image.publisher.reliability': 'sometimes'})
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert state_of(robot) == 'unconfigured'
    assert 'sometimes' in capfd.readouterr().err
    assert robot.depth._managed_entities == set()


def test_a_failed_activate_leaves_nothing_active_behind(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """A QoS override that does not exist is found when the node subscribes."""
    robot = make_robot(**{'qos_overrides./camera_info.subscription.reliability': 'sometimes'})
    assert robot.depth.trigger_configure().name == 'SUCCESS'
    assert robot.depth.trigger_activate().name == 'FAILURE'
    assert state_of(robot) == 'inactive'
    log = capfd.readouterr().err
    assert 'sometimes' in log and 'qos_overrides./camera_info.subscription.*' in log
    assert 'report this' not in log
    assert not any(entity.is_activated for entity in robot.depth._managed_entities)
    assert robot.until(lambda: robot.node.count_subscribers('/image') == 0)


@pytest.mark.parametrize('topic, policy, value', [
    ('depth_anything/points.publisher', 'durability', 'forever'),
    ('depth_anything/points.publisher', 'reliability', 3),
    ('depth_anything/points.publisher', 'depth', -5),
    ('reference/depth.subscription', 'depth', -5)])
def test_a_qos_override_that_cannot_work_is_named(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], topic: str,
        policy: str, value: object) -> None:
    """Each time the transition is requested; these parameters are read only."""
    robot = make_robot(**{f'qos_overrides./{topic}.{policy}': value, 'alignment.source': 'depth'})
    if 'publisher' not in topic:
        assert robot.depth.trigger_configure().name == 'SUCCESS'
    for _ in range(2):
        failing = 'configure' if 'publisher' in topic else 'activate'
        assert getattr(robot.depth, f'trigger_{failing}')().name == 'FAILURE'
        log = capfd.readouterr().err
        assert f'qos_overrides./{topic}.*, then start the node again' in log
        assert 'report this' not in log


@pytest.mark.parametrize('states', [(), ('configure',), ('configure', 'activate')])
def test_shutdown_succeeds_from_every_state(
        make_robot: Callable[..., Robot], states: tuple[str, ...]) -> None:
    """Everything is released and the state is final."""
    robot = make_robot()
    for transition in states:
        assert getattr(robot.depth, f'trigger_{transition}')().name == 'SUCCESS'
    assert robot.depth.trigger_shutdown().name == 'SUCCESS'
    assert state_of(robot) == 'finalized'
    assert robot.depth._engine is None


def test_twenty_cycles_leave_no_threads_publishers_or_memory_behind(
        make_robot: Callable[..., Robot]) -> None:
    """The growth of the first cycles is OpenVINO's own; after them nothing may be added."""
    robot = make_robot()
    depths = robot.listen(Image, DEPTH)

    def cycle() -> None:
        robot.bring_up()
        before = len(depths)
        robot.show(PICTURE)
        assert robot.until(lambda: len(depths) > before)
        assert robot.depth.trigger_deactivate().name == 'SUCCESS'
        assert robot.depth.trigger_cleanup().name == 'SUCCESS'
        gc.collect()

    # What other tests left would be searched for garbage in each cycle.
    gc.freeze()
    for _ in range(5):
        cycle()
    before = (threading.active_count(), len(robot.depth._managed_entities),
              len(list(robot.depth.publishers)), len(list(robot.depth.subscriptions)))
    resident = resident_mib()
    for _ in range(20):
        cycle()
    assert before == (threading.active_count(), len(robot.depth._managed_entities),
                      len(list(robot.depth.publishers)), len(list(robot.depth.subscriptions)))
    assert resident_mib() - resident < 20
    gc.unfreeze()


def test_what_a_cleanup_releases_needs_no_garbage_collector(
        make_robot: Callable[..., Robot]) -> None:
    """The collector may run seldom, and models and maps are large."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    robot.show(PICTURE)
    assert robot.until(lambda: len(depths) == 1)
    gc.collect()
    gc.disable()
    try:
        released = [weakref.ref(robot.depth._engine), weakref.ref(robot.depth._scheduler),
                    weakref.ref(robot.stream()._output_state)]
        assert robot.depth.trigger_deactivate().name == 'SUCCESS'
        assert robot.depth.trigger_cleanup().name == 'SUCCESS'
        assert robot.until(lambda: not any(one() for one in released), 5.0), released
    finally:
        gc.enable()


def resident_mib() -> float:
    """Return this process's resident memory."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096 / 2 ** 20
