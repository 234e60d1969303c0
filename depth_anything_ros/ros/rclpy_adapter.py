"""
Every private part of rclpy that this package uses, each behind one function or class.

rclpy has no public way to wait for a few chosen subscriptions, to read the parameter files' values
of parameters that are not declared, or to refuse an invalid request without raising through the
executor. ``check_rclpy`` looks for these parts when the node starts, so that a release of rclpy
that lacks one is reported in one sentence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from operator import attrgetter
from types import TracebackType
from typing import Any

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.ros.callbacks import is_stopping, one_line, ThrottledLogger
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.event_handler import EventHandler
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

_STATE, _OVERRIDES = '_state_machine', '_parameter_overrides'
_CHANGE_STATE = '_service_change_state'
# Attribute paths, by the object that must have them.
_OF_A_NODE = (f'{_STATE}.current_state', f'{_CHANGE_STATE}.callback', f'{_OVERRIDES}.get')
_OF_A_SUBSCRIPTION = ('handle',)
_OF_AN_EVENT = ('add_to_wait_set', 'is_ready', 'take_data')
_OF_THE_LIBRARY = ('WaitSet.add_subscription', 'WaitSet.add_guard_condition', 'WaitSet.wait',
                   'WaitSet.clear_entities', 'WaitSet.get_ready_entities',
                   'Subscription.take_message')


class RclpyError(DepthAnythingError):
    """This release of rclpy lacks a private part that the node needs."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f'this release of rclpy has no {", ".join(missing)}; use ROS 2 Humble to Rolling with '
            'the rclpy of that distribution, or report this with the version of rclpy')


def check_rclpy(node: LifecycleNode) -> None:
    """Raise RclpyError unless rclpy has every private part that this module uses."""
    needed = ((node, 'LifecycleNode', _OF_A_NODE), (EventHandler, 'EventHandler', _OF_AN_EVENT),
              (Subscription, 'Subscription', _OF_A_SUBSCRIPTION),
              (rclpy_implementation, 'rclpy_implementation', _OF_THE_LIBRARY))
    missing = [f'{name}.{path}' for owner, name, paths in needed for path in paths
               if not _has(owner, path)]
    if missing:
        raise RclpyError(missing)


def _has(owner: object, path: str) -> bool:
    try:
        attrgetter(path)(owner)
    except AttributeError:
        return False
    return True


def lifecycle_state(node: LifecycleNode) -> str:
    """Return the label of the current lifecycle state, such as 'inactive'."""
    label: str = getattr(node, _STATE).current_state[1]
    return label


def parameter_overrides(node: Node) -> Mapping[str, Parameter]:
    """Return the start values from files and the command line, declared or not, by name."""
    overrides: Mapping[str, Parameter] = getattr(node, _OVERRIDES)
    return overrides


def refuse_invalid_transitions(node: LifecycleNode) -> None:
    """
    Answer a change_state request that cannot be carried out with success = false and a warning.

    rclpy lets such a request raise through the executor, which ends the process.
    """
    service = getattr(node, _CHANGE_STATE)
    change_state = service.callback

    def change_state_or_refuse(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except Exception as error:  # noqa: B902 - the executor would end the process
            sentence = (str(error).splitlines() or [repr(error)])[0]
            if not is_stopping(node):
                node.get_logger().warning(
                    f'transition refused, the node is {lifecycle_state(node)}: {sentence}')
            response.success = False
            return response

    service.callback = change_state_or_refuse


def refuse_invalid_requests(node: Node) -> None:
    """
    Answer requests to rclpy's own services that cannot be carried out, and log a warning.

    rclpy lets such a request, for example a parameter of an unknown type, raise through the
    executor: it gets no answer, and the process ends. Call this before other services are created.
    """
    warn = ThrottledLogger(lambda sentence: node.get_logger().warning(sentence))
    for service in node.services:
        service.callback = _answering(node, service.srv_type, service.callback, warn)


def _answering(node: Node, service_type: Any, answer: Callable[[Any, Any], Any],
               warn: Callable[[str], object]) -> Callable[[Any, Any], Any]:
    def answer_or_refuse(request: Any, response: Any) -> Any:
        try:
            return answer(request, response)
        except Exception as error:  # noqa: B902 - the executor would end the process
            refused, reason = service_type.Response(), one_line(error)
            if not is_stopping(node):
                warn(f'an invalid request {service_type.__name__} was refused: {reason}')
            if service_type is SetParametersAtomically:
                refused.result = SetParametersResult(successful=False, reason=reason)
            if service_type is SetParameters:
                refused.results = [SetParametersResult(successful=False, reason=reason)
                                   for _ in request.parameters]
            return refused

    def one_by_one(request: Any, response: Any) -> Any:
        # An invalid parameter does not concern the others: only the other service is atomic.
        for parameter in request.parameters:
            one = SetParameters.Request(parameters=[parameter])
            response.results.extend(answer_or_refuse(one, SetParameters.Response()).results)
        return response

    return one_by_one if service_type is SetParameters else answer_or_refuse


class SubscriptionWaitSet:
    """
    Waits for a few subscriptions, their QoS events and a guard condition, and for nothing else.

    Use it as a context manager: everything that is waited for is kept from being destroyed until
    the end. All methods belong to one thread.
    """

    def __init__(self, context: Context, subscriptions: Sequence[Any],
                 wake: GuardCondition) -> None:
        self._context = context
        self._subscriptions = subscriptions
        self._events = [event for subscription in subscriptions
                        for event in subscription.event_handlers]
        self._wake = wake
        self._in_use = ExitStack()
        self._wait_set: Any = None

    def __enter__(self) -> 'SubscriptionWaitSet':
        with ExitStack() as stack:
            for entity in (self._context.handle, self._wake.handle, *self._events,
                           *(subscription.handle for subscription in self._subscriptions)):
                stack.enter_context(entity)
            self._wait_set = rclpy_implementation.WaitSet(
                len(self._subscriptions), 1, 0, 0, 0, len(self._events), self._context.handle)
            self._in_use = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._wait_set = None
        self._in_use.close()

    def messages(self, timeout_ns: int) -> Iterator[tuple[int, bytes]]:
        """
        Wait once, call the callbacks of QoS events, and yield what has arrived.

        Yields at most one serialized message per subscription, with the index of the subscription.
        """
        self._wait_set.clear_entities()
        self._wait_set.add_guard_condition(self._wake.handle)
        for subscription in self._subscriptions:
            self._wait_set.add_subscription(subscription.handle)
        for event in self._events:
            event.add_to_wait_set(self._wait_set)
        self._wait_set.wait(timeout_ns)
        ready = self._wait_set.get_ready_entities('subscription')
        for index, subscription in enumerate(self._subscriptions):
            for event in subscription.event_handlers:
                if event.is_ready(self._wait_set) and (data := event.take_data()) is not None:
                    event.callback(data)
            if subscription.handle.pointer in ready:
                message = subscription.handle.take_message(subscription.msg_type, True)
                if message is not None:
                    yield index, message[0]
