"""A middleware that lacks QoS events."""

import sys
from typing import Any

from depth_anything_ros.ros.rclpy_adapter import (
    SubscriptionEventCallbacks, UnsupportedEventTypeError)
import pytest


def remove_events(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """Let rclpy refuse events whose names contain one of ``names``; return those refused."""
    module = sys.modules[SubscriptionEventCallbacks.__module__]
    handler = 'EventHandler' if hasattr(module, 'EventHandler') else 'QoSEventHandler'
    make_handler, refused = getattr(module, handler), []

    def supported(*, event_type: Any, **rest: Any) -> Any:
        if any(name in event_type.name for name in names):
            refused.append(event_type.name)
            raise UnsupportedEventTypeError('no such event')
        return make_handler(event_type=event_type, **rest)

    monkeypatch.setattr(module, handler, supported)
    return refused
