"""The demo with the model of the package: messages of depth a second, without bf16."""

from collections.abc import Sequence
from pathlib import Path
import re
import subprocess
import sys
import tempfile

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.report import Log, Report, Spread, Table
from depth_anything_ros.errors import DepthAnythingError

_SECONDS, _CAMERA_HZ, _LIMIT_S = 10.0, 30.0, 300.0
_PRECISION = 'f32'
_RATE = re.compile(r'depth out, mean \[Hz\]\s+([0-9.]+)')


def measure_demo(model: Path, rounds: int, log: Log) -> Report:
    """Return the rate of the demo, by itself and over that of the bare model around it."""
    bare = BareModel(model, precision=_PRECISION)
    rates: list[float] = []
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        before_hz = bare.rate(_SECONDS / 2)
        for number in range(1, rounds + 1):
            rates.append(_demo_rate(['--seconds', f'{_SECONDS:g}', '--output', folder,
                                     '--precision', _PRECISION]))
            after_hz = bare.rate(_SECONDS / 2)
            ratios.append(rates[-1] / min((before_hz + after_hz) / 2, _CAMERA_HZ))
            before_hz = after_hz
            log(f'demo, round {number} of {rounds}: {rates[-1]:.1f} Hz, {ratios[-1]:.3f}')
    rate, ratio = Spread.of(rates), Spread.of(ratios)
    return Report('demo', {
        'machine': describe_machine(), 'model': model.name,
        'rounds': f'{rounds} of {_SECONDS:g} s each, the bare model before and after each',
        'precision': f'{_PRECISION} beside INT8, as on a CPU without bf16'}, (
            Table('`make demo`', ('depth images a second',
                                  f'÷ bare model, or ÷ {_CAMERA_HZ:g} if that is less'),
                  ((str(rate), str(ratio)),)),),
        {'demo_hz': rate.median, 'demo_bare_ratio': ratio.median})


def _demo_rate(options: Sequence[str]) -> float:
    """Run the demo and return its rate; DepthAnythingError with its last line if it fails."""
    done = subprocess.run([sys.executable, '-m', 'depth_anything_ros.demo.main', *options],
                          capture_output=True, text=True, timeout=_LIMIT_S)
    found = _RATE.search(done.stdout)
    if found is None:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise DepthAnythingError(f'the demo failed: {lines[-1] if lines else "no output"}')
    return float(found[1])
