"""
The QoS profiles of the node; ``qos_overrides`` parameters can override each of them.

A warning names the topic of a publisher or subscriber with incompatible QoS, or on which messages
are lost, and the parameter that solves it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.ros.rclpy_adapter import (
    PublisherEventCallbacks, SubscriptionEventCallbacks, UnsupportedEventTypeError)
from rclpy.exceptions import ParameterException
from rclpy.qos import (
    qos_policy_name_from_kind, QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import get_rmw_implementation_identifier


def image_input() -> QoSProfile:
    """Return sensor data QoS (REP 2003) with depth 1: only the newest image is needed."""
    return _keep_last(1, QoSReliabilityPolicy.BEST_EFFORT)


def camera_info_input() -> QoSProfile:
    """Return sensor data QoS for camera_info."""
    return _keep_last(5, QoSReliabilityPolicy.BEST_EFFORT)


def reference_input() -> QoSProfile:
    """Return sensor data QoS for a reference sensor, which may be faster than the depth."""
    return _keep_last(5, QoSReliabilityPolicy.BEST_EFFORT)


def odometry_input() -> QoSProfile:
    """Return sensor data QoS for odometry, which may come in bursts."""
    return _keep_last(50, QoSReliabilityPolicy.BEST_EFFORT)


def output() -> QoSProfile:
    """Return reliable QoS of small depth: all subscribers can connect, none gets old data."""
    return _keep_last(2, QoSReliabilityPolicy.RELIABLE)


def overridable() -> QoSOverridingOptions:
    """Return the options that declare history, depth, reliability and durability as parameters."""
    return QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH,
                                 QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY))


class QosError(DepthAnythingError):
    """No publisher or subscription can be created, usually because of an override."""


@contextmanager
def naming_overrides(topic: str, kind: str) -> Iterator[None]:
    """
    Turn what rclpy raises for wrong overrides into QosError, which names their parameters.

    ``topic`` is resolved, ``kind`` is publisher or subscription.
    """
    try:
        yield
    except (RuntimeError, ParameterException) as error:
        raise QosError(
            f'no {kind} of {topic} can be created: {error}; correct or remove the parameters '
            f'qos_overrides.{topic}.{kind}.*, then start the node again') from error


def publisher_events(topic: str, warn: Callable[[str], object]) -> PublisherEventCallbacks:
    """Return callbacks that warn of a subscriber that requests more QoS than is offered."""
    def on_incompatible_qos(event: Any) -> None:
        warn(f'a subscriber to {topic} receives nothing: it requests a stricter '
             f'{_policy(event)} than is published; change the subscriber or set '
             f'qos_overrides.{topic}.publisher.*')

    return _PublisherEvents(incompatible_qos=on_incompatible_qos)


def subscription_events(topic: str, warn: Callable[[str], object],
                        on_lost: Callable[[int], object] = int) -> SubscriptionEventCallbacks:
    """
    Return callbacks that warn of lost messages and of a publisher that offers too little QoS.

    ``on_lost`` gets the number of messages that were lost since its last call. What a middleware
    does not report is left out.
    """
    def on_message_lost(event: Any) -> None:
        on_lost(event.total_count_change)
        warn(f'messages on {topic} get lost on the way to this node; {lost_remedy(topic)}')

    def on_incompatible_qos(event: Any) -> None:
        warn(f'nothing is received from a publisher on {topic}: it offers a weaker '
             f'{_policy(event)} than is requested; change the publisher or set '
             f'qos_overrides.{topic}.subscription.*')

    return _SubscriptionEvents(incompatible_qos=on_incompatible_qos, message_lost=on_message_lost)


class _PublisherEvents(PublisherEventCallbacks):
    """Callbacks of events that the middleware has."""

    def create_event_handlers(self, *args: Any, **named: Any) -> Any:
        """Return the handlers of these events."""
        return _supported(self, partial(super().create_event_handlers, *args, **named),
                          ['incompatible_qos'])


class _SubscriptionEvents(SubscriptionEventCallbacks):
    """Callbacks of events that the middleware has."""

    def create_event_handlers(self, *args: Any, **named: Any) -> Any:
        """Return the handlers of these events."""
        return _supported(self, partial(super().create_event_handlers, *args, **named),
                          ['message_lost', 'incompatible_qos'])


def _supported(events: object, create: Callable[[], Any], names: Sequence[str]) -> Any:
    """Return what ``create`` returns, after the events that it does not support were removed."""
    for name in names:
        try:
            return create()
        except UnsupportedEventTypeError:
            setattr(events, name, None)
    return create()


def lost_remedy(topic: str) -> str:
    """Return what to do about messages that get lost on a resolved topic."""
    reliable = f'set qos_overrides.{topic}.subscription.reliability to reliable'
    if not get_rmw_implementation_identifier().startswith('rmw_fastrtps'):
        return reliable
    return ('start this node and the publisher with config/fastdds.xml of this package '
            f'(dds_profile:=fastdds.xml), or {reliable}')


def _policy(event: Any) -> str:
    """Return the name of the policy, such as RELIABILITY; middlewares may report unknown ones."""
    try:
        return str(qos_policy_name_from_kind(event.last_policy_kind))
    except ValueError:
        return 'QoS policy'


def _keep_last(depth: int, reliability: QoSReliabilityPolicy) -> QoSProfile:
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)
