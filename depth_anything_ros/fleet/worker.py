"""What runs in a worker: a model that is opened once, and the files that the driver sends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
import os
import pickle
import threading
from typing import Any, Protocol

from depth_anything_ros.errors import DepthAnythingError, line_of

# How often a worker tells what it has done.
_REPORT_S = 0.5


@dataclass(frozen=True)
class Progress:
    """
    What a worker has done since it told last.

    ``images`` counts images, ``results`` are those of finished units by their position among the
    units sent. ``problem`` says why the worker gives the other units back, '' while it does not.
    """

    images: int = 0
    results: tuple[tuple[int, Any], ...] = ()
    problem: str = ''


@dataclass
class Reports:
    """Collects what a worker has done; ``image`` and ``result`` may be called from any thread."""

    _images: int = 0
    _results: list[tuple[int, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def image(self) -> None:
        """Count one more image."""
        with self._lock:
            self._images += 1

    def result(self, position: int, result: Any = None) -> None:
        """Take the result of a finished unit, None where nothing is to be told."""
        with self._lock:
            self._results.append((position, result))

    def collected(self) -> Progress:
        """Return and forget what was collected."""
        with self._lock:
            progress = Progress(self._images, tuple(self._results))
            self._images, self._results = 0, []
        return progress


class Worker(Protocol):
    """
    Works on units of files.

    An exception of ``run`` means that this machine cannot continue, for example because its
    storage is gone: other workers get the units without a result. The result of a unit that fails
    everywhere says so.
    """

    def run(self, units: Sequence[Any], reports: Reports, stop: threading.Event) -> None:
        """Work on all units; after ``stop`` finish what is in progress or give it up."""


# Opens the model on this machine; DepthAnythingError or OSError if this machine cannot run it. The
# first argument takes lines for the user, the second is the number of threads to use, 0: as many
# as the machine has cores. It is pickled, so it is a function of a module or an object.
OpenWorker = Callable[[Callable[[str], None], int], Worker]


def open_server(pickled: bytes, cpus: int) -> tuple[str, list[str], 'Server | None']:
    """
    Return (problem, notes, server) for a pickled OpenWorker and the CPUs of this worker.

    A machine that cannot do the work has a problem and no server.
    """
    notes: list[str] = []
    threads = cpus if cpus < (os.cpu_count() or 1) else 0
    try:
        open_worker: OpenWorker = pickle.loads(pickled)
        return '', notes, Server(open_worker(notes.append, threads))
    except ImportError as error:
        return f'it lacks the package {error.name or error}; install it there', notes, None
    except (DepthAnythingError, OSError) as error:
        return error_line(error), notes, None


class Server:
    """A worker whose progress is read while it works."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._stop = threading.Event()

    def run(self, units: Sequence[Any]) -> Iterator[Progress]:
        """Yield the progress of these units until all are done, or given back with a problem."""
        reports = Reports()
        problem = ''

        def work() -> None:
            nonlocal problem
            try:
                self._worker.run(units, reports, self._stop)
            except Exception as error:  # noqa: B902 - the driver decides what follows from it
                problem = error_line(error)

        thread = threading.Thread(target=work, name='units', daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_REPORT_S)
            progress = reports.collected()
            if progress.images or progress.results:
                yield progress
        progress = reports.collected()
        yield Progress(progress.images, progress.results, problem)

    def stop(self) -> None:
        """Let ``run`` end soon; from any thread."""
        self._stop.set()


def error_line(error: BaseException) -> str:
    """Return an error as one line, with its type where it is not one of this package."""
    text, kind = line_of(error), type(error).__name__
    is_own = isinstance(error, DepthAnythingError | OSError)
    return text if is_own or text == kind else f'{kind}: {text}'
