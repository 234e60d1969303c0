"""
Measure the converter and the node on real data, and write docs/figures/node.json.

``python -m tools.measure.node`` needs a folder ../shared with weights/ (a checkpoint),
images/sequence and images/rgbd. It takes about five minutes on two idle cores.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import statistics
import sys
import tempfile
import time
from typing import Any

import cv2
from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.cli.processes import private_domain, ros_parameters, running
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.vision.accuracy import score_relative
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
from tools import shared_data
from tools.measure.figures import requote_pages, write_figures

COMMAND = 'python -m tools.measure.node'
_MODULE, _NODE = 'depth_anything_ros.node.main', 'depth_anything'
_DEPTH = f'/{_NODE}/inverse_depth/image'
_ROUNDS, _PHASE_S, _SETTLE_FRAMES = 5, 10.0, 3
_COUNTS = DepthRange(1e-3, 10.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data or the node is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.parse_args(arguments)
    private_domain()
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = _measure(Path(folder))
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f'{name:20} {value}')
    print(f'wrote {write_figures("node", COMMAND, figures)} and the pages that quote it')
    requote_pages()
    return 0


def _measure(folder: Path) -> dict[str, float]:
    from depth_anything_ros.convert.conversion import convert, Job
    checkpoint = shared_data.local_checkpoint()
    if checkpoint is None or shared_data.sequence_folder() is None:
        raise FileNotFoundError(f'{shared_data.SHARED} has no weights/*.pth or images/sequence')
    figures, model = {}, folder / 'fp16.xml'
    for precision in ('fp32', 'fp16'):
        conversion = convert(Job(checkpoint, folder / f'{precision}.xml', precision,
                                 shared_data.CHECKPOINT_OVERRIDES))
        figures[f'parity_{precision}_max'] = _rounded(conversion.parity.worst('OpenVINO'))
    figures['speedup_input_size_252'] = _rounded(
        BareModel(model, 252).rate(_PHASE_S) / BareModel(model).rate(_PHASE_S))
    parameters = {'model': model, 'qos_overrides./image.subscription.reliability': 'reliable'}
    log = folder / 'node.log'
    with running(_MODULE, ros_parameters(parameters), log) as process:
        from depth_anything_ros.ros.observer import Observer
        observer = Observer('measure_node', _NODE, log, lambda: process.poll() is not None)
        try:
            observer.change_state('configure')
            figures['node_fps_ratio'] = _rounded(_rate_ratio(observer, model, folder))
            observer.change_state('activate')
            figures['rgbd_absrel'], figures['rgbd_delta1'] = _rgbd_scores(observer)
        finally:
            observer.close()
    return figures


def _rate_ratio(observer: Any, model: Path, folder: Path) -> float:
    """Return frames/s of the node over bare calls/s, the median of alternating rounds."""
    from sensor_msgs.msg import Image
    arrivals: list[float] = []
    observer.listen(Image, _DEPTH, lambda data: arrivals.append(time.monotonic()), raw=True)
    bare, ratios = BareModel(model), []
    player = ['--images', str(shared_data.SEQUENCE)]
    for number in range(1, _ROUNDS + 1):
        bare_hz = bare.rate(_PHASE_S)
        with running('depth_anything_ros.demo.player', player, folder / 'player.log'):
            observer.change_state('activate')
            arrivals.clear()
            observer.spin_until(lambda: len(arrivals) > _SETTLE_FRAMES, 30.0)
            arrivals.clear()
            observer.spin_until(lambda: False, _PHASE_S)
            observer.change_state('deactivate')
        node_hz = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        ratios.append(node_hz / bare_hz)
        print(f'round {number}: bare {bare_hz:.2f} Hz, node {node_hz:.2f} Hz, '
              f'ratio {ratios[-1]:.3f}', flush=True)
    return statistics.median(ratios)


def _rgbd_scores(observer: Any) -> tuple[float, float]:
    """Return mean (AbsRel, delta1) of the depth that the node publishes for images/rgbd."""
    from depth_anything_ros.ros.messages import color_message
    from depth_anything_ros.ros.observer import pixels, RELIABLE
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    received: list[Any] = []
    observer.listen(Image, _DEPTH, received.append)
    camera = observer.node.create_publisher(Image, '/image', RELIABLE)
    observer.spin_until(lambda: camera.get_subscription_count() > 0, 30.0)
    scores = []
    for color in sorted((shared_data.SHARED / 'images' / 'rgbd').glob('rgb_*.png')):
        truth_m = _read(color.with_name(color.name.replace('rgb', 'depth'))) / np.float32(1000)
        header = Header(frame_id='camera')
        header.stamp = observer.node.get_clock().now().to_msg()
        received.clear()
        camera.publish(bytes(color_message(header, _read(color))))
        if not observer.spin_until(lambda: bool(received), 30.0):
            raise TimeoutError(f'the node published no depth for {color.name}')
        score = score_relative(pixels(received[0]), truth_m, _COUNTS)
        print(f'{color.name}: AbsRel {score.abs_rel:.3f}, delta1 {score.delta1:.3f}', flush=True)
        scores.append(score)
    return (_rounded(statistics.mean(score.abs_rel for score in scores)),
            _rounded(statistics.mean(score.delta1 for score in scores)))


def _read(file: Path) -> Any:
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FileNotFoundError(f'{file} is missing or not a readable image')
    return picture


def _rounded(value: float) -> float:
    return float(f'{value:.4g}')


if __name__ == '__main__':
    sys.exit(main())
