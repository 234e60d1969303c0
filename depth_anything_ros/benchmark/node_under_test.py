"""The node as a process: fed by a camera process, observed over DDS, measured from outside."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import subprocess
import time
from typing import Any

from depth_anything_ros.benchmark.machine import cpu_seconds, resident_mib, thread_times
from depth_anything_ros.cli.processes import private_domain, ros_parameters, running
from depth_anything_ros.errors import ImageError, INSTALL_ROS, MissingDependencyError
from depth_anything_ros.foreign_files import last_line
import numpy as np

_NODE = 'depth_anything'
_RELIABLE = 'qos_overrides./{}.subscription.reliability'
_SETTLE_FRAMES, _SETTLE_S = 3, 60.0
# Topics that are subscribed in a phase, by the name of the phase in the tables.
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    'depth': ('inverse_depth/image', 'inverse_depth/camera_info'),
    'depth, colours': ('inverse_depth/image', 'inverse_depth/camera_info', 'color/image'),
    'depth, cloud': ('inverse_depth/image', 'inverse_depth/camera_info', 'points'),
    'all': ('inverse_depth/image', 'inverse_depth/camera_info', 'color/image', 'points')}


@dataclass(frozen=True)
class Phase:
    """
    A measurement of the running node: number of depth images, duration, their ages, CPU time.

    An age is measured from the stamp, set just before the camera sends, to the arrival of the
    depth in this process; it includes the transport of both. ``cpu_s`` is the CPU time of the
    whole node, ``host_s`` that without the inference threads.
    """

    frames: int
    seconds: float
    ages_s: tuple[float, ...]
    cpu_s: float
    host_s: float

    @property
    def rate_hz(self) -> float:
        """Return depth images per second."""
        return self.frames / self.seconds

    def age_s(self, percentile: float) -> float:
        """Return a percentile of the ages."""
        return float(np.percentile(self.ages_s, percentile))


@dataclass(frozen=True)
class Start:
    """
    A fresh start: time from the request to configure to the arrival of the first depth.

    ``latency_*`` are from the diagnostics of the node: from the receipt of an image to the end of
    the publication of its depth, over the frames since the start.
    """

    first_depth_s: float
    latency_p50_s: float
    latency_p95_s: float


class NodeUnderTest:
    """
    A node configured for one model and image size; ``under_test`` starts and stops it.

    ``pid`` is the number of its process.
    """

    def __init__(self, observer: Any, pid: int, threads: int, camera: Sequence[str],
                 log: Path) -> None:
        self._observer = observer
        self.pid = pid
        self._threads = threads
        self._camera = camera
        self._log = log
        self._player: subprocess.Popen[bytes] | None = None

    def phase(self, outputs: Sequence[str], rate_hz: float, seconds: float) -> Phase:
        """Start a camera at ``rate_hz``, wait for depth and measure for ``seconds``."""
        with self._listening(outputs) as arrivals, self._sending(rate_hz), self._active():
            self._wait_for(arrivals, _SETTLE_FRAMES)
            before = thread_times(self.pid)
            arrivals.clear()
            self._observer.spin_until(lambda: False, seconds)
            seen, after = list(arrivals), thread_times(self.pid)
        if len(seen) < 2:
            raise TimeoutError(f'the node published {len(seen)} depth images in {seconds:g} s; '
                               'measure for longer')
        return Phase(len(seen) - 1, seen[-1][0] - seen[0][0],
                     tuple(age for _, age in seen), cpu_seconds(before, after),
                     cpu_seconds(before, after, self._threads))

    def start(self, rate_hz: float, seconds: float) -> Start:
        """Clean up, configure and activate with a running camera, then measure for ``seconds``."""
        from depth_anything_ros.ros.statuses import status_values
        from diagnostic_msgs.msg import DiagnosticArray
        diagnostics: list[dict[str, str]] = []
        self._observer.listen(DiagnosticArray, '/diagnostics', lambda message: diagnostics.extend(
            filter(None, [status_values(message, _NODE)])))
        with self._listening(OUTPUTS['depth']) as arrivals, self._sending(rate_hz):
            with self._active():
                # From now on discovery between node and camera is complete.
                self._wait_for(arrivals, _SETTLE_FRAMES)
            self._observer.change_state('cleanup')
            arrivals.clear()
            started = time.monotonic()
            self._observer.change_state('configure')
            with self._active():
                self._wait_for(arrivals, 1)
                self._observer.spin_until(lambda: False, seconds)
                diagnostics.clear()
                if not self._observer.spin_until(lambda: bool(diagnostics), _SETTLE_S):
                    raise TimeoutError(f'the node sent no diagnostics for {_SETTLE_S:g} s')
        values = diagnostics[0]
        return Start(arrivals[0][0] - started, float(values['latency p50 [ms]']) / 1000,
                     float(values['latency p95 [ms]']) / 1000)

    def memory_mib(self, rate_hz: float, warm_up: int, frames: int) -> list[float]:
        """Return the memory after the warm-up and each tenth of ``frames``, with all outputs."""
        found = []
        with self._listening(OUTPUTS['all']) as arrivals, self._sending(rate_hz), self._active():
            for part in range(11):
                self._wait_for(arrivals, warm_up + part * frames // 10)
                found.append(resident_mib(self.pid))
        return found

    def _wait_for(self, arrivals: list[tuple[float, float]], count: int) -> None:
        while len(arrivals) < count:
            waiting = partial(self._is_over, arrivals, len(arrivals))
            if not self._observer.spin_until(waiting, _SETTLE_S):
                raise TimeoutError(f'the node published no depth for {_SETTLE_S:g} s')
            if self._has_no_camera():
                raise ImageError(f'the camera ended: {last_line(self._log)}')

    def _is_over(self, arrivals: Sequence[object], count: int) -> bool:
        return len(arrivals) > count or self._has_no_camera()

    def _has_no_camera(self) -> bool:
        return self._player is not None and self._player.poll() is not None

    @contextmanager
    def _listening(self, outputs: Sequence[str]) -> Iterator[list[tuple[float, float]]]:
        """Subscribe; each depth image adds its (arrival on the monotonic clock, age) [s]."""
        from depth_anything_ros.ros.image_subscription import ImageSubscription, SubscribedTopic
        from depth_anything_ros.ros.messages import SerializedMessage
        from depth_anything_ros.ros.observer import RELIABLE
        from sensor_msgs.msg import CameraInfo, Image, PointCloud2
        arrivals: list[tuple[float, float]] = []

        def arrived(incoming: SerializedMessage) -> None:
            arrivals.append((time.monotonic(), (time.time_ns() - incoming.stamp_ns) / 1e9))

        kinds = {'camera_info': CameraInfo, 'points': PointCloud2}
        subscription = ImageSubscription(self._observer.node, [
            SubscribedTopic(kinds.get(topic.rpartition('/')[2], Image), f'/{_NODE}/{topic}',
                            arrived if topic == outputs[0] else _ignore, RELIABLE)
            for topic in outputs], print)
        try:
            yield arrivals
        finally:
            subscription.close()

    @contextmanager
    def _sending(self, rate_hz: float) -> Iterator[None]:
        with running('depth_anything_ros.demo.player',
                     [*self._camera, '--rate', f'{rate_hz:g}'], self._log) as self._player:
            yield

    @contextmanager
    def _active(self) -> Iterator[None]:
        self._observer.change_state('activate')
        yield
        self._observer.change_state('deactivate')


@contextmanager
def under_test(model: Path, folder: Path, threads: int, image_hw: tuple[int, int],
               images: Path | None, parameters: Mapping[str, object],
               module: str = 'depth_anything_ros.node.main') -> Iterator[NodeUnderTest]:
    """
    Yield a configured node for images of ``image_hw``; its files are in ``folder``.

    ``module`` is its program, which takes the parameters and topics of the depth node.
    MissingDependencyError without ROS; ObserverError, here and in the methods of the node, if it
    ends or a transition fails.
    """
    private_domain()
    try:
        from depth_anything_ros.ros.observer import Observer
    except ImportError as error:
        raise MissingDependencyError(error.name or 'rclpy', 'the node', INSTALL_ROS) from error
    height, width = image_hw
    transport = str(parameters.get('image_transport', 'raw'))
    topic = 'image/compressed' if transport == 'compressed' else 'image'
    settings = {
        'model': model, 'cache_dir': folder / 'cache', 'expected_height': height,
        'expected_width': width, _RELIABLE.format(topic): 'reliable',
        _RELIABLE.format('camera_info'): 'reliable', **parameters}
    camera = ['--height', str(height), '--width', str(width), '--transport', transport,
              *(['--images', str(images)] if images else [])]
    log = folder / 'node.log'
    with running(module, ros_parameters(settings), log) as process, \
            closing(Observer('depth_anything_benchmark', _NODE, log,
                             lambda: process.poll() is not None)) as observer:
        observer.change_state('configure')
        yield NodeUnderTest(observer, process.pid, threads, camera, folder / 'camera.log')
        observer.change_state('cleanup')


def _ignore(incoming: object) -> None:
    """Do nothing: the topic only needs a subscriber."""
