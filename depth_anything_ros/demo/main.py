"""
The executable ``depth_anything_demo``: camera, node and pictures of its depth on one machine.

A player process publishes images of 640x480, the node process computes their depth over DDS, and
this process configures the node, subscribes to its topics, prints figures and saves pictures.
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
import math
from pathlib import Path
import sys
import time
from typing import Any, get_args

from depth_anything_ros.cli.processes import private_domain, ros_parameters, running
from depth_anything_ros.cli.program import Program, require_packages, require_positive, run_program
from depth_anything_ros.cli.signals import deferred_signals
from depth_anything_ros.errors import INSTALL_ROS, INSTALL_VIEW
from depth_anything_ros.files import make_folder
from depth_anything_ros.foreign_files import last_line
from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.resources import shipped_model

PROGRAM = Program('depth_anything_demo', INSTALL_ROS, 'no pictures were written')
_NODE = 'depth_anything'
_PAGE = 'http://127.0.0.1:8080'
_KEPT_IMAGES = 200
_PICTURES = 4
# What is shown, or saved once, needs not every frame.
_COLOR_HZ, _CLOUD_HZ = 10.0, 2.0
_FIGURES = ('device', 'precision', 'network size', 'images received', 'frames delivered',
            'frames dropped for a newer one', 'frames failed', 'latency p50 [ms]',
            'latency p95 [ms]')


class Recording:
    """
    What the demo received.

    ``images`` by stamp, times of arrival of depth, ``pairs`` of an image and its coloured depth,
    the last point cloud as it was received, and the last diagnostics of the node by name.
    """

    def __init__(self, seconds: float) -> None:
        self._pair_every_s = seconds / (_PICTURES + 1)
        self._next_pair_at = 0.0
        self.images: dict[int, Any] = {}
        self.arrivals_s: list[float] = []
        self.pairs: list[tuple[Any, Any]] = []
        self.cloud = b''
        self.diagnostics: dict[str, str] = {}

    def listen(self, observer: Any) -> None:
        """Subscribe to the camera and to all topics of the node."""
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import Image, PointCloud2
        observer.listen(Image, '/image', self._on_image)
        observer.listen(Image, f'/{_NODE}/inverse_depth/image', self._on_depth, raw=True)
        observer.listen(Image, f'/{_NODE}/depth/image', self._on_depth, raw=True)
        observer.listen(Image, f'/{_NODE}/color/image', self._on_color)
        observer.listen(PointCloud2, f'/{_NODE}/points', self._on_cloud, raw=True)
        observer.listen(DiagnosticArray, '/diagnostics', self._on_diagnostics)

    def frames_per_second(self) -> float:
        """Return the mean rate of depth messages [Hz]."""
        if len(self.arrivals_s) < 2:
            return 0.0
        return (len(self.arrivals_s) - 1) / (self.arrivals_s[-1] - self.arrivals_s[0])

    def _on_image(self, message: Any) -> None:
        from depth_anything_ros.ros.observer import stamp_ns
        self.images[stamp_ns(message)] = message
        if len(self.images) > _KEPT_IMAGES:
            self.images.pop(next(iter(self.images)))

    def _on_depth(self, message: bytes) -> None:
        self.arrivals_s.append(time.monotonic())

    def _on_color(self, message: Any) -> None:
        from depth_anything_ros.ros.observer import stamp_ns
        image, now = self.images.get(stamp_ns(message)), time.monotonic()
        if image is None:
            return
        if self.pairs and image.data == self.pairs[-1][0].data:
            # The same picture again: by now the range of the colours has settled.
            self.pairs[-1] = image, message
        elif (now >= self._next_pair_at and len(self.pairs) < _PICTURES
                and all(image.data != shown.data for shown, _ in self.pairs)):
            self.pairs.append((image, message))
            self._next_pair_at = now + self._pair_every_s

    def _on_cloud(self, message: bytes) -> None:
        self.cloud = message

    def _on_diagnostics(self, message: Any) -> None:
        from depth_anything_ros.ros.statuses import status_values
        self.diagnostics = status_values(message, _NODE) or self.diagnostics


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status: 0 if depth arrived, 1 otherwise."""
    return run_program(PROGRAM, lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    require_positive(parser, options, 'seconds', 'focal')
    if options.view:
        require_packages(PROGRAM, 'viser', install=INSTALL_VIEW)
    from depth_anything_ros.demo.pictures import save_pictures
    private_domain()
    make_folder(options.output)
    recording = _record(options.model or shipped_model(), options)
    _print_figures(recording)
    for line in save_pictures(recording.pairs, recording.cloud, options.output):
        _print(f'  wrote {line}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM.name, description=__doc__)
    parser.add_argument('--model', type=Path, metavar='NAME.xml',
                        help='IR to run (default: models/depth_anything_tiny.xml of the package)')
    parser.add_argument('--images', type=Path, metavar='FOLDER',
                        help='pictures to play, a frame each in the order of their names; files '
                             'and folders whose name starts with depth are left out '
                             '(default: the photographs of the package)')
    parser.add_argument('--focal', type=float, metavar='PX',
                        help='focal length of their camera, for 640x480 (default: 60 degrees '
                             'horizontal field of view)')
    parser.add_argument('--output', type=Path, default=Path('demo_output'),
                        help='folder for pictures and logs (default: demo_output)')
    parser.add_argument('--seconds', type=float, default=10.0,
                        help='time to record (default: 10)')
    parser.add_argument('--view', action='store_true',
                        help=f'show the node on {_PAGE} until Ctrl-C instead, then save the '
                             'pictures')
    parser.add_argument('--device', default='CPU',
                        help='OpenVINO devices in order of preference (default: CPU)')
    parser.add_argument('--precision', choices=get_args(ExecutionPrecision), default='auto',
                        help='execution precision (default: what the device prefers)')
    parser.add_argument('--input-size', type=int, default=0, metavar='PX',
                        help='short side of the network input (default: that of the model)')
    return parser


def _record(model: Path, options: argparse.Namespace) -> Recording:
    """Run the node and the player and return what arrived; ObserverError if no depth did."""
    from depth_anything_ros.ros.observer import ObserverError
    node_log, player_log = options.output / 'node.log', options.output / 'player.log'
    node = ros_parameters({
        'model': model, 'device': options.device, 'precision': options.precision,
        'input_size': options.input_size,
        'points_stride': 1, 'points_rate': _COLOR_HZ if options.view else _CLOUD_HZ,
        'color_rate': _COLOR_HZ, 'qos_overrides./image.subscription.reliability': 'reliable'})
    player = ['--images', str(options.images)] if options.images else []
    player += ['--focal', str(options.focal)] if options.focal else []
    programs = [('node.main', node, node_log), ('demo.player', player, player_log)]
    if options.view:
        programs.append(('view.main', [], options.output / 'view.log'))
    recording = Recording(options.seconds)
    with deferred_signals(deliver=not options.view) as stop, ExitStack() as stack:
        processes = {log: stack.enter_context(running(f'depth_anything_ros.{module}', arguments,
                                                      log))
                     for module, arguments, log in programs}

        def dead() -> list[Path]:
            return [log for log, process in processes.items() if process.poll() is not None]

        def ended() -> bool:
            return stop.is_set() or bool(dead())
        try:
            _observe(recording, math.inf if options.view else options.seconds, ended, node_log,
                     lambda: processes[node_log].poll() is not None)
        except Exception:  # noqa: B902 - after a signal rclpy may raise anything
            if not stop.is_set():
                raise
        if (logs := dead()) and not stop.is_set():
            raise ObserverError(f'a program of the demo ended, {logs[0]}: {last_line(logs[0])}')
    if not recording.arrivals_s:
        raise ObserverError(f'no depth arrived; see {node_log} and {player_log}')
    return recording


def _observe(recording: Recording, seconds: float, ended: Callable[[], bool], node_log: Path,
             node_has_ended: Callable[[], bool]) -> None:
    from depth_anything_ros.ros.observer import Observer
    observer = Observer(PROGRAM.name, _NODE, node_log, node_has_ended)
    try:
        recording.listen(observer)
        _print('configuring the node: load, compile, self-check, warm-up')
        observer.change_state('configure')
        observer.change_state('activate')
        _print(f'active; {_PAGE} shows it until Ctrl-C' if math.isinf(seconds)
               else f'active; recording for {seconds:g} s')
        observer.spin_until(ended, seconds)
        observer.change_state('deactivate')
        observer.change_state('cleanup')
    finally:
        observer.close()


def _print_figures(recording: Recording) -> None:
    for name in _FIGURES:
        if name in recording.diagnostics:
            _print(f'  {name:32} {recording.diagnostics[name]}')
    _print(f'  {"depth out, mean [Hz]":32} {recording.frames_per_second():.2f}')


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
