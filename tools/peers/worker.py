"""
One peer in a process of its own, so that threads and memory are its own.

Each line on stdin is a JSON object with a ``command`` and its arguments, each line on stdout the
answer: an object that holds ``error``, one sentence, where the command failed. What libraries
print goes to stderr. The process ends when stdin does.
"""

from collections.abc import Callable, Mapping
from itertools import cycle
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

from depth_anything_ros.arrays import U8
from depth_anything_ros.benchmark.node_under_test import memory_mib
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.model_info import ModelInfo
import numpy as np
from tools.peers.engines import make_files, open_peer, Opened, Task

Answer = Mapping[str, Any]

_WARM_UP = 2
_LONGEST = 300


class Session:
    """The peer and the images that the commands are about."""

    def __init__(self) -> None:
        self._start_mib = peak_memory_mib()
        self._images: list[U8] = []
        self._opened: Opened | None = None

    def make(self, checkpoint: str, info: dict[str, str], folder: str, network_hw: list[int],
             last: str) -> Answer:
        """Write the files that peers start from; ``info`` as the rt_info has it."""
        make_files(Path(checkpoint), ModelInfo.from_strings(info), Path(folder),
                   (network_hw[0], network_hw[1]), last)
        return {}

    def load(self, kind: str, file: str, precision: str, input_size: int, images: str,
             network_hw: list[int]) -> Answer:
        """Load the peer and the images, a .npy of 8-bit BGR [N, H, W, 3], and warm up."""
        self._images = list(np.load(images))
        height, width = self._images[0].shape[:2]
        self._opened = open_peer(kind, Task(Path(file), precision, input_size, (height, width),
                                            (network_hw[0], network_hw[1])))
        for _ in range(_WARM_UP):
            self._opened.compute(self._images[0])
        return {'precision': self._opened.precision}

    def throughput(self, seconds: float) -> Answer:
        """Answer images per second."""
        peer = self._awake()
        return {'rate': peer.rate(self._images, seconds)}

    def latency(self, seconds: float) -> Answer:
        """Answer the time of each image from its pixels to its depth, one at a time."""
        peer, found = self._awake(), []
        end = time.monotonic() + seconds
        for image in cycle(self._images):
            started = time.monotonic()
            peer.compute(image)
            finished = time.monotonic()
            found.append(1e3 * (finished - started))
            if finished >= end:
                break
        return {'latency_ms': found}

    def depth(self, file: str) -> Answer:
        """Write the depth of all images, f32 [N, H', W'], to a .npy."""
        peer = self._awake()
        np.save(file, np.stack([peer.compute(image).copy() for image in self._images]))
        return {}

    def facts(self) -> Answer:
        """Answer peak memory, that of the bare interpreter before, and how many threads work."""
        return {'peak_mib': peak_memory_mib(), 'start_mib': self._start_mib,
                'threads': self._awake().threads()}

    def _awake(self) -> Opened:
        """Return the peer after one image, which finds caches and threads as others left them."""
        if self._opened is None:
            raise ValueError('no peer was opened')
        self._opened.compute(self._images[0])
        return self._opened


def peak_memory_mib() -> float:
    """
    Return the most memory that was resident since this program began.

    ``getrusage`` would count what the parent held when it started this process.
    """
    return memory_mib(os.getpid(), 'VmHWM')


def main() -> int:
    """Answer commands until there are no more."""
    session = Session()
    commands: Mapping[str, Callable[..., Answer]] = {
        'make': session.make, 'load': session.load, 'throughput': session.throughput,
        'latency': session.latency, 'depth': session.depth, 'facts': session.facts}
    with os.fdopen(os.dup(sys.stdout.fileno()), 'w', encoding='utf-8') as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for line in sys.stdin:
            given = json.loads(line)
            answer = _answer(commands[given.pop('command')], given)
            print(json.dumps(answer), file=answers, flush=True)
    return 0


def _answer(command: Callable[..., Answer], given: Mapping[str, Any]) -> Answer:
    try:
        return command(**given)
    except Exception as error:  # noqa: B902 - whatever a library raises, the other peers go on
        return {'error': _sentence(error)}


def _sentence(error: Exception) -> str:
    if isinstance(error, DepthAnythingError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f'{type(error).__name__}: {lines[0] if lines else "no reason given"}'[:_LONGEST]


if __name__ == '__main__':
    sys.exit(main())
