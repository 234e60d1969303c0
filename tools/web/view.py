"""Starts a camera, a node and ``depth_anything_view`` for tools."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import re
import time
from typing import Any

from depth_anything_ros.cli.processes import running
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import shipped_model
from tools.active_node import active_node

_START_S = 60.0


@contextmanager
def running_node(folder: Path, *player: str, **parameters: object) -> Iterator[Any]:
    """
    Yield an ``Observer`` of an active node with ``parameters``, which gets 640x480 at 30 Hz.

    ``player`` are options of ``depth_anything_player``. Logs go to ``folder``.
    ObserverError if the node does not come up.
    """
    node = {'model': shipped_model(), 'points_stride': 2,
            'qos_overrides./image.subscription.reliability': 'reliable', **parameters}
    with active_node(folder, node) as observer, \
            running('depth_anything_ros.demo.player', player, folder / 'player.log'):
        yield observer


@contextmanager
def running_view(folder: Path) -> Iterator[str]:
    """Yield the address of the page of the node; DepthAnythingError if it does not start."""
    log = folder / 'view.log'
    with running('depth_anything_ros.view.main', ['--port', '0'], log) as process:
        deadline = time.monotonic() + _START_S
        while not (found := re.search(r'http://\S+', log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DepthAnythingError(f'depth_anything_view did not start: {log.read_text()}')
            time.sleep(0.1)
        yield found[0]
