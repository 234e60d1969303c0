"""
The QoS profiles of the node, each overridable by ``qos_overrides`` parameters.

A peer whose QoS does not fit is named, with the parameter that mends it.
"""

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import (
    qos_policy_name_from_kind, QoSHistoryPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy)
from rclpy.qos_overriding_options import QoSOverridingOptions


def image_input() -> QoSProfile:
    """Return sensor data (REP 2003) of depth 1: only the newest image counts."""
    return _keep_last(1, QoSReliabilityPolicy.BEST_EFFORT)


def camera_info_input() -> QoSProfile:
    """Return sensor data for camera_info, of which the latest is kept."""
    return _keep_last(5, QoSReliabilityPolicy.BEST_EFFORT)


def reference_input() -> QoSProfile:
    """Return sensor data for a reference sensor, which may be faster than the depth."""
    return _keep_last(5, QoSReliabilityPolicy.BEST_EFFORT)


def output() -> QoSProfile:
    """Return reliable and shallow, so that every subscriber hears and none is served old data."""
    return _keep_last(2, QoSReliabilityPolicy.RELIABLE)


def overridable() -> QoSOverridingOptions:
    """Return the options that declare history, depth, reliability and durability as parameters."""
    return QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH,
                                 QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY))


def publisher_events(topic: str, warn: Callable[[str], object]) -> PublisherEventCallbacks:
    """Return callbacks that name a subscriber to ``topic`` which asks for more than it gets."""
    def incompatible(event: Any) -> None:
        warn(f'a subscriber to {topic} gets nothing: its '
             f'{qos_policy_name_from_kind(event.last_policy_kind)} asks for more than is '
             f'published; change the subscriber or set qos_overrides.{topic}.publisher.*')

    return PublisherEventCallbacks(incompatible_qos=incompatible)


def subscription_events(topic: str, warn: Callable[[str], object]) -> SubscriptionEventCallbacks:
    """Return callbacks that name a publisher on ``topic`` which offers less than is asked for."""
    def incompatible(event: Any) -> None:
        warn(f'nothing is received of a publisher on {topic}: its '
             f'{qos_policy_name_from_kind(event.last_policy_kind)} offers less than is asked '
             f'for; change the publisher or set qos_overrides.{topic}.subscription.*')

    return SubscriptionEventCallbacks(incompatible_qos=incompatible)


def _keep_last(depth: int, reliability: QoSReliabilityPolicy) -> QoSProfile:
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)
