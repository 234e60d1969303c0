"""The node under attack: its process, its log, its memory, and whether it still works."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import os
from pathlib import Path
import re
import time
from typing import Any

from depth_anything_ros.cli.processes import ros_parameters, running
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.parameters import SPECS
from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
from depth_anything_ros.ros.messages import SerializedMessage
from depth_anything_ros.ros.observer import pixels, RELIABLE
from depth_anything_ros.ros.statuses import status_values
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.srv import SetParametersAtomically
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, Range
from tools.fuzz.requests import set_atomically, STATES

MODULE, NODE = 'depth_anything_ros.node.main', 'depth_anything'
# An exception that nothing expects: Python's own words, those of the guards, and OpenCV's.
# OpenCV also prints lines of its own about damaged pictures, which are none of the node's.
UNEXPECTED = re.compile(r'Traceback \(most recent call last\)|^\[[A-Z]+\] \[.*(?:report this'
                        r'|OpenCV\(\d|a message was lost|(?<!\w)[A-Z]\w+(?:Error|Exception)\()')
PROBE = 'probe'
RAW = ('raw', 'near_depth', 'near_points', 'near_range')
COMPRESSED = ('jpeg', 'png')
REFERENCES = {'near_depth': (Image, 'depth'), 'near_points': (PointCloud2, 'points'),
              'near_range': (Range, 'range')}
CAMERAS = (PROBE, *RAW, *COMPRESSED)
_RELIABLE = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.RELIABLE)
_LATEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
_OUTPUTS = ((Image, 'depth/image'), (CameraInfo, 'depth/camera_info'), (PointCloud2, 'points'),
            (Image, 'color/image'), (Image, 'inverse_depth/image'))
# bf16, which parameters may select, has three digits; the depth of a picture is at most 7.
_TOLERANCE = 0.06
_CRASH, _SHOWN = 'Current thread 0x', 800
# A loaded machine starts a node slowly.
_START_S = 300.0
_RESEND_S, _POLL_S = 2.0, 0.002
_UP = {'unconfigured': Transition.TRANSITION_CONFIGURE, 'inactive': Transition.TRANSITION_ACTIVATE}
_DOWN = {'active': Transition.TRANSITION_DEACTIVATE, 'inactive': Transition.TRANSITION_CLEANUP}


class Silence(DepthAnythingError):
    """The node is alive but does not answer, or answers with a wrong depth."""


class Death(DepthAnythingError):
    """The process of the node has ended."""


def start_values(model: Path, cache_dir: Path) -> dict[str, Any]:
    """Return the parameters with which the node starts, some of them per camera."""
    values: dict[str, Any] = {
        'model': model, 'cameras': CAMERAS, 'cache_dir': cache_dir, 'precision': 'f32',
        'expected_width': 80, 'expected_height': 60, 'diagnostics_period': 0.2,
        'input_size': 28, 'relative_scale': 1.0, 'alignment.reference_frame': 'fixed',
        'alignment.max_time_difference': 10.0, 'request_timeout': 60.0,
        'snapshot_dir': cache_dir / 'snapshots',
        # Its depth must not depend on what others set.
        f'{PROBE}.stabilization': 'color', f'{PROBE}.output_size': 'input',
        f'{PROBE}.edge_filter': 0.0}
    for camera in CAMERAS:
        transport = 'compressed' if camera in COMPRESSED else 'raw'
        source = REFERENCES[camera][1] if camera in REFERENCES else 'none'
        values |= {f'{camera}.image_transport': transport, f'{camera}.alignment.source': source}
        topics = ['image/compressed' if camera in COMPRESSED else 'image', 'camera_info']
        topics += [f'reference/{source}'] * (camera in REFERENCES)
        for topic in topics:
            name = f'qos_overrides./{camera}/{topic}.subscription'
            values |= {f'{name}.reliability': 'reliable', f'{name}.depth': 20}
    return values


class Target:
    """
    A running node, attacked through topics and services, observed through its depth and log.

    Use ``started``. ``dirty`` names the parameters that were changed. The node has
    ``timeout_s`` for an answer.
    """

    def __init__(self, process: Any, log: Path, values: Mapping[str, Any],
                 context: Context) -> None:
        self.process = process
        self.dirty: set[str] = set()
        self._log, self._log_read = log, 0
        self._start_values = {spec.name: values.get(spec.name, spec.default) for spec in SPECS}
        self.timeout_s = _START_S
        self._node = Node('attacker', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._publishers: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}
        self._depth: tuple[int, float] = (0, 0.0)
        self._handled: dict[str, int] = {}
        self._handled_before = 0
        # Nobody reads these: they only let the node compute every output.
        self._listeners = Node('listeners', context=context)
        for camera in CAMERAS:
            for kind, name in _OUTPUTS:
                self._listeners.create_subscription(
                    kind, f'/{NODE}/{camera}/{name}', lambda message: None, _LATEST, raw=True)
        self._watch = ImageSubscription(self._node, (
            SubscribedTopic(Image, f'/{NODE}/{PROBE}/inverse_depth/image', self._on_depth,
                            RELIABLE),
            SubscribedTopic(DiagnosticArray, '/diagnostics', self._on_diagnostics, RELIABLE)),
            lambda sentence: None)

    def close(self) -> None:
        """Leave the graph."""
        self._watch.close()
        self._executor.shutdown()
        self._listeners.destroy_node()
        self._node.destroy_node()

    @property
    def handled(self) -> int:
        """Return how many images the node has decoded or refused."""
        return self._handled_before + sum(self._handled.values())

    def resident_mib(self) -> float:
        """Return the memory of the node; Death if it has ended."""
        self.check_alive()
        pages = int(Path(f'/proc/{self.process.pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 2 ** 20

    def check_alive(self) -> None:
        """Raise Death if the process has ended."""
        if self.process.poll() is not None:
            text = self._log.read_text(errors='replace')
            crash = text[max(0, text.find(_CRASH)):] if _CRASH in text else text[-_SHOWN:]
            raise Death(f'the node ended with status {self.process.returncode}; its log: '
                        f'{" | ".join(crash[:_SHOWN].splitlines())}')

    def unexpected_lines(self) -> list[str]:
        """Return the new lines of the log that name an exception that nothing expects."""
        with self._log.open('rb') as file:
            file.seek(self._log_read)
            # The last line may be incomplete.
            new = file.read().rpartition(b'\n')
        self._log_read += len(new[0]) + len(new[1])
        return [line for line in new[0].decode(errors='replace').splitlines()
                if UNEXPECTED.search(line)]

    def publish(self, topic: str, message: Any, data: bytes | None = None) -> None:
        """Publish a message, or ``data`` in its place, on a topic that the node subscribes to."""
        if topic not in self._publishers:
            self._publishers[topic] = self._node.create_publisher(type(message), topic, _RELIABLE)
        publisher = self._publishers[topic]
        self._wait(lambda: publisher.get_subscription_count() > 0, f'subscribe to {topic}')
        publisher.publish(message if data is None else data)

    def request(self, kind: type, name: str, content: Any, repeats: bool = False) -> Any:
        """
        Call a service of the node and return its response.

        With ``repeats`` the call is made again if no response comes: the middleware loses one that
        is sent before it has discovered the client.
        """
        if name not in self._clients:
            self._clients[name] = self._node.create_client(kind, f'/{NODE}/{name}')
        client = self._clients[name]
        self._spin(client.service_is_ready, f'offer {name}')
        started, calls = time.monotonic(), [client.call_async(content)]

        def answered() -> bool:
            if repeats and time.monotonic() - started > _RESEND_S * len(calls):
                calls.append(client.call_async(content))
            return any(call.done() for call in calls)

        self._spin(answered, f'answer {name}')
        return next(call.result() for call in calls if call.done())

    def state(self) -> str:
        """Return the lifecycle state, such as active."""
        found = self.request(
            GetState, 'get_state', GetState.Request(), repeats=True).current_state
        return STATES.get(found.id, str(found.label))

    def change_state(self, content: ChangeState.Request) -> bool:
        """Request a transition and return whether the node carried it out."""
        return bool(self.request(ChangeState, 'change_state', content).success)

    def bring_down(self) -> None:
        """Deactivate and clean up, from any state; Silence if the node refuses."""
        while (state := self.state()) != 'unconfigured':
            self._go(state, _DOWN)

    def restore(self) -> None:
        """Set changed parameters back and bring the node to active; Silence if it refuses."""
        if any(self.dirty & {spec.name for spec in SPECS if spec.when == 'configure'}):
            self.bring_down()
        if self.dirty:
            values = {name: self._start_values[name] for name in sorted(self.dirty)}
            answer = self.request(SetParametersAtomically, 'set_parameters_atomically',
                                  set_atomically(values)).result
            if not answer.successful:
                raise Silence(f'the node does not take its start values back: {answer.reason}')
            self.dirty.clear()
        while (state := self.state()) != 'active':
            self._go(state, _UP)

    def probe(self, stamp_ns: int, color_bgr: tuple[int, int, int], expected: float) -> None:
        """Show a picture of one colour; Silence unless its depth comes and is the expected one."""
        message = Image(height=60, width=80, encoding='bgr8', step=240,
                        data=bytes(color_bgr) * 4800)
        message.header.frame_id = 'camera'
        deadline = time.monotonic() + self.timeout_s
        first_ns = stamp_ns
        while time.monotonic() < deadline:
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10 ** 9)
            self.publish(f'/{PROBE}/image', message)
            resend_at = time.monotonic() + _RESEND_S
            while time.monotonic() < resend_at:
                self.check_alive()
                found_ns, depth = self._depth
                if first_ns <= found_ns <= stamp_ns:
                    if not abs(depth - expected) < _TOLERANCE:
                        raise Silence(f'the depth is {depth:.4f}, but {expected:.4f} is right')
                    return
                time.sleep(_POLL_S)
            stamp_ns += 1
        raise Silence(f'no depth of a good image within {self.timeout_s:g} s')

    def _go(self, state: str, transitions: Mapping[str, int]) -> None:
        number = transitions.get(state)
        if number is None or not self.change_state(
                ChangeState.Request(transition=Transition(id=number))):
            raise Silence(f'the node is {state} and refuses transition {number}')

    def _spin(self, condition: Callable[[], bool], what: str) -> None:
        self._wait(condition, what, lambda: self._executor.spin_once(timeout_sec=0.05))

    def _wait(self, condition: Callable[[], bool], what: str,
              meanwhile: Callable[[], object] = lambda: time.sleep(_POLL_S)) -> None:
        deadline = time.monotonic() + self.timeout_s
        while not condition():
            self.check_alive()
            if time.monotonic() > deadline:
                raise Silence(f'the node does not {what} within {self.timeout_s:g} s')
            meanwhile()

    def _on_depth(self, serialized: SerializedMessage) -> None:
        message = serialized.message
        self._depth = serialized.stamp_ns, float(np.mean(pixels(message)))

    def _on_diagnostics(self, serialized: SerializedMessage) -> None:
        for camera in CAMERAS:
            values = status_values(serialized.message, NODE, camera)
            count = int(values.get('frames delivered', 0)) + int(values.get('frames failed', 0))
            # Counts start over with configure.
            if count < self._handled.get(camera, 0):
                self._handled_before += self._handled[camera]
            self._handled[camera] = count


@contextmanager
def started(folder: Path, values: Mapping[str, Any], module: str = MODULE,
            timeout_s: float = 60.0) -> Iterator[Target]:
    """Start a node with these parameters, bring it to active, and stop it after the block."""
    log = folder / 'node.log'
    log.touch()
    # Python then prints where a segmentation fault happened.
    os.environ['PYTHONFAULTHANDLER'] = '1'
    context = Context()
    rclpy.init(context=context)
    try:
        with running(module, ros_parameters(values), log) as process:
            target = Target(process, log, values, context)
            try:
                target.restore()
                target.timeout_s = timeout_s
                yield target
            finally:
                target.close()
    finally:
        try_shutdown(context=context)
