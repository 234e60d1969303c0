"""An exception in a callback becomes a sentence, and the process keeps running."""

from collections.abc import Callable
import subprocess
import sys

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.node import main as main_module
from depth_anything_ros.node.callbacks import log_exceptions, ThrottledLogger
from depth_anything_ros.node.node import DepthAnythingNode
from depth_anything_ros.ros import rclpy_adapter
from depth_anything_ros.ros.rclpy_adapter import RclpyError
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
import pytest
from rclpy.context import Context
from robot import Robot
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
    assert 'transition refused, the node is unconfigured' in capfd.readouterr().err


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


def test_the_node_checks_rclpy_when_it_starts(
        context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rclpy_adapter, '_OF_A_NODE', ('no_such_attribute',))
    with pytest.raises(RclpyError, match='no LifecycleNode.no_such_attribute'):
        DepthAnythingNode(context=context)


def test_a_node_that_cannot_start_ends_with_one_sentence_and_status_1(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*args: object, **options: object) -> None:
        raise RclpyError(['LifecycleNode.x'])

    monkeypatch.setattr(main_module, 'run', run)
    assert main_module.main([]) == 1
    assert capsys.readouterr().err.startswith('error: this release of rclpy has no Lifecycle')
