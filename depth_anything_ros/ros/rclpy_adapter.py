"""
Every private part of rclpy that this package uses, each behind one function or class.

rclpy has no public way to wait for a few chosen subscriptions, to tell the state of a lifecycle
node, or to read the start values of parameters that are not declared. If a release of rclpy lacks
such a part, its public ones are used, which take longer or tell less; ``report_missing_parts``
names what is missing when a node starts. What is public but has other names in ROS 2 Humble is
here too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
import ctypes
from functools import lru_cache
from operator import attrgetter
from types import TracebackType
from typing import Any, cast

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.ros.callbacks import (
    is_stopping, one_line, RECORDED_STATE, ThrottledLogger)
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.guard_condition import GuardCondition
from rclpy.impl import implementation_singleton
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.subscription import Subscription

try:
    from rclpy.clock_type import ClockType
    from rclpy.event_handler import (
        PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError)
except ImportError:  # ROS 2 Humble
    from rclpy.clock import ClockType  # type: ignore[attr-defined]
    from rclpy.qos_event import (
        PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError)

__all__ = ['call_after_set', 'ClockType', 'lifecycle_state', 'missing_for_publishing',
           'missing_for_waiting', 'publish_memory', 'PublisherEventCallbacks', 'RclpyError',
           'refuse_invalid_requests', 'report_missing_parts', 'start_values',
           'SubscriptionEventCallbacks', 'SubscriptionWaitSet', 'UnsupportedEventTypeError']

_LIBRARY = 'rclpy_implementation'
_STATE, _OVERRIDES = '_state_machine', '_parameter_overrides'
# Attribute paths, by the object that must have them.
_OF_THE_LIBRARY = ('WaitSet.add_subscription', 'WaitSet.add_guard_condition', 'WaitSet.wait',
                   'WaitSet.clear_entities', 'WaitSet.get_ready_entities',
                   'Subscription.take_message', 'Subscription.pointer')
_OF_A_SUBSCRIPTION = ('handle', 'event_handlers')
_OF_AN_EVENT = ('add_to_wait_set', 'is_ready', 'take_data', 'callback')
_OF_A_SERVICE = ('callback', 'srv_type')
_RCL, _RCL_PUBLISH = 'librcl.so', 'rcl_publish_serialized_message'
_IMAGES = 'each image takes longer to receive'


class RclpyError(DepthAnythingError):
    """This release of rclpy lacks parts, so that public ones have to do."""

    def __init__(self, missing: Sequence[str], consequences: Sequence[str]) -> None:
        super().__init__(
            f'this release of rclpy has no {", ".join(missing)}, so {", ".join(consequences)}; '
            'a newer release of depth_anything_ros may know other parts')


def report_missing_parts(node: Node) -> None:
    """Log one warning that names the parts that rclpy lacks, if any, and what follows."""
    found = [(missing_for_waiting(node.context), _IMAGES),
             (missing_for_publishing(), 'each message takes longer to publish'),
             ([f'Node.{_OVERRIDES}'] if not hasattr(node, _OVERRIDES) else [],
              'unknown parameters of a camera are ignored without an error'),
             (sorted({f'Service.{path}' for service in node.services
                      for path in _OF_A_SERVICE if not _has(service, path)}),
              'invalid requests get no answer')]
    if isinstance(node, LifecycleNode):
        path = f'{_STATE}.current_state'
        found.append(([f'LifecycleNode.{path}'] if not _has(node, path) else [],
                      'the lifecycle state is taken from the transitions'))
    lacking = [(missing, consequence) for missing, consequence in found if missing]
    if lacking and not is_stopping(node):
        node.get_logger().warning(str(RclpyError(
            [part for missing, _ in lacking for part in missing],
            [consequence for _, consequence in lacking])))


def missing_for_waiting(context: Context) -> list[str]:
    """Return the parts that ``SubscriptionWaitSet`` needs and this release of rclpy lacks."""
    library = getattr(implementation_singleton, _LIBRARY, None)
    if library is None:
        return [f'implementation_singleton.{_LIBRARY}']
    missing = [path for path in _OF_THE_LIBRARY if not _has(library, path)]
    if not _has(Subscription, 'handle'):
        missing.append('Subscription.handle')
    if missing:
        return missing
    try:
        wait_set = SubscriptionWaitSet(context, ())
        with wait_set:
            wait_set.wake()
            list(wait_set.messages(0))
        wait_set.destroy()
    except Exception as error:  # noqa: B902 - whatever is called in another way than before
        return [f'WaitSet that works as before ({one_line(error)})']
    return []


def missing_for_publishing() -> list[str]:
    """Return the parts that ``publish_memory`` needs and this release of ROS 2 lacks."""
    if _rcl_publish() is None:
        return [f'{_RCL}.{_RCL_PUBLISH}']
    library = getattr(implementation_singleton, _LIBRARY, None)
    return [f'Publisher.{path}' for owner, path in (
        (Publisher, 'handle'), (getattr(library, 'Publisher', None), 'pointer'))
        if not _has(owner, path)]


def publish_memory(publisher: Publisher, address: int, size: int) -> bool:
    """Send a serialized message of ``size`` bytes at ``address``; False if rcl refuses it."""
    publish = _rcl_publish()
    assert publish is not None
    message = _SerializedMessage(address, size, size)
    handle = publisher.handle
    with handle:
        return bool(publish(handle.pointer, ctypes.byref(message), None) == 0)


class _Allocator(ctypes.Structure):
    """``rcutils_allocator_t``."""

    _fields_ = [(name, ctypes.c_void_p) for name in (
        'allocate', 'deallocate', 'reallocate', 'zero_allocate', 'state')]


class _SerializedMessage(ctypes.Structure):
    """``rcl_serialized_message_t``."""

    _fields_ = [('buffer', ctypes.c_void_p), ('buffer_length', ctypes.c_size_t),
                ('buffer_capacity', ctypes.c_size_t), ('allocator', _Allocator)]


@lru_cache(maxsize=1)
def _rcl_publish() -> Callable[[int, Any, None], int] | None:
    """Return the function of rcl that publishes serialized messages, None without it."""
    try:
        publish: Any = getattr(ctypes.CDLL(_RCL), _RCL_PUBLISH)
    except (OSError, AttributeError):
        return None
    publish.argtypes = (ctypes.c_void_p, ctypes.POINTER(_SerializedMessage), ctypes.c_void_p)
    publish.restype = ctypes.c_int
    return cast(Callable[[int, Any, None], int], publish)


def _has(owner: object, path: str) -> bool:
    try:
        attrgetter(path)(owner)
    except AttributeError:
        return False
    return True


def lifecycle_state(node: LifecycleNode) -> str:
    """
    Return the label of the current lifecycle state, such as 'inactive'.

    Without rclpy's state machine it is the one that ``transition_callback`` has recorded.
    """
    if _has(node, f'{_STATE}.current_state'):
        return str(getattr(node, _STATE).current_state[1])
    return str(getattr(node, RECORDED_STATE, 'unconfigured'))


def start_values(node: Node, names: Iterable[str]) -> Mapping[str, Parameter]:
    """
    Return the start values from files and the command line, declared or not, by name.

    Without rclpy's mapping only those of ``names`` are found that are not declared yet: each is
    declared for a moment.
    """
    if hasattr(node, _OVERRIDES):
        overrides: Mapping[str, Parameter] = getattr(node, _OVERRIDES)
        return overrides
    found = {}
    for name in names:
        if not node.has_parameter(name):
            start = node.declare_parameter(name, None, ParameterDescriptor(dynamic_typing=True))
            node.undeclare_parameter(name)
            if start.type_ != Parameter.Type.NOT_SET:
                found[name] = start
    return found


def call_after_set(node: Node, apply: Callable[[list[Parameter]], None]) -> None:
    """Call ``apply`` with parameters that were set; in Humble, not with those declared."""
    if hasattr(node, 'add_post_set_parameters_callback'):
        node.add_post_set_parameters_callback(apply)
        return
    set_each, set_atomically = node.set_parameters, node.set_parameters_atomically

    def set_parameters(parameter_list: list[Parameter]) -> list[SetParametersResult]:
        results = set_each(parameter_list)
        changes = [parameter for parameter, result in zip(parameter_list, results)
                   if result.successful]
        if changes:
            apply(changes)
        return results

    def set_parameters_atomically(parameter_list: list[Parameter]) -> SetParametersResult:
        result = set_atomically(parameter_list)
        if result.successful:
            apply(parameter_list)
        return result

    # The services of Humble call these methods of the node.
    node.set_parameters = set_parameters  # type: ignore[method-assign]
    node.set_parameters_atomically = set_parameters_atomically  # type: ignore[method-assign]


def refuse_invalid_requests(node: Node) -> None:
    """
    Answer requests to rclpy's own services that cannot be carried out, and log a warning.

    rclpy lets such a request, for example a parameter of an unknown type or a transition that the
    present state does not allow, raise through the executor: it gets no answer, and the process
    ends. Call this before other services are created.
    """
    warn = ThrottledLogger(lambda sentence: node.get_logger().warning(sentence))
    for service in node.services:
        if all(_has(service, path) for path in _OF_A_SERVICE):
            service.callback = _answering(node, service.srv_type, service.callback, warn)


def _answering(node: Node, service_type: Any, answer: Callable[[Any, Any], Any],
               warn: Callable[[str], object]) -> Callable[[Any, Any], Any]:
    def answer_or_refuse(request: Any, response: Any) -> Any:
        try:
            return answer(request, response)
        except Exception as error:  # noqa: B902 - the executor would end the process
            refused, reason = service_type.Response(), one_line(error)
            if not is_stopping(node):
                warn(_refusal(node, service_type, error))
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


def _refusal(node: Node, service_type: Any, error: Exception) -> str:
    if service_type is ChangeState and isinstance(node, LifecycleNode):
        # The other lines of such an error are about the source code of rcl.
        reason = (str(error).splitlines() or [repr(error)])[0]
        return f'transition refused, the node is {lifecycle_state(node)}: {reason}'
    return f'an invalid request {service_type.__name__} was refused: {one_line(error)}'


class SubscriptionWaitSet:
    """
    Waits for a few subscriptions, their QoS events and ``wake``, and for nothing else.

    Use it as a context manager: everything that is waited for is kept from being destroyed until
    the end. All methods but ``wake`` and ``destroy`` belong to one thread. RclpyError if the
    subscriptions lack a part.
    """

    def __init__(self, context: Context, subscriptions: Sequence[Any]) -> None:
        missing = {f'Subscription.{path}' for subscription in subscriptions
                   for path in _OF_A_SUBSCRIPTION if not _has(subscription, path)} or {
            f'EventHandler.{path}' for subscription in subscriptions
            for event in subscription.event_handlers
            for path in _OF_AN_EVENT if not _has(event, path)}
        if missing:
            raise RclpyError(sorted(missing), [_IMAGES])
        self._context = context
        self._subscriptions = subscriptions
        self._events = [event for subscription in subscriptions
                        for event in subscription.event_handlers]
        self._wake = GuardCondition(None, None, context=context)
        self._in_use = ExitStack()
        self._wait_set: Any = None

    def __enter__(self) -> 'SubscriptionWaitSet':
        with ExitStack() as stack:
            for entity in (self._context.handle, self._wake.handle, *self._events,
                           *(subscription.handle for subscription in self._subscriptions)):
                stack.enter_context(entity)
            self._wait_set = getattr(implementation_singleton, _LIBRARY).WaitSet(
                len(self._subscriptions), 1, 0, 0, 0, len(self._events), self._context.handle)
            self._in_use = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._wait_set = None
        self._in_use.close()

    def wake(self) -> None:
        """End the present or the next wait."""
        self._wake.trigger()

    def destroy(self) -> None:
        """Destroy what ``wake`` needs."""
        self._wake.destroy()

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
