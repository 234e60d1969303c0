"""Mode ``node``: the node over DDS compared with the bare compiled model in the same run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import statistics
import tempfile

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.node_report import node_report, NodeMeasurements, PhaseKey
from depth_anything_ros.benchmark.node_under_test import NodeUnderTest, OUTPUTS, under_test
from depth_anything_ros.benchmark.report import Log, Report
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.process import DDS_PROFILE_VARIABLES

# Rate of a saturating camera over the rate of the bare model.
_SATURATION = 1.25
_STARTS, _START_RATE_HZ = 4, 30.0
# Memory is measured with a small network, so that many frames are processed in little time.
_MEMORY_INPUT, _MEMORY_RATE_HZ, _MEMORY_WARM_UP = 140, 30.0, 300


@dataclass(frozen=True)
class NodeOptions:
    """
    What to measure.

    ``images`` is a folder, None the photographs of the package; ``sizes`` are image sizes (height,
    width) of the camera; ``rates_hz`` are its rates, in addition to one that saturates the node;
    ``frames`` is the number of frames for the growth of memory, 0 to skip that.
    """

    model: Path
    images: Path | None = None
    sizes: tuple[tuple[int, int], ...] = ((480, 640), (720, 1280))
    rates_hz: tuple[float, ...] = (5.0, 10.0, 30.0)
    rounds: int = 3
    seconds: float = 10.0
    frames: int = 2000

    def __post_init__(self) -> None:
        if not self.sizes:
            raise SettingsError('sizes', self.sizes, 'one or more')
        if self.rounds < 1:
            raise SettingsError('rounds', self.rounds, 'at least 1')


def measure_node(options: NodeOptions, log: Log) -> Report:
    """
    Return rates and ages relative to the bare model, CPU time per frame, start-up time and memory.

    ModelError for the model, MissingDependencyError without ROS, ObserverError if the node ends,
    TimeoutError if it publishes no depth.
    """
    bare = {size: BareModel(options.model, image_hw=size) for size in options.sizes}
    seen, profile = NodeMeasurements(), os.environ.get(DDS_PROFILE_VARIABLES[0], '')
    with tempfile.TemporaryDirectory() as name:
        for size_hw in options.sizes:
            with under_test(options.model, Path(name), bare[size_hw].threads, size_hw,
                            options.images, {}) as node:
                _measure_size(options, size_hw, bare[size_hw], node, seen, log)
                if size_hw == options.sizes[0]:
                    _measure_starts(options, bare[size_hw], node, seen, log)
        if options.frames:
            seen.memory_mib = _memory(options, Path(name), bare[options.sizes[0]], log)
    return node_report(options.model, bare, options.rates_hz, seen, {
        'rounds': f'{options.rounds}, each phase {options.seconds:g} s after 3 depth images for '
                  'warm-up; the bare model runs for half as long before and after each phase, '
                  'without a camera',
        'middleware': f'the profiles of {Path(profile).name}' if profile else 'its own settings',
        'images': str(options.images or 'the photographs of the package'),
        'memory': f'{options.frames} frames at input size {_MEMORY_INPUT}, all outputs'})


def _measure_size(options: NodeOptions, size_hw: tuple[int, int], bare: BareModel,
                  node: NodeUnderTest, seen: NodeMeasurements, log: Log) -> None:
    phases: Mapping[tuple[str, float], Sequence[str]] = {
        **{(outputs, 0.0): OUTPUTS[outputs] for outputs in OUTPUTS},
        **{(outputs, rate): OUTPUTS[outputs] for rate in options.rates_hz
           for outputs in ('depth', 'all')}}
    before_hz = bare.rate(options.seconds / 2)
    for number in range(1, options.rounds + 1):
        ratios = []
        for (outputs, rate), topics in phases.items():
            phase = node.phase(topics, rate or _SATURATION * before_hz, options.seconds)
            after_hz = bare.rate(options.seconds / 2)
            bare_hz, before_hz = statistics.mean((before_hz, after_hz)), after_hz
            seen.add(PhaseKey(size_hw, outputs, rate), phase, bare_hz)
            ratios.append(f'{outputs} {f"at {rate:g} Hz " if rate else ""}'
                          f'{phase.rate_hz / bare_hz:.3f}')
        log(f'{size_hw[1]}x{size_hw[0]}, round {number} of {options.rounds}, rate over that of '
            f'the bare model ({before_hz:.2f}/s): {"; ".join(ratios)}')


def _measure_starts(options: NodeOptions, bare: BareModel, node: NodeUnderTest,
                    seen: NodeMeasurements, log: Log) -> None:
    for number in range(1, _STARTS + 1):
        before_hz = bare.rate(options.seconds / 2)
        start = node.start(max(options.rates_hz, default=_START_RATE_HZ), options.seconds)
        inference_s = 2 / (before_hz + bare.rate(options.seconds / 2))
        seen.starts.append((start, inference_s))
        log(f'start {number} of {_STARTS}: first depth after {start.first_depth_s:.2f} s, from '
            f'receipt to publication {start.latency_p50_s / inference_s:.3f} inferences')


def _memory(options: NodeOptions, folder: Path, bare: BareModel, log: Log) -> list[float]:
    log(f'memory over {options.frames} frames')
    with under_test(options.model, folder, bare.threads, options.sizes[0],
                    options.images, {'input_size': _MEMORY_INPUT}) as node:
        return node.memory_mib(_MEMORY_RATE_HZ, _MEMORY_WARM_UP, options.frames)
