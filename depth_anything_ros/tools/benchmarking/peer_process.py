"""A worker process as the benchmark sees it: questions, answers, and an end in any case."""

from contextlib import suppress
import json
import os
from pathlib import Path
from queue import Empty, SimpleQueue
import signal
import subprocess
import sys
import threading
from typing import Any

from depth_anything_ros.tools.benchmarking.peer_worker import Answer

_MODULE = 'depth_anything_ros.tools.benchmarking.peer_worker'
# With these set, PyTorch would not take its own default, and OpenVINO takes no notice of them.
_NOT_INHERITED = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')


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
