"""Runs a depth node in a process of its own, for measurements and pictures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from depth_anything_ros.cli.processes import private_domain, ros_parameters, running

NODE = 'depth_anything'


@contextmanager
def active_node(folder: Path, parameters: Mapping[str, object]) -> Iterator[Any]:
    """
    Yield an ``Observer`` of an active node on a ROS domain of its own, with its log in ``folder``.

    ObserverError if it does not come up or ends.
    """
    private_domain()
    from depth_anything_ros.ros.observer import Observer
    log = folder / 'node.log'
    with running('depth_anything_ros.node.main', ros_parameters(parameters), log) as process:
        observer = Observer('measured_robot', NODE, log, lambda: process.poll() is not None)
        try:
            observer.change_state('configure')
            observer.change_state('activate')
            yield observer
        finally:
            observer.close()
