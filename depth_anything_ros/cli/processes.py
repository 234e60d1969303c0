"""Runs nodes as child processes, on a ROS domain of their own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
from typing import Any

from depth_anything_ros.process import DDS_PROFILE_VARIABLES

_STOP_S = 20.0


def private_domain() -> None:
    """
    Select a random ROS domain, limited to this machine, for this process and its children.

    Call it before rclpy is initialised. A ROS_DOMAIN_ID in the environment stays unchanged.
    """
    os.environ.setdefault('ROS_DOMAIN_ID', str(random.randint(60, 100)))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


@contextmanager
def dds_profile(file: Path | None) -> Iterator[None]:
    """
    Run the block with the profiles of Fast DDS in ``file``, with those of the environment if None.

    They hold for this process and its children, if rclpy is initialised within the block.
    """
    before = {name: os.environ.get(name) for name in DDS_PROFILE_VARIABLES}
    if file is not None:
        os.environ.update(dict.fromkeys(before, str(file.resolve())))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def running(module: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m module`` with its output in ``log``, and ``stop`` it after the block."""
    with log.open('wb') as output:
        process = subprocess.Popen([sys.executable, '-m', module, *arguments], stdout=output,
                                   stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[Any]) -> int:
    """Send SIGINT, and SIGKILL if the process still runs after 20 s; return its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def ros_parameters(values: Mapping[str, object]) -> list[str]:
    """Return the command-line arguments that set parameters of a node."""
    arguments = ['--ros-args']
    for name, value in values.items():
        arguments += ['-p', f'{name}:={_yaml(value)}']
    return arguments


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        return f'[{", ".join(map(_yaml, value))}]'
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text or "''"
