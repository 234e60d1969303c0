"""Age of the depth of the package's model at 30 Hz while other processes use all cores."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, ExitStack
import os
from pathlib import Path
import subprocess
import sys
import tempfile

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.node_under_test import NodeUnderTest, OUTPUTS, Phase, under_test
from depth_anything_ros.benchmark.report import Log, Report, Spread, Table
from depth_anything_ros.errors import DepthAnythingError

_SIZE_HW, _RATE_HZ, _SECONDS = (480, 640), 30.0, 5.0
_NICENESS = -10
_PERCENTILES = (50, 95, 99)
_HOG = 'while True: pass'
# Name of the condition: whether hogs run, niceness of the node's threads.
_CONDITIONS: Mapping[str, tuple[bool, int]] = {
    'idle': (False, 0), 'hogs': (True, 0), 'hogs_nice': (True, _NICENESS)}
_TEXTS = {'idle': 'nothing beside', 'hogs': 'one busy loop per core',
          'hogs_nice': f'the same, the node with niceness {_NICENESS}'}


def measure_load(model: Path, rounds: int, log: Log) -> Report:
    """
    Return ages from the stamp to the arrival in each condition, which alternate.

    DepthAnythingError if this process may not raise priorities.
    """
    bare = BareModel(model, image_hw=_SIZE_HW)
    inference_s = 1 / bare.rate(_SECONDS)
    phases: dict[str, list[Phase]] = {name: [] for name in _CONDITIONS}
    with tempfile.TemporaryDirectory() as folder, \
            under_test(model, Path(folder), bare.threads, _SIZE_HW, None, {}) as node:
        for number in range(1, rounds + 1):
            for name, (has_hogs, niceness) in _CONDITIONS.items():
                phases[name].append(_phase(node, has_hogs, niceness))
            log(f'load, round {number} of {rounds}: ' + '; '.join(
                f'{name} {one[-1].age_s(50) / inference_s:.2f}' for name, one in phases.items()))
    ages = {(name, percentile): Spread.of([1000 * phase.age_s(percentile) for phase in one])
            for name, one in phases.items() for percentile in _PERCENTILES}
    columns = ('', *(f'age p{percentile} [ms]' for percentile in _PERCENTILES),
               f'age p{_PERCENTILES[-1]} ÷ inference', 'depth images a second')
    rows = tuple((_TEXTS[name], *(str(ages[name, one]) for one in _PERCENTILES),
                  f'{ages[name, _PERCENTILES[-1]].median / 1000 / inference_s:.1f}',
                  str(Spread.of([phase.rate_hz for phase in phases[name]])))
                 for name in _CONDITIONS)
    return Report('box_load', {
        'machine': describe_machine(), 'model': model.name,
        'camera': f'640x480 at {_RATE_HZ:g} Hz, depth and camera_info subscribed',
        'rounds': f'{rounds} of {_SECONDS:g} s each, the conditions alternate',
        'priorities': 'busy loops, camera and subscriber have niceness 0'},
        (Table('Age of the depth beside other work', columns, rows,
               '**age**: from the stamp, set just before the camera sends, to the arrival.'),),
        {f'{name}_age_p{percentile}_ratio': spread.median / 1000 / inference_s
         for (name, percentile), spread in ages.items()})


def _phase(node: NodeUnderTest, has_hogs: bool, niceness: int) -> Phase:
    with ExitStack() as stack:
        for _ in os.sched_getaffinity(0) if has_hogs else ():
            stack.enter_context(_hog())
        _set_niceness(node.pid, niceness)
        return node.phase(OUTPUTS['depth'], _RATE_HZ, _SECONDS)


@contextmanager
def _hog() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, '-c', _HOG])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _set_niceness(pid: int, niceness: int) -> None:
    """Set it for all threads of a process; those that they start inherit it."""
    for thread in os.listdir(f'/proc/{pid}/task'):
        try:
            os.setpriority(os.PRIO_PROCESS, int(thread), niceness)
        except ProcessLookupError:
            continue
        except PermissionError as error:
            raise DepthAnythingError('the priority of a process cannot be raised; run this as '
                                     'root or with CAP_SYS_NICE') from error
