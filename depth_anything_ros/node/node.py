"""The lifecycle node: wiring between cameras, parameters and the estimator, no computation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.inference.engine import EngineOptions
from depth_anything_ros.inference.scheduler import FrameScheduler, Frame, Result
from depth_anything_ros.inference.switchable_engine import SwitchableEngine
from depth_anything_ros.node.camera_stream import CameraStream
from depth_anything_ros.node.diagnostics import as_array, DiagnosticsReporter, Health
from depth_anything_ros.node.lifecycle import refuse_impossible_requests, transition_callback
from depth_anything_ros.node.ros_parameters import NodeParameters
from depth_anything_ros.node.services import offer_services
from depth_anything_ros.node.throttle import ThrottledLogger
from depth_anything_ros.parameters import Settings
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

_SHUTDOWN_S = 30.0


class DepthAnythingNode(LifecycleNode):
    """
    Depth images and point clouds from the images of one camera or several.

    The executor's thread runs transitions, parameter changes and services, and never images: those
    come on a thread per camera, which only hands them to the estimator. The estimator's own
    threads read, compute and publish.
    """

    def __init__(self, node_name: str = 'depth_anything', **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        refuse_impossible_requests(self)
        self._node_parameters = NodeParameters(self)
        self._settings = Settings()
        self._engine: SwitchableEngine | None = None
        self._estimator: FrameScheduler | None = None
        # Replaced, never changed: other threads go through it.
        self._streams: Mapping[str, CameraStream] = {}
        self._warn = ThrottledLogger(lambda sentence: self.get_logger().warning(sentence))
        self._reporters: dict[str, DiagnosticsReporter] = {}
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        offer_services(self, lambda: self._streams)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        period_s = self.get_parameter('diagnostics_period').value
        # Of steady time: health matters most while simulated time stands still.
        self.create_timer(float(period_s), self._publish_diagnostics,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    @transition_callback
    def on_configure(self, state: LifecycleState) -> None:
        """Load and compile the model, prove the device, create the publishers."""
        try:
            self._settings = self._node_parameters.settings()
            self._node_parameters.declare_overrides(self._settings.cameras)
            engine = SwitchableEngine(Path(self._settings.model).expanduser(),
                                      self._engine_options(), self.get_logger().warning,
                                      self.get_logger().info)
            self._engine = engine
            self._estimator = FrameScheduler(engine, self._on_result)
            for name in self._settings.cameras or ('',):
                stream = CameraStream(self, name, engine.info.kind,
                                      self._node_parameters.settings(name), self._offer,
                                      self._warn)
                self._streams = {**self._streams, name: stream}
        except BaseException:
            self._release()
            raise
        self._say_what_runs(engine)

    @transition_callback
    def on_activate(self, state: LifecycleState) -> None:
        """Enable the publishers, then subscribe."""
        assert self._estimator is not None
        try:
            super().on_activate(state)
            for stream in self._streams.values():
                stream.start()
        except BaseException:
            self._unsubscribe()
            super().on_deactivate(state)
            raise
        self._estimator.resume()

    @transition_callback
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe, let what is in flight leave, disable the publishers."""
        self._unsubscribe()
        if self._estimator is not None and not self._estimator.drain(self._drain_s()):
            self.get_logger().warning('frames in flight did not finish in time and are lost')
        super().on_deactivate(state)

    @transition_callback
    def on_cleanup(self, state: LifecycleState) -> None:
        """Release everything that configure acquired."""
        self._release()

    @transition_callback
    def on_shutdown(self, state: LifecycleState) -> None:
        """Release everything, from any state."""
        self._release()

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything and start over unconfigured."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Release everything, then the node itself."""
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
        path = Path(text).expanduser()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.get_logger().warning(f'no cache for compiled models, starts are slower: {error}')
            return None
        return path

    def _unsubscribe(self) -> None:
        for stream in self._streams.values():
            stream.stop()

    def _offer(self, frame: Frame) -> None:
        # Streams hold this and not the estimator, whose model would outlive cleanup with them.
        if self._estimator is not None:
            self._estimator.offer(frame)

    def _on_result(self, result: Result) -> None:
        stream = self._streams.get(result.frame.source)
        if stream is None:
            return
        try:
            stream.on_result(result)
        except Exception as error:  # noqa: B902 - the estimator counts it, people read the log
            self._warn(f'frame lost, please report this: {error!r}')
            raise

    def _drain_s(self) -> float:
        return self._settings.request_timeout + 1.0

    def _release(self) -> None:
        self._unsubscribe()
        if self._estimator is not None:
            self._estimator.close(min(self._drain_s(), _SHUTDOWN_S))
        if self._engine is not None:
            self._engine.close()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.close()
        self._estimator = self._engine = None

    def _state_label(self) -> str:
        label: str = self._state_machine.current_state[1]
        return label

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            self._node_parameters.check(changes, self._state_label())
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        self._node_parameters.applied(changes)
        engine = self._engine
        if engine is None:
            return
        self._settings = self._node_parameters.settings()
        for name, stream in self._streams.items():
            stream.settings = self._node_parameters.settings(name)
        if {'device', 'precision', 'input_size'} & {change.name for change in changes}:
            sizes = {stream.image_hw for stream in self._streams.values() if stream.image_hw}
            engine.switch(self._engine_options(), sorted(sizes), self._on_switched)

    def _on_switched(self, failure: Exception | None) -> None:
        engine = self._engine
        if failure is not None:
            self.get_logger().error(f'the model goes on as it was: {failure}')
        elif engine is not None:
            self._say_what_runs(engine)

    def _say_what_runs(self, engine: SwitchableEngine) -> None:
        self.get_logger().info(
            f'{engine.info.encoder} {engine.info.kind} ({engine.info.source_name}) on '
            f'{engine.execution_device} in {engine.execution_precision}, '
            f'network {engine.network_hw[1]}x{engine.network_hw[0]}')

    def _publish_diagnostics(self) -> None:
        engine, scheduler, state = self._engine, self._estimator, self._state_label()
        facts = {} if engine is None else {
            'device': engine.execution_device, 'precision': engine.execution_precision,
            'model': f'{engine.info.encoder} {engine.info.kind} {engine.info.source_name}',
            'network size': f'{engine.network_hw[1]}x{engine.network_hw[0]}',
            'input size': str(engine.input_size),
            'target rate [Hz]': f'{self._settings.target_rate:g}'}
        health = {name: Health(
            state, facts, scheduler.stats(name) if scheduler else None, stream.received,
            stream.unwanted, stream.image_topic, self.count_publishers(stream.image_topic),
            stream.aligner.latest()) for name, stream in self._streams.items()}
        if not health:
            health = {'': Health(state, facts, None, 0, 0, self.resolve_topic_name('image'), 0)}
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(as_array(
            [self._reporter(name).status(found) for name, found in health.items()], stamp))

    def _reporter(self, camera: str) -> DiagnosticsReporter:
        if camera not in self._reporters:
            name = self.get_fully_qualified_name().lstrip('/')
            self._reporters[camera] = DiagnosticsReporter(f'{name} {camera}'.rstrip())
        return self._reporters[camera]
