"""What a process takes: CPU time by thread, and memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import subprocess
import time
from typing import Any

from depth_anything_ros.cli.processes import ros_parameters, running
from depth_anything_ros.errors import ImageError
import numpy as np

Times = Mapping[int, float]
_NODE = 'depth_anything'
_RELIABLE = 'qos_overrides./{}.subscription.reliability'
_SETTLE_FRAMES, _SETTLE_S = 3, 60.0
# What a round of the node publishes, by the names of the tables.
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    'depth': ('inverse_depth/image', 'inverse_depth/camera_info'),
    'depth, colours': ('inverse_depth/image', 'inverse_depth/camera_info', 'color/image'),
    'depth, cloud': ('inverse_depth/image', 'inverse_depth/camera_info', 'points'),
    'all': ('inverse_depth/image', 'inverse_depth/camera_info', 'color/image', 'points')}


def thread_times(pid: int) -> Times:
    """Return the CPU time in seconds that each thread of a process has taken, by its id."""
    times = {}
    for task in Path(f'/proc/{pid}/task').iterdir():
        try:
            nanoseconds = int((task / 'schedstat').read_text(encoding='utf-8').split()[0])
        except OSError:
            # The thread has ended meanwhile.
            continue
        times[int(task.name)] = nanoseconds / 1e9
    return times


def taken(before: Times, after: Times, without_busiest: int = 0) -> float:
    """Return the CPU time [s] between two readings, without that of the busiest threads."""
    each = sorted(seconds - before.get(thread, 0.0) for thread, seconds in after.items())
    return sum(each[:len(each) - without_busiest])


def resident_mib(pid: int) -> float:
    """Return the memory of a process that is in RAM and its own, in MiB."""
    return memory_mib(pid, 'RssAnon')


def memory_mib(pid: int, field: str) -> float:
    """Return a field of /proc/PID/status that counts memory, in MiB."""
    for line in Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines():
        name, _, rest = line.partition(':')
        if name == field:
            return int(rest.split()[0]) / 1024
    return float('nan')


@dataclass(frozen=True)
class Phase:
    """
    What the node did for a while: depth images, how long that took, how old they were.

    An age runs from the stamp, taken just before the camera sends, to the arrival of the depth
    here, so it holds two transports more than what the node itself takes. ``cpu_s`` is of the
    whole node, ``host_s`` without the threads that compute the network.
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

    ``latency_*`` is what the node's diagnostics say of the frames since then, from the receipt of
    an image to the end of its publication.
    """

    first_depth_s: float
    latency_p50_s: float
    latency_p95_s: float


class NodeUnderTest:
    """One node, configured for one model and image size; ``under_test`` makes and ends it."""

    def __init__(self, observer: Any, pid: int, threads: int, camera: Sequence[str],
                 log: Path) -> None:
        self._observer = observer
        self._pid = pid
        self._threads = threads
        self._camera = camera
        self._log = log
        self._player: subprocess.Popen[bytes] | None = None

    def phase(self, outputs: Sequence[str], rate_hz: float, seconds: float) -> Phase:
        """Let a camera send at ``rate_hz`` and measure once the node is at work."""
        with self._listening(outputs) as arrivals, self._sending(rate_hz), self._active():
            self._wait_for(arrivals, _SETTLE_FRAMES)
            before = thread_times(self._pid)
            arrivals.clear()
            self._observer.spin_until(lambda: False, seconds)
            seen, after = list(arrivals), thread_times(self._pid)
        if len(seen) < 2:
            raise TimeoutError(f'the node published {len(seen)} depth images in {seconds:g} s; '
                               'measure for longer')
        return Phase(len(seen) - 1, seen[-1][0] - seen[0][0],
                     tuple(age for _, age in seen), taken(before, after),
                     taken(before, after, self._threads))

    def start(self, rate_hz: float, seconds: float) -> Start:
        """Configure and activate anew under a camera that is up, and run for so long."""
        from diagnostic_msgs.msg import DiagnosticArray
        told: list[Any] = []
        self._observer.listen(DiagnosticArray, '/diagnostics', told.append)
        with self._listening(OUTPUTS['depth']) as arrivals, self._sending(rate_hz):
            with self._active():
                # The node and the camera know each other.
                self._wait_for(arrivals, _SETTLE_FRAMES)
            self._observer.change_state('cleanup')
            arrivals.clear()
            started = time.monotonic()
            self._observer.change_state('configure')
            with self._active():
                self._wait_for(arrivals, 1)
                self._observer.spin_until(lambda: False, seconds)
                told.clear()
                self._observer.spin_until(lambda: bool(told), _SETTLE_S)
        values = {one.key: one.value for one in told[0].status[0].values}
        return Start(arrivals[0][0] - started, float(values['latency p50 [ms]']) / 1000,
                     float(values['latency p95 [ms]']) / 1000)

    def memory_mib(self, rate_hz: float, warm_up: int, frames: int) -> list[float]:
        """Return the memory at ten moments of so many frames with all outputs, after a warm-up."""
        found = []
        with self._listening(OUTPUTS['all']) as arrivals, self._sending(rate_hz), self._active():
            for part in range(11):
                self._wait_for(arrivals, warm_up + part * frames // 10)
                found.append(resident_mib(self._pid))
        return found

    def _wait_for(self, arrivals: list[tuple[float, float]], count: int) -> None:
        while len(arrivals) < count:
            waiting = partial(self._is_over, arrivals, len(arrivals))
            if not self._observer.spin_until(waiting, _SETTLE_S):
                raise TimeoutError(f'the node published no depth for {_SETTLE_S:g} s')
            if self._has_no_camera():
                said = self._log.read_text(encoding='utf-8').strip().splitlines()
                raise ImageError(f'the camera ended: {said[-1] if said else "without a word"}')

    def _is_over(self, arrivals: Sequence[object], count: int) -> bool:
        return len(arrivals) > count or self._has_no_camera()

    def _has_no_camera(self) -> bool:
        return self._player is not None and self._player.poll() is not None

    @contextmanager
    def _listening(self, outputs: Sequence[str]) -> Iterator[list[tuple[float, float]]]:
        """Subscribe; the list fills with (arrival on the monotonic clock, age) of the depth."""
        from depth_anything_ros.ros.image_subscription import Input, ImageSubscription
        from depth_anything_ros.ros.messages import SerializedMessage
        from depth_anything_ros.ros.observer import RELIABLE
        from sensor_msgs.msg import CameraInfo, Image, PointCloud2
        arrivals: list[tuple[float, float]] = []

        def arrived(incoming: SerializedMessage) -> None:
            arrivals.append((time.monotonic(), (time.time_ns() - incoming.stamp_ns) / 1e9))

        kinds = {'camera_info': CameraInfo, 'points': PointCloud2}
        intake = ImageSubscription(self._observer.node, [
            Input(kinds.get(topic.rpartition('/')[2], Image), f'/{_NODE}/{topic}',
                  arrived if topic == outputs[0] else _ignore, RELIABLE) for topic in outputs],
            print)
        try:
            yield arrivals
        finally:
            intake.close()

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
def under_test(observer: Any, model: Path, folder: Path, threads: int,
               image_hw: tuple[int, int], images: Path | None,
               parameters: Mapping[str, object]) -> Iterator[NodeUnderTest]:
    """Yield a configured node for images of ``image_hw``; files go to ``folder``."""
    height, width = image_hw
    settings = {
        'model': model, 'cache_dir': folder / 'cache', 'expected_height': height,
        'expected_width': width, _RELIABLE.format('image'): 'reliable',
        _RELIABLE.format('camera_info'): 'reliable', **parameters}
    camera = ['--height', str(height), '--width', str(width),
              *(['--images', str(images)] if images else [])]
    with running('depth_anything_ros.node.main', ros_parameters(settings),
                 folder / 'node.log') as process:
        observer.change_state('configure')
        yield NodeUnderTest(observer, process.pid, threads, camera, folder / 'camera.log')
        observer.change_state('cleanup')


def _ignore(incoming: object) -> None:
    """Count as a subscriber."""
