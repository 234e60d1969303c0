"""An exception in a callback becomes a sentence, and the process keeps running."""

from collections.abc import Callable
from dataclasses import replace
import re
import subprocess
import sys
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.node import main as main_module, node as node_module
from depth_anything_ros.node.node import DepthAnythingNode
from depth_anything_ros.ros import spin
from depth_anything_ros.ros.callbacks import (
    failure, log_exceptions, one_line, ThrottledLogger)
from depth_anything_ros.ros.spin import RosArgumentsError
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from robot import Robot
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

SPIN = """
import sys
import time
from depth_anything_ros.ros.spin import run
from rclpy.node import Node

class Faulty(Node):
    def __init__(self):
        super().__init__('faulty')
        self.count = 0
        self.create_timer(0.02, self.tick)
    def tick(self):
        self.count += 1
        if self.count == 5:
            print('still running', flush=True)
            self.context.shutdown()
        raise ValueError('bad luck')

run(Faulty, [], keep_spinning=sys.argv[1] == 'keep')
"""


def fail(*args: object) -> None:
    """Raise an error that nobody expects."""
    raise ValueError('bad luck')


def test_exceptions_are_logged_with_the_name_of_the_callback() -> None:
    log: list[str] = []
    log_exceptions(fail, log.append)(1, 2)
    assert log == ["fail failed, please report this: ValueError('bad luck')"]


def test_an_error_of_ours_is_logged_as_its_own_sentence() -> None:
    def refuse() -> None:
        raise SettingsError('device', 'TPU', 'CPU, GPU or NPU')

    log: list[str] = []
    log_exceptions(refuse, log.append)()
    assert log == ["parameter device is 'TPU'; it must be CPU, GPU or NPU"]


def test_a_sentence_is_logged_once_in_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr('time.monotonic', lambda: now)
    log: list[str] = []
    throttled = ThrottledLogger(log.append, period_s=10.0)
    for sentence in ('a', 'b', 'a', 'a'):
        throttled(sentence)
    assert log == ['a', 'b']
    now = 110.0
    throttled('a')
    assert log == ['a', 'b', 'a']


@pytest.mark.parametrize('sentences', [
    ('a step of 30 bytes is too small for 640x480', 'a step of 7 bytes is too small for 64x48'),
    ('the nearest message is +0.500 s from the image', 'the nearest message is -12.3 s from the '
     'image'), ('the value is 1e-05', 'the value is nan'), ('ranges 1,2,3', 'ranges 11,0.5,-inf'),
    ("ValueError('<object at 0x7f01ab>')", "ValueError('<object at 0xdeadbe>')")])
def test_sentences_that_differ_only_in_numbers_share_a_throttle(
        sentences: tuple[str, str]) -> None:
    """A camera that is set up wrongly sends another size or time with every image."""
    log: list[str] = []
    throttled = ThrottledLogger(log.append)
    for sentence in sentences:
        throttled(sentence)
    assert log == [sentences[0]]


@pytest.mark.parametrize('sentences', [
    ('no message on /cam/0/image', 'no message on /cam/1/image'), ('front_1: lost',
                                                                   'front_2: lost'),
    ('GPU.0 failed', 'GPU.1 failed'), ('encoding nv12', 'encoding nv21')])
def test_names_that_end_in_digits_are_different_kinds(sentences: tuple[str, str]) -> None:
    log: list[str] = []
    throttled = ThrottledLogger(log.append)
    for sentence in sentences:
        throttled(sentence)
    assert log == list(sentences)


def test_no_more_than_64_kinds_are_logged_in_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sentence may carry a text of a foreign message, which differs every time."""
    now = 100.0
    monkeypatch.setattr('time.monotonic', lambda: now)
    log: list[str] = []
    throttled = ThrottledLogger(log.append, period_s=10.0)
    for number in range(1000):
        throttled(f'x{number}')
    assert len(log) == 64
    now = 111.0
    throttled('x1000')
    assert len(log) == 65


def test_what_is_logged_is_one_line_of_valid_text() -> None:
    log: list[str] = []
    ThrottledLogger(log.append)('a\nb \udcff' + 'c' * 9000)
    line, = log
    assert line.startswith('a b \\udcffccc') and len(line) < 2100
    assert one_line(ValueError('x\n  y')) == 'x y'


def test_an_error_with_a_known_cause_is_no_fault_to_report() -> None:
    assert failure('frame lost', OSError('the disk is full')) == 'frame lost: the disk is full'
    assert 'please report this' in failure('frame lost', KeyError('x'))


def test_what_fails_because_the_process_ends_is_not_logged(context: Context) -> None:
    node = Node('stopped', context=context)
    log: list[str] = []
    guarded = log_exceptions(fail, log.append, node)
    guarded()
    assert len(log) == 1
    rclpy.try_shutdown(context=context)
    guarded()
    assert len(log) == 1
    node.destroy_node()


def test_what_the_threads_of_a_node_report_while_the_process_ends_is_not_logged(
        context: Context, capfd: pytest.CaptureFixture[str]) -> None:
    node = DepthAnythingNode(context=context)
    node._warn('the odometry is late')
    rclpy.try_shutdown(context=context)
    node._warn('an image was not tracked')
    node.destroy_node()
    log = capfd.readouterr().err
    assert 'the odometry is late' in log
    assert 'an image was not tracked' not in log


def test_at_most_64_sentences_are_remembered() -> None:
    throttled = ThrottledLogger(lambda sentence: None)
    for number in range(1000):
        throttled(str(number))
    assert len(throttled._logged_at) <= 64


@pytest.mark.parametrize('mode, status', [('keep', 0), ('stop', 1)])
def test_an_exception_in_a_callback_ends_only_processes_that_want_it(mode: str,
                                                                     status: int) -> None:
    done = subprocess.run([sys.executable, '-c', SPIN, mode], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert ('still running' in done.stdout) is (mode == 'keep')
    assert ('Traceback' in done.stderr) is (mode == 'stop')
    assert "ValueError('bad luck')" in done.stderr or mode == 'stop'


def test_a_parameter_callback_that_raises_gives_a_reason_and_the_node_runs(
        make_robot: Callable[..., Robot], monkeypatch: pytest.MonkeyPatch) -> None:
    robot = make_robot()
    monkeypatch.setattr(robot.depth._node_parameters, 'check', fail)
    result, = robot.set_parameters(depth_max=5.0)
    assert not result.successful
    assert 'bad luck' in result.reason


def test_a_change_that_cannot_be_applied_is_logged(
        make_robot: Callable[..., Robot], monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot()
    monkeypatch.setattr(robot.depth._node_parameters, 'mark_applied', fail)
    assert robot.set_parameters(depth_max=5.0)[0].successful
    assert 'apply parameters failed, please report this' in capfd.readouterr().err


def test_diagnostics_that_fail_are_logged_once_and_come_back(
        make_robot: Callable[..., Robot], monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot()
    with monkeypatch.context() as patch:
        patch.setattr(robot.depth, '_reporter', fail)
        log = ''
        assert robot.until(lambda: bool(robot.depth._warn._logged_at))
        robot.until(lambda: False, 0.3)
        log = capfd.readouterr().err
    assert log.count('publish diagnostics failed, please report this') == 1
    assert robot.until(lambda: robot.listen(DiagnosticArray, '/diagnostics') != [], 10)


@pytest.mark.parametrize('kind, name, method', [
    (SetBool, 'freeze_alignment', 'aligner'), (Trigger, 'save_snapshot', 'snapshots')])
def test_a_service_that_fails_answers_with_the_reason(
        make_robot: Callable[..., Robot], kind: type, name: str, method: str) -> None:
    robot = make_robot()
    assert robot.depth.trigger_configure().name == 'SUCCESS'
    setattr(robot.stream(), method, None)
    client = robot.node.create_client(kind, f'/depth_anything/{name}')
    assert robot.until(client.service_is_ready)
    future = client.call_async(kind.Request())
    assert robot.until(future.done)
    assert not future.result().success
    assert 'please report this: AttributeError' in future.result().message
    robot.depth._streams = {}


def ask(robot: Robot, kind: type, request: Any) -> Any:
    """Send a request to a parameter service of the node, as ``ros2 param`` does."""
    name = re.sub('(?<!^)([A-Z])', r'_\1', kind.__name__).lower()
    client = robot.node.create_client(kind, f'/depth_anything/{name}')
    assert robot.until(client.service_is_ready)
    future = client.call_async(request)
    assert robot.until(future.done), f'{name} did not answer'
    return future.result()


def parameter(name: str, kind: int, **value: Any) -> Parameter:
    """Return a parameter of any type, also one that does not exist."""
    return Parameter(name=name, value=ParameterValue(type=kind, **value))


def test_a_parameter_of_an_unknown_type_is_refused_and_the_others_are_set(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot()
    good = parameter('depth_max', ParameterType.PARAMETER_DOUBLE, double_value=5.0)
    results = ask(robot, SetParameters, SetParameters.Request(
        parameters=[parameter('depth_min', 77), good])).results
    assert [result.successful for result in results] == [False, True]
    assert '77' in results[0].reason
    assert robot.depth.get_parameter('depth_max').value == 5.0
    result = ask(robot, SetParametersAtomically, SetParametersAtomically.Request(
        parameters=[parameter('depth_max', ParameterType.PARAMETER_DOUBLE, double_value=9.0),
                    parameter('depth_min', 77)])).result
    assert not result.successful and '77' in result.reason
    assert robot.depth.get_parameter('depth_max').value == 5.0
    log = capfd.readouterr().err
    assert 'report' not in log and log.count('77 is not a valid') == 2


@pytest.mark.parametrize('name', ['cameras', 'points_max', 'alignment.reference_pose', 'device',
                                  'diagnostics_period', 'use_sim_time'])
def test_a_parameter_cannot_be_deleted(make_robot: Callable[..., Robot], name: str) -> None:
    """Without it, every change and every configure would fail until the node starts again."""
    robot = make_robot()
    before = robot.depth.get_parameter(name).value
    deleted, = ask(robot, SetParameters, SetParameters.Request(
        parameters=[parameter(name, ParameterType.PARAMETER_NOT_SET)])).results
    assert not deleted.successful and deleted.reason
    assert robot.depth.get_parameter(name).value == before
    assert robot.set_parameters(depth_max=5.0)[0].successful
    robot.bring_up()


def test_the_parameter_of_one_camera_cannot_be_deleted(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(cameras=['front'], **{'front.points_max': 3.0})
    robot.bring_up()
    deleted, = ask(robot, SetParameters, SetParameters.Request(
        parameters=[parameter('front.points_max', ParameterType.PARAMETER_NOT_SET)])).results
    assert not deleted.successful
    assert robot.set_parameters(depth_max=5.0)[0].successful
    assert robot.stream('front').settings.points_max == 3.0


def test_an_empty_list_of_cameras_is_no_deletion(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(cameras=['front'])
    assert robot.depth.set_parameters([RosParameter(
        'cameras', RosParameter.Type.STRING_ARRAY, [])])[0].successful
    robot.bring_up()
    assert list(robot.depth._streams) == ['']


def test_texts_that_are_not_unicode_do_not_stop_the_diagnostics(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """The metadata of a damaged model may hold anything."""
    robot = make_robot()
    robot.bring_up()
    engine = robot.depth._engine
    engine._engine.info = replace(engine.info, source_name='d\udce9p\udcf4t.pth')
    robot.depth._log_engine(engine)
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    messages.clear()
    assert robot.until(lambda: messages)
    found = {entry.key: entry.value for entry in messages[-1].status[0].values}
    assert found['model'].endswith(r'd\udce9p\udcf4t.pth')
    assert 'report' not in capfd.readouterr().err


@pytest.mark.parametrize('name', ['model', 'cache_dir'])
def test_a_home_folder_that_does_not_exist_is_named_in_configure(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], name: str) -> None:
    robot = make_robot(**{name: '~nosuchuser/files'})
    expected = {'model': 'FAILURE', 'cache_dir': 'SUCCESS'}[name]
    assert robot.depth.trigger_configure().name == expected
    log = capfd.readouterr().err
    assert '~nosuchuser/files: the home folder of ~nosuchuser is unknown; write' in log
    assert 'report' not in log


def test_images_that_cannot_be_read_do_not_flood_the_log(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """Each of them is wrong in other numbers."""
    robot = make_robot()
    robot.bring_up()
    robot.listen(Image, '/depth_anything/inverse_depth/image')
    for number in range(30):
        failed = robot.depth._scheduler.stats().failed
        robot.show(np.zeros((16, 10 + number), np.uint8), encoding='bgr8')
        assert robot.until(lambda failed=failed: robot.depth._scheduler.stats().failed > failed)
    lines = [line for line in capfd.readouterr().err.splitlines() if 'frame lost' in line]
    assert 1 <= len(lines) <= 5, lines


def test_a_transition_that_rclpy_cannot_carry_out_is_refused(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot()
    client = robot.node.create_client(ChangeState, '/depth_anything/change_state')
    assert robot.until(client.service_is_ready)
    for transition in (Transition(id=200), Transition(id=State.PRIMARY_STATE_FINALIZED),
                       Transition(label='fly')):
        future = client.call_async(ChangeState.Request(transition=transition))
        assert robot.until(future.done)
        assert not future.result().success
    log = capfd.readouterr().err
    # From Kilted on rclpy refuses such a request itself.
    assert 'transition refused, the node is unconfigured' in log or (
        "Unable to start transition 200 from current state (1, 'unconfigured')" in log)


def test_everything_else_is_released_when_one_release_fails(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    robot = make_robot()
    robot.bring_up()
    scheduler, engine, stream = robot.depth._scheduler, robot.depth._engine, robot.stream()
    close, scheduler.close = scheduler.close, fail
    assert robot.depth.trigger_shutdown().name == 'FAILURE'
    close()
    assert (robot.depth._engine, robot.depth._scheduler, robot.depth._streams) == (None, None, {})
    assert engine._closed and stream._publishers._publishers == {}
    assert "shutdown failed: ValueError('bad luck')" in capfd.readouterr().err


def test_a_node_whose_constructor_failed_can_be_destroyed(
        context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """As rclpy does at shutdown, from Kilted on."""
    monkeypatch.setattr(node_module, 'NodeParameters', fail)
    node = DepthAnythingNode.__new__(DepthAnythingNode)
    with pytest.raises(ValueError, match='bad luck'):
        node.__init__(context=context)
    node.destroy_node()


def test_a_node_that_cannot_start_ends_with_one_sentence_and_status_1(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*args: object, **options: object) -> None:
        raise RosArgumentsError('no such file')

    monkeypatch.setattr(spin, 'run', run)
    assert main_module.main([]) == 1
    assert capsys.readouterr().err.startswith('error: ROS cannot start (no such file)')
