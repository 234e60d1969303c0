"""Private parts of rclpy are used in one module, and where one is missing, public ways are."""

import ast
from collections.abc import Iterator
import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.ros import qos, rclpy_adapter
from depth_anything_ros.ros.callbacks import transition_callback
from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
from depth_anything_ros.ros.rclpy_adapter import (
    call_after_set, lifecycle_state, missing_for_publishing, missing_for_waiting,
    refuse_invalid_requests, report_missing_parts, start_values)
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl import implementation_singleton
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot import camera_info, RELIABLE
from sensor_msgs.msg import CameraInfo
from unsupported_events import remove_events
from waiting import until

ROOT = Path(__file__).parents[2]
PACKAGE = Path(rclpy_adapter.__file__).parents[1]
OTHERS = sorted(path for room in ('node', 'ros', 'demo', 'benchmark', 'view')
                for path in (PACKAGE / room).glob('*.py') if path.name != 'rclpy_adapter.py')
# Renaming these leaves nothing that the adapter knows, and in Humble the last one is missing.
PRIVATE = ('_parameter_overrides', '_state_machine', 'event_handlers', 'handle',
           'rclpy_implementation', 'add_post_set_parameters_callback')
# What must work without any private part: configure, image in, depth out, parameters, refusals.
ESSENTIAL = (
    'test/node/test_lifecycle.py::test_a_transition_that_the_state_forbids_is_refused_and_the_'
    'node_lives',
    'test/node/test_lifecycle.py::test_the_node_works_again_after_deactivate_and_activate',
    'test/node/test_lifecycle.py::test_a_failed_activate_leaves_nothing_active_behind',
    'test/node/test_topics.py::test_cloud_of_a_metric_model_reprojects_onto_its_pixels',
    'test/node/test_callbacks.py::test_a_transition_that_rclpy_cannot_carry_out_is_refused',
    'test/node/test_callbacks.py::test_a_parameter_of_an_unknown_type_is_refused_and_the_others_'
    'are_set',
    'test/node/test_cameras.py::test_a_parameter_can_be_set_for_one_camera',
    'test/node/test_ros_parameters.py::test_a_bad_start_value_fails_configure_until_it_is_mended',
    'test/node/test_ros_parameters.py::test_parameters_of_configure_are_refused_later_and_'
    'accepted_after_cleanup',
    'test/node/test_ros_parameters.py::test_points_follow_stride_and_range_at_once')


def private_parts(text: str) -> Iterator[str]:
    """Yield imports of rclpy.impl and private attributes that the source does not define."""
    tree = ast.parse(text)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(
                ('rclpy.impl', 'rclpy.guard_condition')):
            yield str(node.module)
        if isinstance(node, ast.Attribute) and node.attr not in own and (
                node.attr.startswith('_') and not node.attr.startswith('__')):
            name = ast.unparse(node)
            # A public function in spite of its name.
            if name != 'os._exit':
                yield name


@pytest.mark.parametrize('file', OTHERS, ids=lambda file: f'{file.parent.name}/{file.stem}')
def test_other_modules_use_public_parts_only(file: Path) -> None:
    assert list(private_parts(file.read_text())) == []


def test_a_private_part_would_be_found() -> None:
    text = 'from rclpy.impl.x import y\nclass A:\n    def f(self): self._state_machine.g()'
    assert list(private_parts(text)) == ['rclpy.impl.x', 'self._state_machine']


def test_the_node_works_without_any_private_part() -> None:
    """The real node with an rclpy that has other names for all of them, in another process."""
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'renamed_rclpy', '-q', '-s', '--no-header',
         *ESSENTIAL], cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, 'RENAMED': ' '.join(PRIVATE),
             'PYTHONPATH': os.fspath(ROOT / 'test' / 'support')})
    log = run.stdout + run.stderr
    assert run.returncode == 0, log
    assert ('this release of rclpy has no implementation_singleton.rclpy_implementation, '
            'Publisher.handle, Publisher.pointer, Node._parameter_overrides, '
            'LifecycleNode._state_machine.current_state, so each image takes longer to receive, '
            'each message takes longer to publish, unknown') in log, log


@pytest.fixture
def node(context: Context) -> Iterator[LifecycleNode]:
    """Return a lifecycle node."""
    node = LifecycleNode('probed', context=context)
    yield node
    node.destroy_node()


def test_nothing_is_reported_for_this_release(
        context: Context, node: LifecycleNode, capfd: pytest.CaptureFixture[str]) -> None:
    assert missing_for_waiting(context) == missing_for_publishing() == []
    report_missing_parts(node)
    assert capfd.readouterr().err == ''


def test_all_missing_parts_are_reported_in_one_sentence(
        node: LifecycleNode, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(rclpy_adapter, '_OF_THE_LIBRARY', ('WaitSet.no_such_method',))
    monkeypatch.setattr(rclpy_adapter, '_rcl_publish', lambda: None)
    monkeypatch.setattr(rclpy_adapter, '_OVERRIDES', '_no_such_mapping')
    monkeypatch.setattr(rclpy_adapter, '_STATE', '_no_such_machine')
    monkeypatch.setattr(rclpy_adapter, '_OF_A_SERVICE', ('no_such_callback',))
    report_missing_parts(node)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(
        'this release of rclpy has no WaitSet.no_such_method, '
        'librcl.so.rcl_publish_serialized_message, Node._no_such_mapping, '
        'Service.no_such_callback, LifecycleNode._no_such_machine.current_state, so each '
        'image takes longer to receive, each message takes longer to publish, '
        'unknown parameters of a camera are ignored without an '
        'error, invalid requests get no answer, the lifecycle state is taken from the '
        'transitions; a newer release of depth_anything_ros may know other parts')


def library_without(path: str) -> SimpleNamespace:
    """Return the classes of rclpy's library that the adapter uses, but for one method."""
    library = implementation_singleton.rclpy_implementation
    parts = [part.split('.') for part in rclpy_adapter._OF_THE_LIBRARY if part != path]
    return SimpleNamespace(**{owner: SimpleNamespace(**{
        name: getattr(getattr(library, owner), name) for of, name in parts if of == owner})
        for owner, _ in parts})


class OtherWaitSet(implementation_singleton.rclpy_implementation.WaitSet):
    """A wait set that wants to be waited for in another way."""

    def wait(self, *, timeout: float) -> None:
        """Wait."""


def other_library() -> SimpleNamespace:
    """Return a library whose WaitSet has another signature."""
    return SimpleNamespace(
        WaitSet=OtherWaitSet,
        Subscription=implementation_singleton.rclpy_implementation.Subscription)


def assert_received_by_the_executor(context: Context, warnings: list[str]) -> None:
    """Check that messages arrive, in order, once the node is spun, and not before."""
    listener, camera = Node('listener', context=context), Node('camera', context=context)
    received: list[int] = []
    topic = SubscribedTopic(CameraInfo, 'camera_info',
                            lambda serialized: received.append(serialized.message.width), RELIABLE)
    subscription = ImageSubscription(listener, (topic,), warnings.append)
    publisher = camera.create_publisher(CameraInfo, 'camera_info', RELIABLE)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    try:
        assert until(lambda: publisher.get_subscription_count() == 1)
        for width in (64, 65, 66):
            publisher.publish(camera_info(width, 48))
        assert not until(lambda: bool(received), 0.05)
        assert until(lambda: executor.spin_once(timeout_sec=0.1) or received == [64, 65, 66])
    finally:
        executor.shutdown()
        subscription.close()
        assert list(listener.subscriptions) == []
        camera.destroy_node()
        listener.destroy_node()


@pytest.mark.parametrize('path', [*rclpy_adapter._OF_THE_LIBRARY, 'other', 'all'])
def test_without_one_part_of_the_library_the_executor_receives_the_images(
        context: Context, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    library, fact = {
        'all': (None, 'implementation_singleton.rclpy_implementation'),
        'other': (other_library(), 'WaitSet that works as before')}.get(
            path, (library_without(path), path))
    monkeypatch.setattr(rclpy_adapter, 'implementation_singleton',
                        SimpleNamespace(rclpy_implementation=library))
    assert [part[:len(fact)] for part in missing_for_waiting(context)] == [fact]
    warnings: list[str] = []
    assert_received_by_the_executor(context, warnings)
    assert warnings == []


@pytest.mark.parametrize('table, owner', [('_OF_A_SUBSCRIPTION', 'Subscription'),
                                          ('_OF_AN_EVENT', 'EventHandler')])
def test_without_one_part_of_a_subscription_the_executor_receives_the_images(
        context: Context, monkeypatch: pytest.MonkeyPatch, table: str, owner: str) -> None:
    """Only a subscription that exists shows whether it has these."""
    monkeypatch.setattr(rclpy_adapter, table, ('no_such_part',))
    warnings: list[str] = []
    assert_received_by_the_executor(context, warnings)
    assert warnings == [f'this release of rclpy has no {owner}.no_such_part, so each '
                        'image takes longer to receive; a newer release of depth_anything_ros '
                        'may know other parts']


class Moody(LifecycleNode):
    """A node whose transitions fail while ``fails`` is true."""

    fails = False

    def _do(self, state: LifecycleState) -> None:
        if self.fails:
            raise DepthAnythingError('bad luck')


for _name in ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown'):
    def _transition(self: Moody, state: LifecycleState) -> None:
        self._do(state)

    _transition.__name__ = f'on_{_name}'
    setattr(Moody, f'on_{_name}', transition_callback(_transition))


@pytest.mark.parametrize('shutdown_fails', [False, True])
def test_the_recorded_state_is_the_one_of_the_state_machine(
        context: Context, monkeypatch: pytest.MonkeyPatch, shutdown_fails: bool) -> None:
    """After success and failure of each transition."""
    node = Moody('moody', context=context)

    def states() -> tuple[str, str]:
        real = lifecycle_state(node)
        with monkeypatch.context() as patch:
            patch.setattr(rclpy_adapter, '_STATE', '_no_such_machine')
            return real, lifecycle_state(node)

    assert states() == ('unconfigured', 'unconfigured')
    for name, after in (('configure', 'inactive'), ('activate', 'active'),
                        ('deactivate', 'inactive'), ('cleanup', 'unconfigured')):
        before = states()
        node.fails = True
        getattr(node, f'trigger_{name}')()
        assert states() == before
        node.fails = False
        getattr(node, f'trigger_{name}')()
        assert states() == (after, after)
    node.fails = shutdown_fails
    node.trigger_shutdown()
    assert states() == ('finalized', 'finalized')
    node.destroy_node()


def test_start_values_are_found_without_the_mapping(
        context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {'front.rate': 1.5, 'front.name': 'a', 'front.list': [1, 2], 'rear.typo': True}
    node = Node('started', context=context, parameter_overrides=[
        Parameter(name, value=value) for name, value in given.items()])
    names = ['front.rate', 'front.name', 'front.list', 'front.absent', 'front.known']
    node.declare_parameter('front.known', 3)
    assert {name: start.value for name, start in start_values(node, names).items()} == given
    monkeypatch.setattr(rclpy_adapter, '_OVERRIDES', '_no_such_mapping')
    found = {name: list(start.value) if name == 'front.list' else start.value
             for name, start in start_values(node, names).items()}
    assert found == {name: value for name, value in given.items() if name != 'rear.typo'}
    assert not any(node.has_parameter(name) for name in names[:4])
    assert node.get_parameter('front.known').value == 3
    node.destroy_node()


@pytest.mark.parametrize('humble', [False, True])
def test_parameters_that_were_set_are_applied_and_refused_ones_are_not(
        node: LifecycleNode, monkeypatch: pytest.MonkeyPatch, humble: bool) -> None:
    """Humble has no callback after parameters were set."""
    if humble:
        monkeypatch.delattr(Node, 'add_post_set_parameters_callback', raising=False)
    for name in ('a', 'b'):
        node.declare_parameter(name, 1)
    applied: list[tuple[str, Any]] = []

    def apply(changes: list[Parameter]) -> None:
        applied.extend((change.name, node.get_parameter(change.name).value) for change in changes)

    call_after_set(node, apply)
    results = node.set_parameters([Parameter('a', value=2), Parameter('b', value='wrong')])
    assert [result.successful for result in results] == [True, False]
    assert applied == [('a', 2)]
    assert not node.set_parameters_atomically(
        [Parameter('a', value=3), Parameter('b', value='wrong')]).successful
    assert applied == [('a', 2)]
    assert node.set_parameters_atomically(
        [Parameter('a', value=4), Parameter('b', value=5)]).successful
    assert applied[1:] == [('a', 4), ('b', 5)]


def test_services_whose_callback_cannot_be_replaced_are_left_alone(
        node: LifecycleNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rclpy_adapter, '_OF_A_SERVICE', ('no_such_callback',))
    before = [service.callback for service in node.services]
    refuse_invalid_requests(node)
    assert [service.callback for service in node.services] == before


@pytest.mark.parametrize('unsupported', [
    ['MESSAGE_LOST'], ['INCOMPATIBLE_QOS'], ['MESSAGE_LOST', 'INCOMPATIBLE_QOS']])
def test_events_that_a_middleware_does_not_have_are_left_out(
        node: LifecycleNode, monkeypatch: pytest.MonkeyPatch, unsupported: list[str]) -> None:
    """As in Humble, where each of them raises; newer releases leave out the second themselves."""
    refused = remove_events(monkeypatch, *unsupported)
    seen: list[object] = []
    subscription = node.create_subscription(
        CameraInfo, 'camera_info', seen.append, RELIABLE,
        event_callbacks=qos.subscription_events('camera_info', seen.append))
    publisher = node.create_publisher(
        CameraInfo, 'camera_info', RELIABLE,
        event_callbacks=qos.publisher_events('camera_info', seen.append))
    kinds = [event.event_type.name for owner in (subscription, publisher)
             for event in owner.event_handlers]
    assert refused and not any(name in kind for kind in kinds for name in unsupported)
