"""The lifecycle node: wiring between topics, parameters and the estimator, no computation."""

from functools import partial
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.estimator import Estimator, Frame, Result
from depth_anything_ros.ros import qos
from depth_anything_ros.ros.decode import decode_compressed, decode_image
from depth_anything_ros.ros.diagnostics import as_array, DiagnosticsReporter, Health
from depth_anything_ros.ros.log import Reminder
from depth_anything_ros.ros.outputs import Outputs
from depth_anything_ros.ros.parameters import NodeParameters
from depth_anything_ros.ros.transitions import refuse_impossible_requests, reported
from depth_anything_ros.settings import Settings
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

_SHUTDOWN_S = 30.0


class DepthAnythingNode(LifecycleNode):
    """
    Depth images and point clouds from camera images.

    The executor's thread runs transitions, parameter changes and the image callback, which only
    hands the message to the estimator. The estimator's own thread reads, computes and publishes.
    """

    def __init__(self, node_name: str = 'depth_anything', **kwargs: Any) -> None:
        super().__init__(node_name, **kwargs)
        refuse_impossible_requests(self)
        self._node_parameters = NodeParameters(self)
        self._settings = Settings()
        self._engine: Engine | None = None
        self._estimator: Estimator | None = None
        self._outputs: Outputs | None = None
        self._inputs: list[Any] = []
        self._camera_info: CameraInfo | None = None
        self._image_topic = self.resolve_topic_name('image')
        self._received = self._unwanted = 0
        self._warn = Reminder(lambda sentence: self.get_logger().warning(sentence))
        self._reporter = DiagnosticsReporter(self.get_fully_qualified_name().lstrip('/'))
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        period_s = self.get_parameter('diagnostics_period').value
        self.create_timer(float(period_s), self._publish_diagnostics)

    @reported
    def on_configure(self, state: LifecycleState) -> None:
        """Load and compile the model, prove the device, create the publishers."""
        try:
            self._settings = self._node_parameters.settings()
            self._engine = Engine(Path(self._settings.model).expanduser(),
                                  self._engine_options(self._settings), self.get_logger().warning)
            self._outputs = Outputs(self, self._engine.info.kind, self._warn)
            self._estimator = Estimator(self._engine, self._on_result)
        except BaseException:
            self._release()
            raise
        engine = self._engine
        self.get_logger().info(
            f'{engine.info.encoder} {engine.info.kind} ({engine.info.source_name}) on '
            f'{engine.execution_device} in {engine.execution_precision}, '
            f'network {engine.network_hw[1]}x{engine.network_hw[0]}')

    @reported
    def on_activate(self, state: LifecycleState) -> None:
        """Enable the publishers, then subscribe."""
        assert self._estimator is not None and self._outputs is not None
        self._outputs.restart()
        self._camera_info = None
        try:
            super().on_activate(state)
            self._subscribe(compressed=self._settings.image_transport == 'compressed')
        except BaseException:
            self._unsubscribe()
            super().on_deactivate(state)
            raise
        self._estimator.resume()

    @reported
    def on_deactivate(self, state: LifecycleState) -> None:
        """Unsubscribe, let what is in flight leave, disable the publishers."""
        self._unsubscribe()
        if self._estimator is not None and not self._estimator.drain(self._drain_s()):
            self.get_logger().warning('frames in flight did not finish in time and are lost')
        super().on_deactivate(state)

    @reported
    def on_cleanup(self, state: LifecycleState) -> None:
        """Release everything that configure acquired."""
        self._release()

    @reported
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

    def _engine_options(self, settings: Settings) -> EngineOptions:
        return EngineOptions(
            devices=settings.devices, precision=settings.precision, requests=settings.requests,
            timeout_s=settings.request_timeout, input_size=settings.input_size,
            image_hw=(settings.expected_height, settings.expected_width),
            cache_dir=self._cache_dir(settings.cache_dir), self_check=settings.self_check)

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

    def _subscribe(self, compressed: bool) -> None:
        # As image_transport does, /compressed is appended to the remapped topic.
        base = self.resolve_topic_name('image')
        kind, decode, topic = ((CompressedImage, decode_compressed, f'{base}/compressed')
                               if compressed else (Image, decode_image, 'image'))
        options = qos.overridable()
        self._inputs.append(self.create_subscription(
            kind, topic, lambda message: self._on_image(message, decode), qos.image_input(),
            qos_overriding_options=options))
        self._image_topic = self._inputs[0].topic_name
        self._inputs.append(self.create_subscription(
            CameraInfo, 'camera_info', self._on_camera_info, qos.camera_info_input(),
            qos_overriding_options=options))

    def _unsubscribe(self) -> None:
        while self._inputs:
            self.destroy_subscription(self._inputs.pop())

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_image(self, message: Any, decode: Any) -> None:
        self._received += 1
        if self._estimator is None or self._outputs is None or not self._outputs.anyone_listens():
            self._unwanted += 1
            return
        stamp = message.header.stamp
        self._estimator.offer(Frame(stamp.sec * 1_000_000_000 + stamp.nanosec,
                                    partial(decode, message), message.header))

    def _on_result(self, result: Result) -> None:
        outputs = self._outputs
        if isinstance(result.outcome, Exception):
            self._warn(f'frame lost: {result.outcome}')
        elif outputs is not None and result.image is not None:
            outputs.publish(result.frame.context, result.image, result.outcome,
                            self._camera_info, self._settings)

    def _drain_s(self) -> float:
        return self._settings.request_timeout + 1.0

    def _release(self) -> None:
        self._unsubscribe()
        if self._estimator is not None:
            self._estimator.close(min(self._drain_s(), _SHUTDOWN_S))
        if self._engine is not None:
            self._engine.close()
        if self._outputs is not None:
            self._outputs.close()
        self._estimator = self._engine = self._outputs = None

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
        if self._engine is None:
            return
        self._settings = self._node_parameters.settings()
        self._engine.input_size = self._settings.input_size or self._engine.info.input_size

    def _publish_diagnostics(self) -> None:
        engine, estimator = self._engine, self._estimator
        facts = {} if engine is None else {
            'device': engine.execution_device, 'precision': engine.execution_precision,
            'model': f'{engine.info.encoder} {engine.info.kind} {engine.info.source_name}',
            'network size': f'{engine.network_hw[1]}x{engine.network_hw[0]}'}
        health = Health(self._state_label(), facts, estimator.stats() if estimator else None,
                        self._received, self._unwanted, self._image_topic,
                        self.count_publishers(self._image_topic))
        self._diagnostics.publish(
            as_array(self._reporter.status(health), self.get_clock().now().to_msg()))
