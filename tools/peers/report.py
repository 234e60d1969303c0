"""What the peers showed: tables, figures and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from depth_anything_ros.arrays import F32
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.report import new_figure
from depth_anything_ros.benchmark.results import ratio, Report, Spread, Table
from depth_anything_ros.vision.agreement import agreement
import numpy as np
from tools.peers.choice import OWN, OWN_BF16, OWN_INT8, REFERENCE
from tools.peers.process import Facts

_RATIOS = {
    'vs_pytorch_bf16': (OWN_BF16, REFERENCE),
    'vs_pytorch_int8': (OWN_INT8, REFERENCE),
    'vs_pytorch_bf16_in_bf16': (OWN_BF16, 'pytorch_bf16'),
    'vs_pytorch_compile': (OWN_BF16, 'pytorch_compile'),
    'vs_onnxruntime_bf16': (OWN_BF16, 'onnxruntime'),
    'vs_plain_openvino': (OWN_BF16, 'openvino_plain'),
}
_COLUMNS = ('peer', 'executes', 'threads', 'images/s', 'latency p50', 'latency p95', 'peak MiB',
            'above start', 'AbsRel', 'largest error')
_OWN_COLOR, _OTHER_COLOR = '#1f77b4', '#a0a0a0'


@dataclass(frozen=True)
class Measured:
    """
    All that one peer showed: images/s of each round, latencies, facts and depth [N, H, W].

    ``failure`` says why it has not all of that, empty if it has.
    """

    name: str
    precision: str
    rates: Sequence[float]
    latencies_ms: Sequence[float]
    facts: Facts | None
    depth: F32 | None
    failure: str = ''

    @property
    def label(self) -> str:
        """Return the name for people, which says the precision that really executes."""
        return f'openvino_{self.precision}' if self.name == OWN_BF16 and self.precision else (
            self.name)


@dataclass(frozen=True)
class Parity:
    """Mean AbsRel to the reference after alignment; largest difference in its std."""

    abs_rel: float
    max_error: float


def peers_report(measured: Sequence[Measured], relative: bool,
                 settings: Mapping[str, str]) -> Report:
    """Return the report on peers of which at least one was measured."""
    done = {one.name: one for one in measured if not one.failure}
    base = next(iter(done.values()))
    against = done.get(REFERENCE)
    parities = {name: parity(one.depth, against.depth, relative) for name, one in done.items()
                if against is not None and one.depth is not None and against.depth is not None}
    rows = tuple(_row(one, base, parities.get(one.name)) for one in measured)
    tables = [Table('Peers', _COLUMNS, rows, _note(base, against is not None))]
    failed = tuple((one.name, one.failure) for one in measured if one.failure)
    if failed:
        tables.append(Table('Not measured', ('peer', 'why'), failed))
    return Report('peers', {'machine': describe_machine(), 'software': _versions(), **settings,
                            'warm-up': 'two images after loading, one before each measurement',
                            'threads': 'the default of each library, see the table; not pinned'},
                  tuple(tables), _figures(done, parities), partial(draw, list(done.values())))


def parity(found: F32, expected: F32, relative: bool) -> Parity:
    """Compare depths [N, H, W] of the same images."""
    pairs = list(zip(found, expected, strict=True))
    return Parity(
        float(np.mean([agreement(one, other, relative).abs_rel for one, other in pairs])),
        max(float(np.abs(one - other).max() / other.std()) for one, other in pairs))


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Write bars of images/s relative to the first peer, with the range of the rounds."""
    base = measured[0]
    speeds = [ratio(one.rates, base.rates) for one in measured]
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    axes.barh([f'{one.label}\n({one.precision})' for one in measured],
              [speed.median for speed in speeds],
              xerr=[[speed.median - speed.low for speed in speeds],
                    [speed.high - speed.median for speed in speeds]],
              color=[_OWN_COLOR if one.name in OWN else _OTHER_COLOR for one in measured],
              error_kw={'capsize': 3})
    for row, (one, speed) in enumerate(zip(measured, speeds)):
        axes.text(speed.high, row, _at_bar(one, speed), va='center')
    axes.set_xlim(0, 1.35 * max(speed.high for speed in speeds))
    axes.set_title('The same weights in this package (blue) and elsewhere')
    axes.set_xlabel(f'images per second, relative to {base.label}; at the bars: peak memory')
    axes.invert_yaxis()
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(path)


def _at_bar(one: Measured, speed: Spread) -> str:
    memory = f', {one.facts.peak_mib:.0f} MiB' if one.facts else ''
    return f'  {speed.median:.2f}{memory}'


def _row(one: Measured, base: Measured, found: Parity | None) -> tuple[str, ...]:
    if one.failure or one.facts is None:
        return (one.name, 'failed', *['-'] * (len(_COLUMNS) - 2))
    latencies = [f'{_percentile(one, share) / _percentile(base, share):.3g}'
                 for share in (50, 95)]
    compared = '-', '-'
    if found is not None:
        compared = f'{found.abs_rel:.4f}', f'{found.max_error:.3f}'
    return (one.label, one.precision, str(one.facts.threads), str(ratio(one.rates, base.rates)),
            *latencies, f'{one.facts.peak_mib:.0f}',
            f'{one.facts.peak_mib - one.facts.start_mib:.0f}', *compared)


def _percentile(one: Measured, share: int) -> float:
    return float(np.percentile(one.latencies_ms, share))


def _note(base: Measured, compared: bool) -> str:
    note = (f'Speed and latency are relative to {base.label}: the median of the rounds and their '
            'range, percentiles of all images. Memory is resident, of the whole process and above '
            'its start.')
    if not compared:
        return note
    return (f'{note} AbsRel and largest error (in standard deviations) are those of the depth '
            f'against {REFERENCE}; transformers interpolates the position embedding in another '
            'way than the reference code, so peers made from its model agree more closely.')


def _figures(done: Mapping[str, Measured], parities: Mapping[str, Parity]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, (one, other) in _RATIOS.items():
        if one in done and other in done:
            spread = ratio(done[one].rates, done[other].rates)
            figures |= {name: spread.median, f'{name}_low': spread.low,
                        f'{name}_high': spread.high}
    for name, found in parities.items():
        if name != REFERENCE:
            figures |= {f'parity_{name}': found.abs_rel, f'parity_max_{name}': found.max_error}
    return figures | {f'memory_mib_{name}': one.facts.peak_mib for name, one in done.items()
                      if one.facts is not None}


def _versions() -> str:
    """Return the versions of the libraries, without loading them."""
    found: dict[str, Any] = {}
    for name in ('torch', 'transformers', 'onnxruntime'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return ', '.join(f'{name} {number}' for name, number in found.items())
