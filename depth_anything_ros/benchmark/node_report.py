"""Tables, figures and chart of mode ``node``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
import statistics
from typing import Any

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.node_under_test import OUTPUTS, Phase, Start
from depth_anything_ros.benchmark.report import new_figure, Report, Spread, Table

_COLUMNS = ('images', 'subscribed', 'camera', 'rate ÷ bare', 'age p50 ÷ inference',
            'age p95 ÷ inference', 'dropped', 'CPU ms beside inference', 'CPU ms in all')
_NOTE = ('**rate ÷ bare**: depth images a second over calls a second of the bare compiled model. '
         '**age**: from the stamp, set just before the camera sends, to the arrival of the depth '
         'at a subscriber, over the time of one inference; it includes the wait for the next '
         'inference, on average half a camera period. **dropped**: share of the images that were '
         'replaced by a newer one before their inference. **CPU ms**: per depth image, of the '
         'whole node and without the inference threads. Camera and subscriber run on the same '
         'cores.')
_ALLOWED_S = 0.5
_STARTED_AS = 'at the highest camera rate above, depth and camera_info subscribed'


@dataclass(frozen=True)
class PhaseKey:
    """The conditions of a phase: image size, outputs, camera rate [Hz], 0 if it saturates."""

    size_hw: tuple[int, int]
    outputs: str
    rate_hz: float

    def texts(self) -> tuple[str, str, str]:
        """Return the three as cells of the table."""
        camera = f'{self.rate_hz:g} Hz' if self.rate_hz else 'saturating'
        return f'{self.size_hw[1]}×{self.size_hw[0]}', self.outputs, camera


@dataclass
class NodeMeasurements:
    """Phases with the rate [Hz] of the bare model, starts with the inference time [s], memory."""

    phases: dict[PhaseKey, list[tuple[Phase, float]]] = field(default_factory=dict)
    starts: list[tuple[Start, float]] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)

    def add(self, key: PhaseKey, phase: Phase, bare_hz: float) -> None:
        """Add a phase and the rate of the bare model, measured right before and after it."""
        self.phases.setdefault(key, []).append((phase, bare_hz))

    def rate_ratio(self, key: PhaseKey) -> Spread:
        """Return the rate of the node over that of the bare model."""
        return Spread.of([phase.rate_hz / bare_hz for phase, bare_hz in self.phases[key]])

    def age_ratio(self, key: PhaseKey, percentile: float) -> Spread:
        """Return a percentile of the age over the time of one inference."""
        return Spread.of([phase.age_s(percentile) * bare_hz
                          for phase, bare_hz in self.phases[key]])

    def start_ratios(self) -> dict[str, Spread]:
        """Return first depth over (one inference + 0.5 s), latencies over one inference."""
        if not self.starts:
            return {}
        return {
            'activation_ratio': Spread.of([start.first_depth_s / (inference_s + _ALLOWED_S)
                                           for start, inference_s in self.starts]),
            'age_p50_ratio': Spread.of([start.latency_p50_s / inference_s
                                        for start, inference_s in self.starts]),
            'age_p95_ratio': Spread.of([start.latency_p95_s / inference_s
                                        for start, inference_s in self.starts])}

    def host_ms(self, key: PhaseKey) -> Spread:
        """Return the CPU time [ms] per frame without the inference threads."""
        return Spread.of([phase.host_s / phase.frames * 1000 for phase, _ in self.phases[key]])


def node_report(model: Path, bare: Mapping[tuple[int, int], BareModel],
                rates_hz: Sequence[float], seen: NodeMeasurements,
                settings: Mapping[str, str]) -> Report:
    """Return the report of the measurements; ``bare`` is the bare model by image size."""
    networks = ', '.join(f'{width}x{height} images in {one.network_hw[1]}x{one.network_hw[0]}'
                         for (height, width), one in bare.items())
    threads = next(iter(bare.values())).threads
    tables = [Table('The node against the bare model', _COLUMNS,
                    tuple(_row(key, seen) for key in seen.phases), _NOTE)]
    if seen.starts:
        tables.append(_starts_table(seen))
    if seen.memory_mib:
        tables.append(_memory_table(seen.memory_mib))
    return Report('node', {
        'machine': describe_machine(), 'model': model.name, 'network': networks,
        'threads': f'{threads} for inference, chosen by OpenVINO; no further pinning',
        **settings}, tuple(tables), _figures(seen, next(iter(bare)), rates_hz),
        partial(_draw, seen))


def _row(key: PhaseKey, seen: NodeMeasurements) -> tuple[str, ...]:
    phases = [phase for phase, _ in seen.phases[key]]
    rate_hz = statistics.median(phase.rate_hz for phase in phases)
    dropped = f'{max(0.0, 1 - rate_hz / key.rate_hz):.0%}' if key.rate_hz else ''
    cpu_ms = statistics.median(phase.cpu_s / phase.frames * 1000 for phase in phases)
    return (*key.texts(), str(seen.rate_ratio(key)), str(seen.age_ratio(key, 50)),
            str(seen.age_ratio(key, 95)), dropped, str(seen.host_ms(key)), f'{cpu_ms:.0f}')


def _starts_table(seen: NodeMeasurements) -> Table:
    names = {
        'activation_ratio': 'from the request to configure, with a warm cache, to the arrival of '
                            'the first depth ÷ (one inference + 0.5 s)',
        'age_p50_ratio': 'from the receipt of an image to the publication of its depth, median '
                         '÷ one inference',
        'age_p95_ratio': 'the same, 95th percentile'}
    return Table(f'{len(seen.starts)} fresh starts, {_STARTED_AS}', ('', 'measured'),
                 tuple((names[name], str(spread))
                       for name, spread in seen.start_ratios().items()))


def _memory_table(memory_mib: Sequence[float]) -> Table:
    growth = tuple(f'{value - memory_mib[0]:+.1f}' for value in memory_mib)
    shares = tuple(f'{10 * part} %' for part in range(len(memory_mib)))
    return Table('Memory over time, in MiB against the end of the warm-up', ('frames', *shares),
                 (('MiB', *growth),))


def _figures(seen: NodeMeasurements, size_hw: tuple[int, int],
             rates_hz: Sequence[float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, outputs in (('node_ratio_depth', 'depth'), ('node_ratio_all', 'all')):
        ratio = seen.rate_ratio(PhaseKey(size_hw, outputs, 0.0))
        figures |= {name: ratio.median, f'{name}_low': ratio.low, f'{name}_high': ratio.high}
    fastest = PhaseKey(size_hw, 'depth', max(rates_hz, default=0.0))
    figures['arrival_p50_ratio'] = seen.age_ratio(fastest, 50).median
    figures['arrival_p95_ratio'] = seen.age_ratio(fastest, 95).median
    for name, outputs in (('host_ms_per_frame', 'depth'), ('host_ms_per_frame_all', 'all')):
        figures[name] = seen.host_ms(PhaseKey(size_hw, outputs, 0.0)).median
    figures['node_ratio_fed'] = seen.rate_ratio(fastest).median
    figures |= {name: spread.median for name, spread in seen.start_ratios().items()}
    if seen.memory_mib:
        figures['rss_growth_mib_2000'] = (statistics.mean(seen.memory_mib[-2:])
                                          - statistics.mean(seen.memory_mib[:2]))
    return figures


def _draw(seen: NodeMeasurements, path: Path) -> None:
    """Write a PNG: rates over those of the bare model, ages over the time of one inference."""
    figure = new_figure(9, 4.5)
    rates, ages = figure.subplots(1, 2)
    _draw_rates(rates, seen)
    _draw_ages(ages, seen)
    figure.savefig(path, format='png')


def _draw_rates(axes: Any, seen: NodeMeasurements) -> None:
    sizes = list(dict.fromkeys(key.size_hw for key in seen.phases))
    width = 0.8 / len(sizes)
    for index, size_hw in enumerate(sizes):
        spreads = [seen.rate_ratio(PhaseKey(size_hw, outputs, 0.0)) for outputs in OUTPUTS]
        places = [place + (index - (len(sizes) - 1) / 2) * width for place in range(len(OUTPUTS))]
        axes.bar(places, [one.median for one in spreads], width * 0.9,
                 label=f'{size_hw[1]}×{size_hw[0]}',
                 yerr=[[one.median - one.low for one in spreads],
                       [one.high - one.median for one in spreads]])
        for place, one in zip(places, spreads):
            axes.text(place, 0.05, f'{one.median:.3f}', ha='center', color='white', fontsize=8,
                      rotation=90)
    axes.axhline(1, color='black', linewidth=1)
    axes.set_xticks(range(len(OUTPUTS)), [name.replace(', ', ',\n') for name in OUTPUTS])
    axes.set_ylim(0, 1.25)
    axes.set_ylabel('rate of the saturated node ÷ bare model')
    axes.set_xlabel('subscribed')
    axes.legend(frameon=False, loc='upper left', ncols=len(sizes))


def _draw_ages(axes: Any, seen: NodeMeasurements) -> None:
    keys = [key for key in seen.phases if key.rate_hz]
    for size_hw in dict.fromkeys(key.size_hw for key in keys):
        own = [key for key in keys if key.size_hw == size_hw and key.outputs == 'depth']
        rates = [key.rate_hz for key in own]
        medians = [seen.age_ratio(key, 50).median for key in own]
        late = [seen.age_ratio(key, 95).median for key in own]
        line = axes.plot(rates, medians, marker='o', label=f'{size_hw[1]}×{size_hw[0]}, median')[0]
        axes.plot(rates, late, marker='^', linestyle='--', color=line.get_color(),
                  label=f'{size_hw[1]}×{size_hw[0]}, 95 %')
    axes.axhline(1, color='black', linewidth=1)
    axes.set_ylim(0, None)
    axes.set_xlabel('images of the camera a second')
    axes.set_ylabel('age of the depth on arrival ÷ one inference')
    axes.legend(frameon=False, loc='lower left')
