"""What a worker of a fleet does for ``depth_anything_run``: the depth of the files it is sent."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
import json
from pathlib import Path
import shutil
import tempfile
import threading
import time
from typing import Any

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import DepthAnythingError, FleetError
from depth_anything_ros.fleet import storage
from depth_anything_ros.fleet.worker import Reports
from depth_anything_ros.foreign_files import shortened
from depth_anything_ros.inference.ir import IrFiles
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.model_info import Size
from depth_anything_ros.run.job import start_engine
from depth_anything_ros.run.outputs import open_output
from depth_anything_ros.run.pipeline import Failure, run_images, RunSummary
from depth_anything_ros.run.tasks import make_task, RunOptions, Task
from depth_anything_ros.vision.color_image import ColorImage

# Pictures that are copied from an object store at the same time.
_READERS = 8
# The folder in --outdir with the state of a run.
STATE = '.depth_anything_run'


@dataclass(frozen=True)
class Picture:
    """A picture at ``place``; the result is ``target`` in the output folder."""

    name: str
    place: str
    target: str


@dataclass(frozen=True)
class Recording:
    """A video or bag at ``place``; ``stem`` begins the names of its results."""

    place: str
    stem: str


@dataclass(frozen=True)
class Places:
    """Where a fleet reads and writes; ``source`` is what the user named, None for a list."""

    source: str | None
    outdir: str

    @property
    def facts(self) -> str:
        """Return the place of the file with the options of the results."""
        return f'{self.outdir}/{STATE}/run.json'

    @property
    def done(self) -> str:
        """Return the folder with a file for each finished recording, which lists its results."""
        return f'{self.outdir}/{STATE}/done'

    @property
    def stage(self) -> str:
        """Return the folder for results that are not complete, where ``outdir`` is a path."""
        return f'{self.outdir}/{STATE}/stage'


def done_name(stem: str) -> str:
    """Return the name of the file that lists the results of a finished recording."""
    return f'{shortened(stem, ".json")}.json'


@dataclass(frozen=True)
class OpenRunWorker:
    """Opens a worker; ``files`` is the model, compiled for images of ``image_hw``."""

    options: RunOptions
    files: IrFiles
    image_hw: Size | None
    places: Places
    witness: storage.Witness

    def __call__(self, note: Callable[[str], None], threads: int) -> 'RunWorker':
        """Return the worker; DepthAnythingError or OSError if this machine cannot run it."""
        self.check()
        return RunWorker(self, note, threads)

    def check(self) -> None:
        """Raise FleetError or OSError unless this machine sees input and output."""
        self.witness.check()
        source = self.places.source
        if source is not None and not storage.exists(source):
            raise FleetError(f'it does not see {source}; mount the shared storage there')


class RunWorker:
    """Computes pictures in batches and recordings one by one."""

    def __init__(self, opened: OpenRunWorker, note: Callable[[str], None], threads: int) -> None:
        self._options, self._places, self._check = opened.options, opened.places, opened.check
        self._engine = start_engine(opened.options, opened.files, opened.image_hw, note,
                                    threads)

    def run(self, units: Sequence[Any], reports: Reports, stop: threading.Event) -> None:
        """Compute all units; OSError or FleetError where the storage is gone."""
        for position, unit in enumerate(units):
            if isinstance(unit, Recording) and not stop.is_set():
                reports.result(position, self._recording(unit, reports, stop))
        pictures = {position: unit for position, unit in enumerate(units)
                    if isinstance(unit, Picture)}
        if pictures:
            self._pictures(pictures, reports, stop)

    def _pictures(self, units: dict[int, Picture], reports: Reports,
                  stop: threading.Event) -> None:
        with self._stage() as stage, tempfile.TemporaryDirectory() as copies:
            items = _read_ahead(units, Path(copies))
            source = ImageSource('images', self._places.outdir, len(units), None, None,
                                 lambda: items)
            task = Task(source, items, len(units), None, {
                position: stage / unit.target for position, unit in units.items()}, '')

            def write(item: ImageItem, image: ColorImage, depth: F32) -> None:
                output.write(item, image, depth)
                target = units[item.index].target
                storage.publish(stage / target, f'{self._places.outdir}/{target}')
                reports.result(item.index)

            with open_output(task, self._options, self._engine.info,
                             lambda: True) as output:
                summary = run_images(self._engine, items, write, writers=output.writers,
                                     stop=stop, on_progress=reports.image)
        if summary.failed:
            self._check()
        positions = {unit.name: position for position, unit in units.items()}
        for failure in summary.failed:
            reports.result(positions[failure.name], failure)

    def _recording(self, unit: Recording, reports: Reports, stop: threading.Event) -> RunSummary:
        start_s = time.monotonic()
        with self._stage() as stage, tempfile.TemporaryDirectory() as copies:
            try:
                path = storage.fetch(unit.place, Path(copies))
                summary = self._compute(unit, path, stage, reports, stop)
            except DepthAnythingError as error:
                self._check()
                reason = str(error).replace(copies, unit.place.rpartition('/')[0])
                return RunSummary(0, (Failure('', reason),), time.monotonic() - start_s)
            results = sorted(path.name for path in stage.iterdir())
            for name in results:
                storage.publish(stage / name, f'{self._places.outdir}/{name}')
        if not summary.failed:
            storage.write(f'{self._places.done}/{done_name(unit.stem)}', json.dumps(
                {'images': summary.done, 'results': results}).encode())
            return summary
        self._check()
        return replace(summary, failed=tuple(
            replace(failure, reason=failure.reason.replace(
                copies, unit.place.rpartition('/')[0])) for failure in summary.failed))

    def _compute(self, unit: Recording, path: Path, stage: Path, reports: Reports,
                 stop: threading.Event) -> RunSummary:
        options = replace(self._options, outdir=stage, force=True)
        task = make_task(options, str(path), unit.stem)
        with open_output(task, options, self._engine.info,
                         lambda: options.frames is None) as output:
            summary = run_images(self._engine, task.items, output.write, writers=output.writers,
                                 stop=stop, on_progress=reports.image)
            if stop.is_set():
                # The next run computes the whole recording: a part of it is no result.
                raise InterruptedError('stopped')
        return output.complete(summary)

    @contextmanager
    def _stage(self) -> Iterator[Path]:
        """Yield an empty folder, on the disk of the results where they are on a path."""
        parent = storage.local_path(self._places.stage)
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _read_ahead(units: Mapping[int, Picture], copies: Path) -> Iterator[ImageItem]:
    """Yield the pictures; those of an object store are read before they are needed."""
    paths = {position: storage.local_path(unit.place) for position, unit in units.items()}
    with ThreadPoolExecutor(_READERS) as pool:
        ahead: deque[ImageItem] = deque()
        for position, unit in units.items():
            path = paths[position]
            if path is not None:
                ahead.append(ImageItem(unit.name, position, partial(read_picture, path)))
            else:
                copy = pool.submit(_read_copy, unit.place, copies)
                ahead.append(ImageItem(unit.name, position, copy.result))
            if len(ahead) == _READERS:
                yield ahead.popleft()
        yield from ahead


def _read_copy(place: str, copies: Path) -> ColorImage:
    with tempfile.TemporaryDirectory(dir=copies) as folder:
        return read_picture(storage.fetch(place, Path(folder)))
