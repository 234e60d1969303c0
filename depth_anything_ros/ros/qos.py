"""The QoS profiles of the node, each overridable by ``qos_overrides`` parameters."""

from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions


def image_input() -> QoSProfile:
    """Return sensor data (REP 2003) of depth 1: only the newest image counts."""
    return _keep_last(1, QoSReliabilityPolicy.BEST_EFFORT)


def camera_info_input() -> QoSProfile:
    """Return sensor data for camera_info, of which the latest is kept."""
    return _keep_last(5, QoSReliabilityPolicy.BEST_EFFORT)


def output() -> QoSProfile:
    """Return reliable and shallow, so that every subscriber hears and none is served old data."""
    return _keep_last(2, QoSReliabilityPolicy.RELIABLE)


def overridable() -> QoSOverridingOptions:
    """Return the options that declare history, depth and reliability as parameters."""
    return QoSOverridingOptions.with_default_policies()


def _keep_last(depth: int, reliability: QoSReliabilityPolicy) -> QoSProfile:
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)
