"""
A peer in a process of its own: the worker, and the parent that sends it commands.

``python -m tools.peers.process`` is the worker. Each line on stdin is a JSON object with a
``command`` and its arguments, each line on stdout the answer: an object, with ``error``, one
sentence, if the command failed. The output of libraries goes to stderr. The worker ends at the end
of stdin.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
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

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.benchmark.machine import memory_mib
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo
import numpy as np
from tools.peers.engines import load_peer, LoadedPeer, make_files, Peer, PeerTask, Sizes
from tools.structure import ROOT

Answer = Mapping[str, Any]
_MODULE = 'tools.peers.process'
# These change the default of PyTorch and have no effect on OpenVINO.
_NOT_INHERITED = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
# PyTorch compiles for minutes, and a large encoder is slow.
LOAD_LIMIT_S = 900.0
ANSWER_LIMIT_S = 300.0
# The idle threads of PyTorch and ONNX Runtime spin for a while before they sleep.
PAUSE_S = 0.5
_WARM_UP_IMAGES = 2
_LONGEST_SENTENCE = 300


class PeerProcess:
    """
    A worker process; an error in it is part of the answer of ``ask`` and never raised.

    ``close`` ends the worker and its children and may be called again. Ctrl-C in the terminal does
    not reach the worker: it ends with ``close`` or with this process.
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
        """Send a command and return its answer, with ``error`` if it failed or came too late."""
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
        """Kill the worker and its children; idempotent."""
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
        output = [line.strip() for line in lines if line.strip()]
        return f' with status {status}{": " + output[-1] if output else ""}'

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)


@dataclass(frozen=True)
class PeerUsage:
    """
    Threads of a peer, and the peak of its resident memory in MiB.

    ``start_mib`` of it belong to the interpreter with numpy and OpenCV.
    """

    threads: int
    peak_mib: float
    start_mib: float


class RunningPeer:
    """
    One peer and its worker; ``failure`` is the reason why it is excluded, empty if it is not.

    ``close`` ends the worker in any state.
    """

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self.failure = ''
        self.precision = ''
        self.latencies_ms: list[float] = []
        self.process = PeerProcess(folder / f'{peer.name}.log')
        self._folder = folder

    def load(self, sizes: Sizes, images: Path) -> None:
        """Load the file of the peer and the images, a .npy, and warm up."""
        answer = self._ask(LOAD_LIMIT_S, 'load', kind=self.peer.kind, file=str(self.peer.file),
                           precision=self.peer.precision, input_size=sizes.input_size,
                           images=str(images), network_hw=sizes.network_hw)
        self.precision = answer.get('precision', '')

    def turn(self, seconds: float) -> float:
        """Measure one round and pause; return images/s, NaN if the peer is excluded."""
        limit_s = ANSWER_LIMIT_S + seconds
        rate = self._ask(limit_s, 'throughput', seconds=seconds).get('rate', math.nan)
        self.latencies_ms += self._ask(limit_s, 'latency', seconds=seconds).get('latency_ms', [])
        if not self.failure:
            time.sleep(PAUSE_S)
        return float('nan') if self.failure else float(rate)

    def usage(self) -> PeerUsage | None:
        """Return what it took, None if it is out."""
        answer = self._ask(ANSWER_LIMIT_S, 'usage')
        return None if self.failure else PeerUsage(**answer)

    def depth(self) -> F32 | None:
        """Return the depth of all images [N, H, W], None if the peer is excluded."""
        file = self._folder / f'{self.peer.name}.npy'
        self._ask(ANSWER_LIMIT_S, 'depth', file=str(file))
        if self.failure:
            return None
        depth: F32 = np.load(file)
        return depth

    def fail(self, reason: str) -> None:
        """Exclude the peer from now on."""
        self.failure = reason
        self.close()

    def close(self) -> None:
        """End the worker."""
        self.process.close()

    def _ask(self, limit_s: float, command: str, **arguments: Any) -> Mapping[str, Any]:
        if self.failure:
            return {}
        answer = self.process.ask(limit_s, command, **arguments)
        if 'error' in answer:
            self.fail(str(answer['error']))
            return {}
        return answer


class Session:
    """The state of a worker: the loaded peer and the images."""

    def __init__(self) -> None:
        self._start_mib = peak_memory_mib()
        self._images: list[U8] = []
        self._peer: LoadedPeer | None = None

    def make(self, checkpoint: str, info: dict[str, str], folder: str, network_hw: list[int],
             last: str) -> Answer:
        """Write the files that peers start from; ``info`` has the strings of the rt_info."""
        make_files(Path(checkpoint), ModelInfo.from_strings(info), Path(folder),
                   (network_hw[0], network_hw[1]), last)
        return {}

    def load(self, kind: str, file: str, precision: ExecutionPrecision, input_size: int,
             images: str, network_hw: list[int]) -> Answer:
        """Load the peer and the images, a .npy of 8-bit BGR [N, H, W, 3], and warm up."""
        self._images = list(np.load(images))
        height, width = self._images[0].shape[:2]
        self._peer = load_peer(kind, PeerTask(Path(file), precision, input_size, (height, width),
                                              (network_hw[0], network_hw[1])))
        for _ in range(_WARM_UP_IMAGES):
            self._peer.compute(self._images[0])
        return {'precision': self._peer.precision}

    def throughput(self, seconds: float) -> Answer:
        """Return images per second."""
        peer = self._after_one_image()
        return {'rate': peer.rate(self._images, seconds)}

    def latency(self, seconds: float) -> Answer:
        """Return the time from pixels to depth of one image after the other."""
        peer, found = self._after_one_image(), []
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
        peer = self._after_one_image()
        np.save(file, np.stack([peer.compute(image).copy() for image in self._images]))
        return {}

    def usage(self) -> Answer:
        """Return peak memory, that of the interpreter before, and the number of threads."""
        return {'peak_mib': peak_memory_mib(), 'start_mib': self._start_mib,
                'threads': self._after_one_image().threads()}

    def _after_one_image(self) -> LoadedPeer:
        """Return the peer after one image, which warms caches and threads up again."""
        if self._peer is None:
            raise ValueError('no peer was opened')
        self._peer.compute(self._images[0])
        return self._peer


def peak_memory_mib() -> float:
    """
    Return the peak of the resident memory of this program.

    ``getrusage`` would include the memory of the parent at the time of the fork.
    """
    return memory_mib(os.getpid(), 'VmHWM')


def main() -> int:
    """Answer commands until the end of stdin."""
    session = Session()
    commands: Mapping[str, Callable[..., Answer]] = {
        'make': session.make, 'load': session.load, 'throughput': session.throughput,
        'latency': session.latency, 'depth': session.depth, 'usage': session.usage}
    with os.fdopen(os.dup(sys.stdout.fileno()), 'w', encoding='utf-8') as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for line in sys.stdin:
            arguments = json.loads(line)
            answer = _answer(commands[arguments.pop('command')], arguments)
            print(json.dumps(answer), file=answers, flush=True)
    return 0


def _answer(command: Callable[..., Answer], arguments: Mapping[str, Any]) -> Answer:
    try:
        return command(**arguments)
    except Exception as error:  # noqa: B902 - any library error; the other peers still run
        return {'error': _sentence(error)}


def _sentence(error: Exception) -> str:
    if isinstance(error, DepthAnythingError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sentence = f'{type(error).__name__}: {lines[0] if lines else "no reason given"}'
    return sentence[:_LONGEST_SENTENCE]


if __name__ == '__main__':
    sys.exit(main())
