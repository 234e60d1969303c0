"""A worker process as the benchmark sees it: questions, answers, and an end in any case."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
from queue import Empty, SimpleQueue
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from depth_anything_ros.arrays import F32
import numpy as np
from tools.peers.choice import Peer, Sizes
from tools.peers.worker import Answer
from tools.structure import ROOT

_MODULE = 'tools.peers.worker'
# With these set, PyTorch would not take its own default, and OpenVINO takes no notice of them.
_NOT_INHERITED = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
# PyTorch compiles for minutes; a large encoder takes its time for one image.
LOAD_LIMIT_S = 900.0
ANSWER_LIMIT_S = 300.0
# The threads of PyTorch and ONNX Runtime wait actively for a while before they sleep.
PAUSE_S = 0.5


class PeerProcess:
    """
    Runs ``peer_worker``; ``ask`` never raises for what goes wrong there, the answer says it.

    ``close`` ends the process and all that it started, and may be called again. Ctrl-C on the
    terminal does not reach the process: it ends when this one closes it or is gone.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._ended = ''
        environment = {name: value for name, value in os.environ.items()
                       if name not in _NOT_INHERITED}
        environment['PYTHONPATH'] = os.pathsep.join(
            filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
        with log.open('wb') as errors:
            self.process = subprocess.Popen(
                [sys.executable, '-m', _MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, env=environment, start_new_session=True, text=True)
        threading.Thread(target=self._read, daemon=True, name='peer_answers').start()

    def ask(self, limit_s: float, command: str, **arguments: Any) -> Answer:
        """Return the answer; ``error`` in it says what went wrong, also if there was none."""
        if self._ended:
            return {'error': self._ended}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({'command': command, **arguments}) + '\n')
            self.process.stdin.flush()
            line = self._lines.get(timeout=limit_s)
        except BrokenPipeError:
            line = None
        except Empty:
            self._ended = f'it did not answer within {limit_s:g} s'
            self.close()
            return {'error': self._ended}
        if line is None:
            self._ended = f'it ended{self._why()}'
            self.close()
            return {'error': self._ended}
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process, which holds nothing that is worth finishing."""
        self._ended = self._ended or 'it was closed'
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def _why(self) -> str:
        status = self.process.wait()
        if status < 0:
            return f' ({signal.Signals(-status).name})'
        lines = self._log.read_text(encoding='utf-8', errors='replace').split('\n')
        told = [line.strip() for line in lines if line.strip()]
        return f' with status {status}{": " + told[-1] if told else ""}'

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)


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
