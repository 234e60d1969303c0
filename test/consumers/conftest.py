"""Fixtures: the real node beside consumers that run as programs of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
import os
from pathlib import Path
import subprocess

from consumers import outputs_of  # noqa: F401
from nodes import DOMAIN_ID, make_robot  # noqa: F401
import pytest
import rclpy
from rclpy.context import Context


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """Return an initialized context whose nodes discover programs that the test starts."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN_ID))
    if os.environ.get('ROS_DISTRO') == 'humble':
        monkeypatch.setenv('ROS_LOCALHOST_ONLY', '1')
    context = Context()
    rclpy.init(context=context)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def start(context: Context) -> Iterator[Callable[..., None]]:
    """Return a function that runs a program of another package, skipped if not installed."""
    packages = pytest.importorskip('ament_index_python.packages')
    with ExitStack() as programs:

        def run(package: str, program: str, *ros_arguments: str) -> None:
            try:
                prefix = Path(packages.get_package_prefix(package))
            except (LookupError, OSError):  # OSError without any ament prefix
                pytest.skip(f'{package} is not installed')
            process = subprocess.Popen([prefix / 'lib' / package / program, '--ros-args',
                                        *ros_arguments])
            programs.callback(process.wait, 10)
            programs.callback(process.terminate)

        yield run
