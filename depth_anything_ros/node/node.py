"""The lifecycle node: it connects cameras, parameters, engine and scheduler, without computing."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.files import expand_home
from depth_anything_ros.inference.engine import EngineOptions
from depth_anything_ros.inference.scheduler import Frame, FrameScheduler, Result
from depth_anything_ros.inference.switchable_engine import SwitchableEngine
from depth_anything_ros.node.camera_stream import CameraStream
from depth_anything_ros.node.diagnostics import (
    as_array, DiagnosticsReporter, engine_values, Health)
from depth_anything_ros.node.ros_parameters import NodeParameters
from depth_anything_ros.node.second_look import SECOND_LOOK
from depth_anything_ros.node.services import create_services
from depth_anything_ros.parameters import Settings
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.ros.callbacks import (
    FAILED_TRANSITION, failure, is_stopping, log_exceptions, one_line, ThrottledLogger,
    transition_callback)
from depth_anything_ros.ros.rclpy_adapter import (
    call_after_set, ClockType, lifecycle_state, refuse_invalid_requests, report_missing_parts)
from depth_anything_ros.ros.statuses import status_name
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.parameter import Parameter

_SHUTDOWN_S = 30.0


class DepthAnythingNode(LifecycleNode):
    """
    Depth images and point clouds from the images of one camera or several.

    The thread of the executor runs transitions, parameter changes and services, but receives no
    images: each camera has a thread for these, which passes them to the scheduler. The threads of
    the scheduler decode, compute and publish.
    """

    def __init__(self, node_name: str = 'depth_anything', **kwargs: Any) -> None:
        # First, because rclpy from Kilted on destroys nodes whose constructor failed, too.
        self._settings = Settings()
        self._engine: SwitchableEngine | None = None
        self._scheduler: FrameScheduler | None = None
        # Replaced as a whole, because other threads iterate over it.
        self._streams: Mapping[str, CameraStream] = {}
        super().__init__(node_name, **kwargs)
        report_missing_parts(self)
        refuse_invalid_requests(self)
        self._node_parameters = NodeParameters(self)
        self._warn = ThrottledLogger(self._log_warning)
        self._reporters: dict[str, DiagnosticsReporter] = {}
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        create_services(self, lambda: self._streams)
        self.add_on_set_parameters_callback(self._check_parameters)
        call_after_set(self, log_exceptions(self._apply_parameters, self._warn, self))
        period_s = self.get_parameter('diagnostics_period').value
        # A steady clock, because diagnostics are also needed while simulated time is paused.
        self.create_timer(
            float(period_s), log_exceptions(self._publish_diagnostics, self._warn, self),
            clock=Clock(clock_type=ClockType.STEADY_TIME))

    @transition_callback
    def on_configure(self, state: LifecycleState) -> None:
        """Load and compile the model, check the device and create the publishers."""
        try:
            self._settings = self._node_parameters.settings()
            self._node_parameters.declare_overrides(self._settings.cameras)
            model = self._settings.model
            engine = SwitchableEngine(
                expand_home(model) if model else shipped_model(), self._engine_options(),
                self._log_warning, self._log_info)
            self._engine = engine
            self._scheduler = FrameScheduler(engine, self._on_result)
            for name in self._settings.cameras or ('',):
                stream = CameraStream(self, name, engine.info,
                                      self._node_parameters.settings(name), self._offer,
                                      self._warn)
                self._streams = {**self._streams, name: stream}
        except BaseException:
            self._release()
            raise
        self._log_engine(engine)

    @transition_callback
    def on_activate(self, state: LifecycleState) -> None:
        """Enable the publishers, then subscribe."""
        assert self._scheduler is not None
        try:
            super().on_activate(state)
            for stream in self._streams.values():
                stream.start()
        except BaseException:
            self._stop_streams()
            super().on_deactivate(state)
            raise
        self._scheduler.resume()

    @transition_callback
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe, publish the frames in flight, disable the publishers."""
        self._unsubscribe()
        if self._scheduler is not None and not self._scheduler.drain(self._drain_s()):
            self._log_warning('frames in flight did not finish in time and are lost')
        self._stop_streams()
        super().on_deactivate(state)

    @transition_callback
    def on_cleanup(self, state: LifecycleState) -> None:
        """Release everything that configure acquired."""
        self._release()

    @transition_callback
    def on_shutdown(self, state: LifecycleState) -> None:
        """Release everything, from any state."""
        self._release()

    @transition_callback
    def on_error(self, state: LifecycleState) -> None:
        """Release everything and return to unconfigured."""
        self._release()

    def destroy_node(self) -> None:
        """Release everything, then destroy the node."""
        self._release()
        super().destroy_node()

    def _engine_options(self) -> EngineOptions:
        settings = self._settings
        return EngineOptions(
            devices=settings.devices, precision=settings.precision, requests=settings.requests,
            timeout_s=settings.request_timeout, input_size=settings.input_size,
            image_hw=(settings.expected_height, settings.expected_width),
            cache_dir=self._cache_dir(settings.cache_dir), self_check=settings.self_check,
            sizes_kept=max(1, len(settings.cameras)),
            rate_hz=settings.target_rate * max(1, len(settings.cameras)))

    def _cache_dir(self, text: str) -> Path | None:
        if not text:
            return None
        try:
            path = expand_home(text)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._log_warning(
                f'compiled models are not cached, so each start takes longer: {error}')
            return None
        return path

    def _unsubscribe(self) -> None:
        for stream in self._streams.values():
            stream.unsubscribe()

    def _stop_streams(self) -> None:
        for stream in self._streams.values():
            stream.stop()

    def _offer(self, frame: Frame) -> None:
        # Streams get this method instead of the scheduler, which would keep the model in memory.
        if self._scheduler is not None:
            self._scheduler.offer(frame)

    def _on_result(self, result: Result) -> None:
        stream = self._streams.get(result.frame.source.removesuffix(SECOND_LOOK))
        if stream is None:
            return
        try:
            stream.on_result(result)
        except Exception as error:  # noqa: B902 - the scheduler counts it, a user reads the log
            self._warn(failure('frame lost', error))
            raise

    def _drain_s(self) -> float:
        return self._settings.request_timeout + 1.0

    def _release(self) -> None:
        """Unsubscribe and close scheduler, engine and streams, each even if another one fails."""
        with ExitStack() as last_to_first:
            for stream in self._streams.values():
                last_to_first.callback(stream.close)
            last_to_first.callback(self._forget)
            if self._engine is not None:
                last_to_first.callback(self._engine.close)
            if self._scheduler is not None:
                last_to_first.callback(self._scheduler.close, min(self._drain_s(), _SHUTDOWN_S))
            last_to_first.callback(self._unsubscribe)

    def _forget(self) -> None:
        self._streams = {}
        self._scheduler = self._engine = None

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._node_parameters.check(changes, lifecycle_state(self))
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=one_line(error))
        except Exception as error:  # noqa: B902 - it would end the process
            return SetParametersResult(successful=False,
                                       reason=one_line(f'please report this: {error!r}'))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        self._node_parameters.mark_applied(changes)
        engine = self._engine
        if engine is None:
            return
        self._settings = self._node_parameters.settings()
        for name, stream in self._streams.items():
            stream.settings = self._node_parameters.settings(name)
        if {'device', 'precision', 'input_size'} & {change.name for change in changes}:
            sizes = {stream.image_hw for stream in self._streams.values() if stream.image_hw}
            engine.switch(self._engine_options(), sorted(sizes), self._on_switched)

    def _on_switched(self, error: Exception | None) -> None:
        engine = self._engine
        if error is not None:
            if not is_stopping(self):
                self.get_logger().error(one_line(f'the model runs as before: {error}'))
        elif engine is not None:
            self._log_engine(engine)

    def _log_engine(self, engine: SwitchableEngine) -> None:
        info, state = engine.info, engine.state
        self._log_info(
            f'{info.encoder} {info.kind} ({info.source_name}) on {state.execution_device} in '
            f'{state.execution_precision}, network {state.network_hw[1]}x{state.network_hw[0]}')

    def _log_info(self, sentence: str) -> None:
        if not is_stopping(self):
            self.get_logger().info(one_line(sentence))

    def _log_warning(self, sentence: str) -> None:
        if not is_stopping(self):
            self.get_logger().warning(one_line(sentence))

    def _publish_diagnostics(self) -> None:
        scheduler, state = self._scheduler, lifecycle_state(self)
        failed = getattr(self, FAILED_TRANSITION, '')
        health = {name: Health(
            state, self._engine_values(stream), scheduler.stats(name) if scheduler else None,
            stream.received, stream.without_subscriber, stream.image_topic,
            self.count_publishers(stream.image_topic), stream.aligner.latest(),
            stream.topic_problem(), stream.lost, stream.metric_problem, failed)
            for name, stream in self._streams.items()}
        if not health:
            health = {name: Health(
                state, {}, None, 0, 0, self.resolve_topic_name(f'{name}/image'.lstrip('/')), 0,
                failed_transition=failed)
                for name in self._node_parameters.camera_names() or ('',)}
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(as_array(
            [self._reporter(name).status(found) for name, found in health.items()], stamp))
        for name, found in health.items():
            if found.topic_problem and self._reporter(name).is_silent:
                self._warn(f'no image on {found.image_topic}: {found.topic_problem}')

    def _engine_values(self, stream: CameraStream) -> dict[str, str]:
        engine, settings = self._engine, self._settings
        if engine is None:
            return {}
        return engine_values(
            engine.info, engine.state, settings.target_rate,
            stream.image_hw or (settings.expected_height, settings.expected_width))

    def _reporter(self, camera: str) -> DiagnosticsReporter:
        if camera not in self._reporters:
            self._reporters[camera] = DiagnosticsReporter(
                status_name(self.get_fully_qualified_name(), camera))
        return self._reporters[camera]
