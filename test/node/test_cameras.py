"""Several cameras in one node, on one compiled model."""

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from numpy.testing import assert_allclose
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import SetBool

HW = (120, 160)
NAMES = ['front', 'rear']


def plain(red: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """Return a picture whose inverse depth is red / 255."""
    return np.full((*hw, 3), (0, 0, red), np.uint8)


def pixels(message: Image) -> np.ndarray:
    """Return the array of a 32FC1 image."""
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def values(status: DiagnosticStatus) -> dict[str, str]:
    """Return the values of a status."""
    return {entry.key: entry.value for entry in status.values}


@pytest.fixture
def make_pair(make_robot: Callable[..., Robot]) -> Callable[..., Robot]:
    """Return a function that makes an active node with two cameras."""
    def make(**parameters: Any) -> Robot:
        reliable = {f'qos_overrides./{name}/{topic}.subscription.reliability': 'reliable'
                    for name in NAMES for topic in ('image', 'camera_info', 'reference/depth')}
        robot = make_robot(cameras=NAMES, **reliable, **parameters)
        robot.bring_up()
        return robot
    return make


def test_each_camera_has_its_topics_and_its_own_depth(make_pair: Callable[..., Robot]) -> None:
    robot = make_pair()
    maps = {name: robot.listen(Image, f'/depth_anything/{name}/inverse_depth/image')
            for name in NAMES}
    shown = {name: robot.show(plain(red), camera=name)
             for name, red in (('front', 51), ('rear', 204))}
    assert robot.until(lambda: all(maps.values()))
    assert_allclose(pixels(maps['front'][0]), 0.2, atol=0.01)
    assert_allclose(pixels(maps['rear'][0]), 0.8, atol=0.01)
    for name in NAMES:
        assert maps[name][0].header == shown[name].header
    assert robot.node.count_subscribers('/image') == 0


def test_cameras_of_different_size_share_the_model_without_compiling_each_time(
        make_pair: Callable[..., Robot]) -> None:
    robot = make_pair()
    maps = {name: robot.listen(Image, f'/depth_anything/{name}/inverse_depth/image')
            for name in NAMES}
    compiled = []
    engine = robot.depth._engine._engine
    compile_model, engine._compile = engine._compile, lambda *args: (
        compiled.append(args) or compile_model(*args))
    for number in range(1, 4):
        robot.show(plain(51), camera='front')
        robot.show(plain(51, (90, 240)), camera='rear')
        assert robot.until(lambda number=number: all(
            len(found) == number for found in maps.values()))
    assert maps['rear'][0].width == 240
    assert len(compiled) == 1, 'the size of the front camera was compiled at configure'


def test_only_the_camera_that_somebody_listens_to_is_computed(
        make_pair: Callable[..., Robot]) -> None:
    robot = make_pair()
    maps = robot.listen(Image, '/depth_anything/front/inverse_depth/image')
    robot.show(plain(51), camera='rear')
    robot.show(plain(51), camera='front')
    assert robot.until(lambda: maps)
    assert robot.depth._scheduler.stats('rear').offered == 0
    assert robot.stream('rear').without_subscriber == 1


def test_a_parameter_can_be_set_for_one_camera(make_pair: Callable[..., Robot]) -> None:
    """In the parameter file and, once it is there, at runtime."""
    robot = make_pair(relative_scale=1.0, **{'rear.relative_scale': 2.0})
    depths = {name: robot.listen(Image, f'/depth_anything/{name}/depth/image') for name in NAMES}
    for name in NAMES:
        robot.show(plain(51), camera=name)
    assert robot.until(lambda: all(depths.values()))
    assert_allclose(pixels(depths['front'][0]), 5.0, rtol=0.03)
    assert_allclose(pixels(depths['rear'][0]), 2.5, rtol=0.03)
    assert robot.set_parameters(**{'rear.relative_scale': 4.0})[0].successful
    assert not robot.set_parameters(**{'rear.relative_scale': -4.0})[0].successful
    robot.show(plain(51), camera='rear')
    assert robot.until(lambda: len(depths['rear']) == 2)
    assert_allclose(pixels(depths['rear'][1]), 1.25, rtol=0.03)


@pytest.mark.parametrize('name, value, fact', [
    ('rear.model', 'other.xml', 'rear.model'), ('rear.no_such', 1, 'rear.no_such'),
    ('rear.points_stride', 1000, 'points_stride'), ('rear.points_near', 50.0, 'points_near')])
def test_what_a_single_camera_cannot_have_fails_configure_by_name(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], name: str,
        value: object, fact: str) -> None:
    robot = make_robot(cameras=NAMES, **{name: value})
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert fact in capfd.readouterr().err


@pytest.mark.parametrize('name, wrong, right', [
    ('rear.points_stride', 1000, 4), ('rear.color_map', 'jet', 'gray'),
    ('rear.points_near', 50.0, 1.0)])
def test_a_bad_start_value_of_one_camera_can_be_mended(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], name: str,
        wrong: object, right: object) -> None:
    """Without a new start, as for the parameters of all cameras."""
    robot = make_robot(cameras=NAMES, **{name: wrong})
    for _ in range(2):
        assert robot.depth.trigger_configure().name == 'FAILURE'
        assert name.partition('.')[2] in capfd.readouterr().err
    assert robot.set_parameters(**{name: right})[0].successful
    robot.bring_up()
    assert robot.stream('rear').settings.value(name.partition('.')[2]) == right


def test_freezing_answers_for_every_camera_by_name(make_pair: Callable[..., Robot]) -> None:
    """Neither has a fit yet, and one never will."""
    robot = make_pair(**{'front.alignment.source': 'depth'})
    client = robot.node.create_client(SetBool, '/depth_anything/freeze_alignment')
    assert robot.until(client.service_is_ready)
    future = client.call_async(SetBool.Request(data=True))
    assert robot.until(future.done)
    assert not future.result().success
    front, rear = future.result().message.split('; rear: ')
    assert front.startswith('front: there is no alignment to freeze')
    assert rear.startswith('alignment.source is none')


def test_every_camera_has_its_own_diagnosis(make_pair: Callable[..., Robot]) -> None:
    robot = make_pair(**{'front.alignment.source': 'depth'})
    robot.listen(Image, '/depth_anything/front/inverse_depth/image')
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    robot.show(plain(51), camera='front')
    assert robot.until(lambda: messages and len(messages[-1].status) == 2 and
                       'no metric depth' in messages[-1].status[0].message)
    front, rear = messages[-1].status
    assert (front.name, rear.name) == ('depth_anything front: depth', 'depth_anything rear: depth')
    found = values(rear)
    assert found['image topic'] == '/rear/image'
    assert 'alignment state' not in found
    assert robot.until(lambda: values(messages[-1].status[0])['frames delivered'] == '1')
    assert values(messages[-1].status[1])['frames delivered'] == '0'


def test_every_camera_has_the_network_size_of_its_own_images(
        make_pair: Callable[..., Robot]) -> None:
    """Before its first image, that of the expected size."""
    robot = make_pair()
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    maps = robot.listen(Image, '/depth_anything/front/inverse_depth/image')
    robot.show(plain(51, (120, 320)), camera='front')
    assert robot.until(lambda: maps)
    assert robot.until(lambda: messages and [
        values(status)['network size'] for status in messages[-1].status] == [
            '294x112', '154x112'])


def test_every_camera_has_its_status_in_every_state(make_robot: Callable[..., Robot]) -> None:
    """A name that comes or goes would become stale."""
    robot = make_robot(cameras=NAMES)
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    for state, transition in (
            ('unconfigured', robot.bring_up), ('active', robot.depth.trigger_deactivate),
            ('inactive', robot.depth.trigger_cleanup), ('unconfigured', None)):
        assert robot.until(lambda state=state: messages and values(
            messages[-1].status[0])['lifecycle state'] == state)
        assert {status.name: values(status)['image topic'] for status in messages[-1].status} == {
            f'depth_anything {name}: depth': f'/{name}/image' for name in NAMES}
        if transition is not None:
            transition()


def test_invalid_names_of_cameras_leave_a_status_of_the_node(
        make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(cameras=['1 bad'])
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    assert robot.until(lambda: messages)
    assert [status.name for status in messages[0].status] == ['depth_anything: depth']


def test_a_fast_camera_leaves_the_slow_one_its_turn(
        make_pair: Callable[..., Robot], make_ir: Callable[..., Any]) -> None:
    """While the engine is saturated, what the slow camera shows is computed next."""
    robot = make_pair(model=str(make_ir(slow_layers=20)), input_size=224)
    maps = {name: robot.listen(Image, f'/depth_anything/{name}/inverse_depth/image')
            for name in NAMES}
    for _ in range(60):
        robot.show(plain(51), camera='front')
    robot.show(plain(204), camera='rear')
    done = len(maps['front'])
    assert robot.until(lambda: maps['rear'])
    assert len(maps['front']) - done <= 3


def test_clouds_of_both_cameras_are_in_the_frames_of_their_images(
        make_pair: Callable[..., Robot]) -> None:
    robot = make_pair()
    clouds = {name: robot.listen(PointCloud2, f'/depth_anything/{name}/points')
              for name in NAMES}
    for name in NAMES:
        robot.show_camera(camera_info(HW[1], HW[0]), camera=name)
        robot.show(plain(51), camera=name)
    assert robot.until(lambda: all(clouds.values()))


def test_whoever_goes_through_the_cameras_is_not_disturbed_by_a_transition(
        make_pair: Callable[..., Robot]) -> None:
    """Diagnostics and services may run on other threads than the transitions."""
    robot = make_pair()
    through = iter(robot.depth._streams)
    assert next(through) == 'front'
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_cleanup().name == 'SUCCESS'
    assert next(through) == 'rear'
    assert not robot.depth._streams


def test_going_back_to_one_camera_needs_configure_only(make_pair: Callable[..., Robot]) -> None:
    robot = make_pair()
    assert not robot.set_parameters(cameras=['front'])[0].successful
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_cleanup().name == 'SUCCESS'
    assert robot.set_parameters(cameras=['front'])[0].successful
    robot.bring_up()
    assert list(robot.depth._streams) == ['front']
