"""A peer while it is measured: in its own process, until its first failure."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from pathlib import Path
import time
from typing import Any

from depth_anything_ros.tools.benchmarking.peer_choice import Peer, Sizes
from depth_anything_ros.tools.benchmarking.peer_process import PeerProcess
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

# PyTorch compiles for minutes; a large encoder takes its time for one image.
LOAD_LIMIT_S = 900.0
ANSWER_LIMIT_S = 300.0
# The threads of PyTorch and ONNX Runtime wait actively for a while before they sleep.
PAUSE_S = 0.5


@dataclass(frozen=True)
class Facts:
    """
    What a peer took: threads, and the most resident memory in MiB.

    ``start_mib`` of it are the interpreter with numpy and OpenCV.
    """

    threads: int
    peak_mib: float
    start_mib: float


class RunningPeer:
    """
    Asks one peer and keeps what it answers; ``failure`` says why it is out, empty if it is not.

    ``close`` ends its process, in any state.
    """

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self.failure = ''
        self.precision = ''
        self.latencies_ms: list[float] = []
        self.process = PeerProcess(folder / f'{peer.name}.log')
        self._folder = folder

    def load(self, sizes: Sizes, images: Path) -> None:
        """Let it load its file and the images, a .npy, and warm up."""
        answer = self._ask(LOAD_LIMIT_S, 'load', kind=self.peer.kind, file=str(self.peer.file),
                           precision=self.peer.precision, input_size=sizes.input_size,
                           images=str(images), network_hw=sizes.network_hw)
        self.precision = answer.get('precision', '')

    def turn(self, seconds: float) -> float:
        """Return images/s and keep the latencies, then pause; not a number if it is out."""
        limit_s = ANSWER_LIMIT_S + seconds
        rate = self._ask(limit_s, 'throughput', seconds=seconds).get('rate', math.nan)
        self.latencies_ms += self._ask(limit_s, 'latency', seconds=seconds).get('latency_ms', [])
        if not self.failure:
            time.sleep(PAUSE_S)
        return float('nan') if self.failure else float(rate)

    def facts(self) -> Facts | None:
        """Return what it took, None if it is out."""
        answer = self._ask(ANSWER_LIMIT_S, 'facts')
        return None if self.failure else Facts(**answer)

    def depth(self) -> F32 | None:
        """Return the depth of all images [N, H, W], None if it is out."""
        file = self._folder / f'{self.peer.name}.npy'
        self._ask(ANSWER_LIMIT_S, 'depth', file=str(file))
        if self.failure:
            return None
        depth: F32 = np.load(file)
        return depth

    def fail(self, reason: str) -> None:
        """Leave it out from now on."""
        self.failure = reason
        self.close()

    def close(self) -> None:
        """End its process."""
        self.process.close()

    def _ask(self, limit_s: float, command: str, **arguments: Any) -> Mapping[str, Any]:
        if self.failure:
            return {}
        answer = self.process.ask(limit_s, command, **arguments)
        if 'error' in answer:
            self.fail(str(answer['error']))
            return {}
        return answer
