"""The node with a camera that sends JPEG, and the ways of a picture to the size of the network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import statistics
import tempfile
import time

import cv2
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import F64, U8
from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.node_under_test import OUTPUTS, Phase, under_test
from depth_anything_ros.benchmark.report import Log, Report, Spread, Table
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_truth
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.accuracy import score_relative
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.transforms import model_input_hw, resize_depth
import numpy as np
from tools.measure.box_model_figures import Frames, open_frames

_SECONDS, _SATURATION, _DECODINGS = 4.0, 1.25, 100
# Of the pictures, as image_transport encodes them by default.
_QUALITY = 80


@dataclass(frozen=True)
class _Camera:
    """A camera: its description, its size, and the parameters of the node for it."""

    text: str
    size_hw: tuple[int, int]
    parameters: Mapping[str, object]


_CAMERAS = {'raw': _Camera('640×480, raw', (480, 640), {}),
            'raw_large': _Camera('1280×720, raw', (720, 1280), {}),
            'large': _Camera('1280×720, JPEG', (720, 1280), {'image_transport': 'compressed'})}


_INPUTS = {'raw': 'raw picture, resized by cubic interpolation, as by the node',
           'raw_linear': 'the same, linear', 'raw_area': 'the same, mean over the area of a pixel',
           'whole': 'JPEG, decoded with all its pixels, cubic, as by the node',
           'half': 'JPEG, decoded with half its rows and columns, cubic'}


@dataclass(frozen=True)
class _Rate:
    """A phase of the saturated node, and inferences a second of the bare model around it."""

    phase: Phase
    bare_hz: float


def measure_jpeg(model: Path, images: Path, rounds: int, log: Log) -> Report:
    """
    Return the rates of the saturated node for each camera, which alternate, and the accuracy.

    ``images`` has the folders of ``open_frames``. TimeoutError if the node publishes no depth,
    ImageError for a file that cannot be read.
    """
    rates = _measure_rates(model, rounds, log)
    scores = _measure_accuracy(model, open_frames(images), log)
    ratios = {name: Spread.of([one.phase.rate_hz / one.bare_hz for one in found])
              for name, found in rates.items()}
    host_ms = {name: Spread.of([1000 * one.phase.host_s / one.phase.frames for one in found])
               for name, found in rates.items()}
    rows = tuple((camera.text, str(Spread.of([one.phase.rate_hz for one in rates[name]])),
                  str(ratios[name]), str(host_ms[name])) for name, camera in _CAMERAS.items())
    return Report('jpeg', {
        'machine': describe_machine(), 'model': model.name,
        'rounds': f'{rounds} of {_SECONDS:g} s each, the cameras alternate; depth and camera_info '
                  'subscribed',
        'pictures': f'every frame with measured depth, as JPEG of quality {_QUALITY}'}, (
            Table('Cameras with and without JPEG', (
                'camera', 'depth images a second', '÷ bare model for that size',
                'CPU time of the node beside the inference [ms]'), rows),
            Table('Depth by the way to the input of the network', ('input', 'AbsRel', 'δ1'), tuple(
                (_INPUTS[name], f'{absrel:.4f}', f'{delta1:.4f}')
                for name, (absrel, delta1) in scores.items()))), {
        'jpeg_node_ratio': ratios['large'].median / ratios['raw'].median,
        'jpeg_rate_ratio': statistics.median(
            jpeg.phase.rate_hz / raw.phase.rate_hz
            for jpeg, raw in zip(rates['large'], rates['raw'])),
        'jpeg_half_time_ratio': _half_time_ratio(),
        'jpeg_raw_large_node_ratio': ratios['raw_large'].median / ratios['raw'].median,
        **{f'jpeg_host_ms_{name}': spread.median for name, spread in host_ms.items()},
        **{f'jpeg_absrel_{name}': absrel for name, (absrel, _) in scores.items()},
        **{f'jpeg_delta1_{name}': delta1 for name, (_, delta1) in scores.items()}})


def _measure_rates(model: Path, rounds: int, log: Log) -> dict[str, list[_Rate]]:
    bare = {camera.size_hw: BareModel(model, image_hw=camera.size_hw)
            for camera in _CAMERAS.values()}
    rates: dict[str, list[_Rate]] = {name: [] for name in _CAMERAS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, rounds + 1):
            for name, camera in _CAMERAS.items():
                rates[name].append(_rate(model, camera, bare[camera.size_hw], Path(folder)))
            log(f'cameras, round {number} of {rounds}, rate over that of the bare model: '
                + '; '.join(f'{name} {found[-1].phase.rate_hz / found[-1].bare_hz:.3f}'
                            for name, found in rates.items()))
    return rates


def _rate(model: Path, camera: _Camera, bare: BareModel, folder: Path) -> _Rate:
    with under_test(model, folder, bare.threads, camera.size_hw, None,
                    camera.parameters) as node:
        before_hz = bare.rate(_SECONDS / 2)
        phase = node.phase(OUTPUTS['depth'], _SATURATION * before_hz, _SECONDS)
        return _Rate(phase, statistics.mean((before_hz, bare.rate(_SECONDS / 2))))


def _measure_accuracy(path: Path, frames: Frames, log: Log) -> dict[str, tuple[float, float]]:
    """Return (AbsRel, delta1) for each of _INPUTS: the mean over the kinds of their means."""
    means: list[list[F64]] = []
    with load_model(path) as model:
        for kind, dataset in frames.items():
            scores = []
            for pair in dataset.pairs:
                picture = read_picture(pair.color)
                truth_m = read_truth(pair, dataset.config, picture.size_hw)
                network_hw = model_input_hw(model.info, picture.size_hw)
                scores.append([
                    score_relative(resize_depth(model.infer(pixels, output_size='native'),
                                                picture.size_hw), truth_m, dataset.config.limits)
                    for pixels in _inputs(picture, network_hw)])
            means.append(np.mean([[(one.abs_rel, one.delta1) for one in row] for row in scores],
                                 axis=0))
            log(f'{len(scores)} frames of {kind} scored')
    return {name: (float(absrel), float(delta1))
            for name, (absrel, delta1) in zip(_INPUTS, np.mean(means, axis=0))}


def _inputs(picture: ColorImage, network_hw: tuple[int, int]) -> list[U8]:
    """Return what the engine is given of a picture, BGR [h, w, 3], in the order of _INPUTS."""
    jpeg = _encoded(picture.pixels)
    return [picture.pixels,
            *(_resized(picture.pixels, network_hw, interpolation)
              for interpolation in (cv2.INTER_LINEAR, cv2.INTER_AREA)),
            _decoded(jpeg, cv2.IMREAD_COLOR), _decoded(jpeg, cv2.IMREAD_REDUCED_COLOR_2)]


def _half_time_ratio() -> float:
    """Return the time of decoding a 1280x720 JPEG with half its rows and columns ÷ whole."""
    file = sorted(photographs().glob('*.jpg'))[0]
    jpeg = _encoded(_resized(read_picture(file).pixels, _CAMERAS['large'].size_hw,
                             cv2.INTER_AREA))
    times: dict[int, list[float]] = {cv2.IMREAD_COLOR: [], cv2.IMREAD_REDUCED_COLOR_2: []}
    for _ in range(_DECODINGS):
        for flags, found in times.items():
            started = time.perf_counter()
            _decoded(jpeg, flags)
            found.append(time.perf_counter() - started)
    whole, half = map(statistics.median, times.values())
    return half / whole


def _encoded(pixels: U8) -> U8:
    return cv2.imencode('.jpg', pixels, (
        cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1].ravel()


def _decoded(jpeg: U8, flags: int) -> U8:
    return cv2.imdecode(jpeg, flags)  # type: ignore[return-value]


def _resized(pixels: U8, size_hw: tuple[int, int], interpolation: int) -> U8:
    return cv2.resize(pixels, size_hw[::-1],  # type: ignore[return-value]
                      interpolation=interpolation)
