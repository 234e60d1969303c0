"""A Ray cluster of two machines, both played by this one, and workers that tests send there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import threading
import time
from typing import Any

from depth_anything_ros.fleet.worker import Reports
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
_STORE_BYTES = 100 * 2 ** 20


@pytest.fixture(scope='session')
def ray_cluster() -> Iterator[Any]:
    """Return two machines with a CPU each, as ``ray.cluster_utils.Cluster``."""
    pytest.importorskip('ray', reason='Ray is not installed: pip install ray')
    from ray.cluster_utils import Cluster
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    folders = [str(REPOSITORY), str(Path(__file__).parent)]
    with pytest.MonkeyPatch.context() as patch:
        # Workers inherit the environment of their machine.
        patch.setenv('PYTHONPATH', os.pathsep.join(folders))
        cluster = _started(lambda: Cluster(initialize_head=True, head_node_args={
            'num_cpus': 1, 'include_dashboard': False, 'object_store_memory': _STORE_BYTES}))
        _started(lambda: cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES))
    try:
        yield cluster
    finally:
        cluster.shutdown()


def _started(start: Callable[[], Any]) -> Any:
    """Start a machine, for which Ray takes at most 30 s, too little beside other work."""
    for _ in range(2):
        try:
            return start()
        # Ray raises no narrower one.
        except Exception as error:
            if 'timed out during startup' not in str(error):
                raise
    return start()


@contextmanager
def when(happened: Callable[[], bool], act: Callable[[], object]) -> Iterator[threading.Event]:
    """Call ``act`` in another thread once ``happened`` during the block; yield whether it was."""
    acted, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not happened():
            if over.wait(0.02):
                return
        act()
        acted.set()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield acted
    finally:
        over.set()
        thread.join()


def kill_a_worker() -> int:
    """End a worker that computes, as a lack of memory does; return its process id."""
    processes = sorted(worker_processes())
    os.kill(processes[0], signal.SIGKILL)
    return processes[0]


def worker_processes() -> list[int]:
    """Return the process ids of the workers of this package."""
    found = []
    for folder in Path('/proc').iterdir():
        if folder.name.isdecimal():
            try:
                title = (folder / 'cmdline').read_bytes()
            except OSError:
                continue
            if title.startswith(b'ray::DepthAnythingWorker'):
                found.append(int(folder.name))
    return found


class Doubler:
    """
    A worker whose units are numbers: the result is the double.

    A negative number ends the process, 13 raises OSError. Nothing is doubled before the file
    ``gate`` exists.
    """

    def __init__(self, gate: Path | None = None) -> None:
        self._gate = gate

    def __call__(self, note: Callable[[str], None], threads: int) -> 'Doubler':
        """Return the worker, with a note."""
        note('it doubles')
        return self

    def run(self, units: Sequence[int], reports: Reports, stop: threading.Event) -> None:
        """Double all units."""
        deadline = time.monotonic() + 60
        while self._gate is not None and not self._gate.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        for position, unit in enumerate(units):
            if unit < 0:
                # What is reported already is told before the end.
                time.sleep(0.8)
                os._exit(1)
            if unit == 13:
                raise OSError('the disk is full')
            reports.image()
            reports.result(position, 2 * unit)
