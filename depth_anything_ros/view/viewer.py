"""The node behind the page: subscribes to the depth node while a browser shows the page."""

from collections.abc import Mapping
from contextlib import ExitStack
import threading
from typing import Any

from depth_anything_ros.cli.listening import page_address
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.ros.callbacks import log_exceptions, ThrottledLogger
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.ros.rclpy_adapter import (
    ClockType, refuse_invalid_requests, report_missing_parts)
from depth_anything_ros.view import pictures
from depth_anything_ros.view.feeds import Feeds, image_input, Newest, output, Topic
from depth_anything_ros.view.page import Page
from depth_anything_ros.view.requests import NodeRequests
from depth_anything_ros.view.statuses import camera_statuses, CameraStatus
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile

NODE_NAME = 'depth_anything_view'
_CHECK_S = 0.25
# A node without a status for this time, or for two of its periods, is taken for gone.
_SILENCE_S, _SILENCE_PERIODS = 5.0, 2
_PERIOD = 'diagnostics_period'
_CAMERAS = ('relative camera', 'metric camera')


class Viewer(Node):
    """
    Shows one depth node on a page.

    A timer looks after the subscriptions: without a browser there is none. A thread of each
    subscription keeps its newest message, and the thread ``show`` brings these to the page, at
    most ``rate_hz`` times per second and with at most ``most_points`` of a cloud.
    """

    def __init__(self, target: str, host: str, port: int, rate_hz: float,
                 most_points: int, context: Context | None = None) -> None:
        # First, because rclpy from Kilted on destroys nodes whose constructor failed, too.
        self._acquired = ExitStack()
        super().__init__(NODE_NAME, context=context)
        report_missing_parts(self)
        refuse_invalid_requests(self)
        self._target = self._resolved(target)
        self._period_s = 1 / rate_hz
        self._most_points = most_points
        self._warn = ThrottledLogger(lambda sentence: self.get_logger().warning(sentence))
        self._statuses: dict[str, CameraStatus] = {}
        self._seconds_without_status = 0.0
        self._silence_s = _SILENCE_S
        # A node that starts again has another publisher; its values are read until it answers.
        self._status_gids: set[tuple[int, ...]] = set()
        self._has_unread_values = False
        self._diagnostics: Any = None
        self._newest = Newest()
        self._feeds = Feeds(self, self._newest.put, self._warn)
        self._closing = threading.Event()
        self.page = Page(self._target, host, port)
        self._acquired.callback(self.page.close)
        self._acquired.callback(self._feeds.close)
        self._requests = NodeRequests(self, self._target, self.page.say)
        self.page.connect(self._requests)
        # A steady clock, because browsers come while simulated time is paused, too.
        self._timer = self.create_timer(_CHECK_S, log_exceptions(self._check, self._warn, self),
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread = threading.Thread(target=self._show_all, name='show', daemon=True)
        self._thread.start()
        self._acquired.callback(self._end_thread)
        self.get_logger().info(f'{self._target} is shown on '
                               f'{page_address(host, self.page.port)}')

    def _resolved(self, target: str) -> str:
        try:
            # The longest name of what is below it.
            self.resolve_topic_name(f'{target}/inverse_depth/camera_info')
            return self.resolve_topic_name(target)
        except Exception as error:  # noqa: B902 - rclpy has no public class for it
            raise DepthAnythingError(f'--node is {target!r}, which cannot be the name of a node; '
                                     'give one such as depth_anything or /robot/depth') from error

    def destroy_node(self) -> None:
        """Stop the server and the threads, unsubscribe, then destroy the node."""
        self._acquired.close()
        super().destroy_node()

    def _end_thread(self) -> None:
        self._closing.set()
        self._newest.close()
        self._thread.join()

    def _check(self) -> None:
        """Subscribe to what is looked at, and to nothing without a browser."""
        if not self.page.watchers:
            self._stop()
            return
        if self._diagnostics is None:
            self._start()
        self._seconds_without_status += _CHECK_S
        if self._statuses and self._seconds_without_status > self._silence_s:
            self._statuses = {}
            self.page.show_statuses({})
        self._feeds.show(self._wanted())

    def _start(self) -> None:
        self._seconds_without_status = 0.0
        self._diagnostics = self.create_subscription(
            DiagnosticArray, '/diagnostics',
            log_exceptions(self._on_diagnostics, self._warn, self), QoSProfile(depth=10))
        self._read_parameters()

    def _read_parameters(self, keep_changes: bool = False) -> None:
        self.page.read_parameters(keep_changes)
        self._requests.get_parameters([_PERIOD], self._expect_statuses)

    def _expect_statuses(self, values: Mapping[str, Any]) -> None:
        self._has_unread_values = False
        self._silence_s = max(_SILENCE_S, _SILENCE_PERIODS * (values[_PERIOD] or 0.0))

    def _stop(self) -> None:
        if self._diagnostics is not None:
            self._feeds.close()
            self.destroy_subscription(self._diagnostics)
            self._diagnostics = None

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        statuses = camera_statuses(message, self._target)
        if statuses:
            self._seconds_without_status = 0.0
            if self._has_started():
                self._has_unread_values = True
                self.page.forget_views()
            if self._has_unread_values or _states(statuses) != _states(self._statuses):
                self._read_parameters(keep_changes=True)
            self._statuses = statuses
            self.page.set_cameras(statuses)
            self.page.show_statuses(statuses)

    def _has_started(self) -> bool:
        """Return whether the depth node has a publisher of statuses that was not there before."""
        known, self._status_gids = self._status_gids, {
            tuple(info.endpoint_gid) for info in self.get_publishers_info_by_topic('/diagnostics')
            if f'{info.node_namespace.rstrip("/")}/{info.node_name}' == self._target}
        return not self._status_gids <= known

    def _wanted(self) -> dict[tuple[str, str], Topic]:
        wanted = {}
        for camera, panel in self.page.wanted():
            if panel == 'image':
                name = self._statuses[camera].image_topic if camera in self._statuses else ''
                if name:
                    wanted[camera, panel] = image_input(name)
            else:
                wanted[camera, panel] = output(self._target, camera, panel)
            if panel == 'cloud' and not self.page.has_view(camera):
                # One camera_info is enough: afterwards these are closed again.
                wanted |= {(camera, kind): output(self._target, camera, kind)
                           for kind in _CAMERAS}
        return wanted

    def _show_all(self) -> None:
        show = log_exceptions(self._show, self._warn, self)
        while messages := self._newest.take():
            for (camera, panel), message in messages.items():
                show(camera, panel, message)
            self._closing.wait(self._period_s)

    def _show(self, camera: str, panel: str, message: SerializedMessage) -> None:
        if panel == 'cloud':
            self.page.show_cloud(camera, pictures.cloud(message, self._most_points))
        elif panel in _CAMERAS:
            view = pictures.view(message.message)
            if view is not None:
                self.page.show_view(camera, view)
        else:
            self.page.show_picture(camera, panel, pictures.picture(message))


def _states(statuses: Mapping[str, CameraStatus]) -> set[str]:
    return {status.state for status in statuses.values()}
