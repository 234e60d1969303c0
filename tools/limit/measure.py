"""Measures each group of layers and the peak of the machine, and makes the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import statistics
from typing import TYPE_CHECKING

from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.report import interleaved, Log, ratio, Report, Spread
from depth_anything_ros.errors import ModelError, SettingsError
from depth_anything_ros.vision.transforms import model_input_hw
import numpy as np
from tools.limit.chart import draw_roofline
from tools.limit.layers import graph_flop, read_nodes
from tools.limit.machine_peak import (
    best_per_round, Execution, make_matmul, make_stream, MATMULS, ProfiledModel)
from tools.limit.roofline import cost_groups, cost_whole, GroupCost, Roof
from tools.limit.table import describe_limit, limit_table

if TYPE_CHECKING:
    import openvino as ov

_WARM_UP, _CALLS = 2, 4
_MODEL, _STREAM = 'model GFLOP/s', 'stream GB/s'


@dataclass(frozen=True)
class LimitOptions:
    """
    What to measure.

    ``input_size`` 0 is that of the model; ``precision`` auto, f32, bf16 or f16; ``image_hw`` is
    the size of the camera image.
    """

    model: Path
    input_size: int = 0
    precision: str = 'auto'
    image_hw: tuple[int, int] = (480, 640)
    rounds: int = 5

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise SettingsError('rounds', self.rounds, 'at least 1')


@dataclass(frozen=True)
class _Subject:
    """The compiled model, its graph, its network size and the type of its weights."""

    compiled: 'ov.CompiledModel'
    graph: 'ov.Model'
    network_hw: tuple[int, int]
    weights: str


def measure_limit(options: LimitOptions, log: Log) -> Report:
    """
    Return the time of each group of layers and its share of the peak of the machine.

    Inferences, matrix products in the same precision on the same threads, and a stream through
    memory alternate. ModelError if the model cannot be read or compiled.
    """
    from depth_anything_ros.inference.devices import execution_summary
    log(f'compiling {options.model}')
    subject = _compile(options)
    execution = Execution(execution_summary(subject.compiled)[1],
                          int(subject.compiled.get_property('INFERENCE_NUM_THREADS')))
    model = ProfiledModel(subject.compiled.create_infer_request(),
                          np.full((1, *subject.network_hw, 3), 127, np.uint8), _WARM_UP)
    gflop = graph_flop(subject.graph) / 1e9
    log(f'{gflop:.4g} GFLOP per image in {execution.precision} on {execution.threads} threads')
    matmuls = {f'matmul {rows}x{width} GFLOP/s': make_matmul(rows, width, execution)
               for rows, width in MATMULS}
    found = interleaved({_MODEL: lambda: gflop / model.run(_CALLS), **matmuls,
                         _STREAM: make_stream(execution)}, options.rounds, log)
    peaks = best_per_round([found[name] for name in matmuls])
    roof = Roof(statistics.median(peaks), statistics.median(found[_STREAM]))
    nodes = read_nodes(subject.compiled, subject.graph)
    groups = cost_groups(nodes, model.rounds, peaks, roof)
    whole = cost_whole(groups, gflop / statistics.median(found[_MODEL]), gflop * 1e9,
                       ratio(found[_MODEL], peaks))
    return Report('limit', _settings(options, subject, execution, found, peaks),
                  (limit_table(groups, whole, roof, describe_limit(nodes, groups, whole, roof)),),
                  _figures(groups, whole, roof), partial(draw_roofline, groups, whole, roof,
                                                         execution.precision))


def _compile(options: LimitOptions) -> _Subject:
    from depth_anything_ros.inference.devices import compile_options, open_core
    from depth_anything_ros.inference.ir import build_graph, error_reason, read_model
    core = open_core()
    network, info = read_model(core, options.model)
    network_hw = model_input_hw(info, options.image_hw, options.input_size)
    try:
        graph = build_graph(network, info, network_hw)
        compiled = core.compile_model(graph, 'CPU', {
            **compile_options(core, 'CPU', options.precision), 'PERF_COUNT': 'YES'})
    except RuntimeError as error:
        raise ModelError(options.model, f'CPU cannot compile it ({error_reason(error)})',
                         'choose another input_size or precision') from error
    return _Subject(compiled, graph, network_hw, info.precision)


def _settings(options: LimitOptions, subject: _Subject, execution: Execution,
              found: Mapping[str, Sequence[float]], peaks: Sequence[float]) -> dict[str, str]:
    best = max((name for name in found if name not in (_MODEL, _STREAM)),
               key=lambda name: statistics.median(found[name]))
    pinned = subject.compiled.get_property('ENABLE_CPU_PINNING')
    return {
        'machine': describe_machine(),
        'model': f'{options.model.name}, {subject.weights} weights, runs in '
                 f'{execution.precision}',
        'network': f'{subject.network_hw[1]}x{subject.network_hw[0]}',
        'threads': f'{execution.threads}, {"pinned to cores" if pinned else "not pinned"}, one '
                   'request; the same for products and stream',
        'rounds': f'{options.rounds} of {_CALLS} inferences each, after {_WARM_UP} to warm up; '
                  'alternating with products and stream',
        'peak': f'{Spread.of(peaks)} GFLOP/s, best: {best.partition(" GFLOP")[0]}',
        'memory': f'{Spread.of(found[_STREAM])} GB/s, read and written'}


def _figures(groups: Sequence[GroupCost], whole: GroupCost, roof: Roof) -> dict[str, float]:
    figures = {'peak_gflops': roof.peak_gflops, 'bandwidth_gb_s': roof.bandwidth_gb_s,
               'peak_fraction': whole.peak_fraction.median, 'inference_ms': 1e3 * whole.seconds}
    for group in groups:
        name = group.name.lower().replace(' ', '_')
        figures[f'time_share_{name}'] = group.share
        figures[f'peak_fraction_{name}'] = group.peak_fraction.median
    return figures
