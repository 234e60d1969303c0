"""A long run: two cameras on one node over DDS, with repeated lifecycle transitions."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
import os
from pathlib import Path
import statistics
import subprocess
import tempfile
import time
from typing import Any

from depth_anything_ros.cli.processes import private_domain, ros_parameters, running
from tools import shared_data

_NODE = 'depth_anything'
_CAMERAS = ('front', 'rear')
_RATE_HZ = 15.0
_CYCLES, _SHORTEST_CYCLE_S = 10, 1.0
_PAUSE = ('deactivate', 'activate')
_RELOAD = ('deactivate', 'cleanup', 'configure', 'activate')
# Every third cycle loads the model again.
_RELOAD_EVERY = 3
# The process grows with the first models that OpenVINO loads and stays constant after that.
_WARM_UP_CYCLES = 5
_TRANSITION_S, _DELIVERY_S = 60.0, 20.0
_SAMPLE_EVERY_S, _REPORT_EVERY_S = 1.0, 10.0


class _Watch:
    """Counts the messages of both cameras and samples the memory of the node process."""

    def __init__(self, observer: Any, process: 'subprocess.Popen[bytes]') -> None:
        from sensor_msgs.msg import CameraInfo, Image, PointCloud2
        self._observer = observer
        self._process = process
        self.counts: Counter[str] = Counter()
        self.missed = 0
        self.resident_mib: list[float] = []
        for camera in _CAMERAS:
            for kind, name in ((Image, 'depth/image'), (CameraInfo, 'depth/camera_info'),
                               (PointCloud2, 'points'), (Image, 'color/image')):
                self._count(kind, f'/{_NODE}/{camera}/{name}')

    def frames(self) -> list[int]:
        """Return the number of depth images by camera."""
        return [self.counts[f'/{_NODE}/{camera}/depth/image'] for camera in _CAMERAS]

    def sample(self, seconds: float) -> None:
        """Receive for ``seconds``, then sample the memory; ObserverError if the node has ended."""
        self._observer.spin_until(lambda: False, seconds)
        pages = int(Path(f'/proc/{self._process.pid}/statm').read_text().split()[1])
        self.resident_mib.append(pages * os.sysconf('SC_PAGE_SIZE') / 2 ** 20)

    def bring_up(self) -> None:
        """Configure and activate; ObserverError if that fails."""
        for transition in ('configure', 'activate'):
            self._observer.change_state(transition)

    def change_states(self, transitions: Sequence[str], log: Callable[[str], None]) -> None:
        """Request each transition, then wait for all topics; count what is missed."""
        from depth_anything_ros.ros.observer import ObserverError
        for transition in transitions:
            try:
                self._observer.change_state(transition, _TRANSITION_S)
            except ObserverError as error:
                self.missed += 1
                log(f'missed: {error}')
        before = self.counts.copy()
        if not self._observer.spin_until(lambda: self._all_beyond(before), _DELIVERY_S):
            self.missed += 1
            silent = [topic for topic, count in before.items() if self.counts[topic] == count]
            log(f'missed: nothing on {", ".join(silent)} within {_DELIVERY_S:g} s')

    def _count(self, kind: type, topic: str) -> None:
        def count(data: bytes) -> None:
            self.counts[topic] += 1

        self.counts[topic] = 0
        self._observer.listen(kind, topic, count, raw=True)

    def _all_beyond(self, before: 'Counter[str]') -> bool:
        return all(self.counts[topic] > count for topic, count in before.items())


def soak(model: Path, minutes: float, log: Callable[[str], None],
         input_size: int = 252) -> dict[str, float]:
    """
    Run for ``minutes`` and return the figures ``soak_*``; logs the state every 10 s.

    Two players send 640x480 images to one node, and this process subscribes to all its topics.
    After a warm-up, the node goes through lifecycle transitions in each tenth of the time, and all
    topics of both cameras must deliver again; ``soak_missed_transitions`` counts those that did
    not. ``soak_rss_growth_mib`` is the median resident memory of the node in the last tenth minus
    that in the second tenth; ``soak_smallest_share`` is the share of the camera with fewer frames
    over a half. ObserverError if the node does not start or ends.
    """
    private_domain()
    from depth_anything_ros.ros.observer import Observer
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        log_file = Path(folder) / 'node.log'
        parameters = ros_parameters(_parameters(model, input_size))
        node = processes.enter_context(running(
            'depth_anything_ros.node.main', parameters, log_file))
        for camera in _CAMERAS:
            processes.enter_context(running('depth_anything_ros.demo.player', _player(camera),
                                            Path(folder) / f'{camera}.log'))
        observer = Observer('depth_anything_soak', _NODE, log_file,
                            lambda: node.poll() is not None)
        try:
            watch = _Watch(observer, node)
            _run(watch, minutes * 60, log)
        finally:
            observer.close()
    frames = watch.frames()
    return {'soak_minutes': minutes, 'soak_rss_growth_mib': growth(watch.resident_mib),
            'soak_frames': float(sum(frames)), 'soak_missed_transitions': float(watch.missed),
            'soak_smallest_share': min(frames) * len(frames) / max(sum(frames), 1)}


def growth(resident_mib: Sequence[float]) -> float:
    """Return the median of the last tenth of the samples minus that of the second tenth."""
    tenth = max(1, len(resident_mib) // 10)
    return (statistics.median(resident_mib[-tenth:])
            - statistics.median(resident_mib[tenth:2 * tenth] or resident_mib))


def _run(watch: _Watch, seconds: float, log: Callable[[str], None]) -> None:
    watch.bring_up()
    for _ in range(_WARM_UP_CYCLES):
        watch.change_states(_RELOAD, log)
    start = time.monotonic()
    period_s = max(seconds / _CYCLES, _SHORTEST_CYCLE_S)
    cycles, report_at = 0, 0.0
    while (passed := time.monotonic() - start) < seconds:
        if passed >= period_s * (cycles + 1):
            cycles += 1
            watch.change_states(_PAUSE if cycles % _RELOAD_EVERY else _RELOAD, log)
        watch.sample(min(_SAMPLE_EVERY_S, seconds / 20))
        if passed >= report_at:
            report_at = passed + _REPORT_EVERY_S
            front, rear = watch.frames()
            log(f'{passed:4.0f} s: {front} + {rear} frames, {watch.resident_mib[-1]:.0f} MiB, '
                f'{cycles} cycles, {watch.missed} missed')


def _parameters(model: Path, input_size: int) -> dict[str, object]:
    reliable = {f'qos_overrides./{camera}/{topic}.subscription.reliability': 'reliable'
                for camera in _CAMERAS for topic in ('image', 'camera_info')}
    return {'model': model, 'cameras': _CAMERAS, 'input_size': input_size, 'relative_scale': 1.0,
            **reliable}


def _player(camera: str) -> list[str]:
    images = shared_data.sequence_folder()
    footage = ['--images', str(images)] if images else []
    return [*footage, '--rate', f'{_RATE_HZ:g}', '--ros-args', '-r', f'__ns:=/{camera}']
