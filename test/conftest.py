"""Fixtures for every room: a tiny model on disk."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import sys

import pytest

# The networks of the tests are so small that several threads of torch only wait for each other,
# on a busy machine for minutes. Set before torch is loaded; programs of tests inherit it.
os.environ['OMP_NUM_THREADS'] = '1'
# pytest 6, the one of ROS 2 Humble, does not know the option pythonpath.
sys.path[:0] = [os.fspath(Path(__file__).parents[1]), os.fspath(Path(__file__).parent / 'support')]
pytest_plugins = ['browser', 'checkpoints', 'ray_cluster']


@pytest.fixture(scope='session', autouse=True)
def _ctrl_c_reaches_programs() -> None:
    """Let programs that tests start hear SIGINT, which a shell's background job ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session', autouse=True)
def _stay_on_this_machine() -> None:
    """Keep nodes of other machines, which may run the same tests, out of the graph."""
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@pytest.fixture(scope='session')
def make_ir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return ``write_tiny_ir`` with a folder of its own for every call."""
    pytest.importorskip('openvino')
    from tiny import write_tiny_ir

    def make(**options: object) -> Path:
        return write_tiny_ir(tmp_path_factory.mktemp('ir'), **options)

    return make


@pytest.fixture(scope='session')
def tiny_ir(make_ir: Callable[..., Path]) -> Path:
    """Return a relative model whose output is R + 2 G + 4 B of the image in 0..1."""
    return make_ir()
