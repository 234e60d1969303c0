"""Decoding and labelling of the images of a distillation by the workers of a Ray cluster."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import threading
from typing import Any

from depth_anything_ros.cli.progress import Counting, Report
from depth_anything_ros.cli.signals import deferred_signals
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.distill.dataset import (
    DatasetImage, finished, images_of, LabelledImage, left_out_line, make_label,
    missing_labels, open_sources, Origin, report_source)
from depth_anything_ros.distill.job import DistillJob, Selection
from depth_anything_ros.distill.teacher import in_torch, Teacher
from depth_anything_ros.errors import FleetError, ImageError
from depth_anything_ros.fleet.cluster import connected, FleetOptions
from depth_anything_ros.fleet.dispatch import Listener, Lost, opened_fleet, Unit
from depth_anything_ros.fleet.storage import local_path, Witness, witnessed
from depth_anything_ros.fleet.worker import OpenWorker, Reports, Worker
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.networks.models import EncoderSpec


# What a worker decodes: all images of a recording, or one picture.
DecodeUnit = tuple[Origin, ImageSource | ImageItem]


def collect_on_fleet(job: DistillJob, folder: Path, report: Report, counting: Counting
                     ) -> list[DatasetImage]:
    """Return what ``dataset.collect`` returns, with the frames decoded by the workers."""
    sources = open_sources([str(_shared_path(name)) for name in job.data], job.selection.topic)
    groups = [_decode_units(source) for source in sources]
    found: dict[Unit, list[DatasetImage]] = {}

    def on_result(unit: Unit, result: tuple[list[DatasetImage], list[str]]) -> None:
        found[unit], lines = result
        for line in lines:
            report(line)

    units = [unit for group in groups for unit in group]
    with counting('images checked', sum(source.count or 0 for source in sources), 0) as advance:
        # A CPU decodes one recording at a time.
        _run(job, replace(_fleet(job), cpus=1, gpus=False), units,
             OpenDecoder(_shared_path(folder), job.selection),
             Listener(on_result, advance, _line(report)))
    images = []
    for source, group in zip(sources, groups):
        of_source = [image for unit in group for image in found[unit]]
        report_source(source, of_source, report)
        images += of_source
    return finished(images, job.data, report)


def label_on_fleet(job: DistillJob, images: Sequence[DatasetImage], teacher: Teacher, folder: Path,
                   table: tuple[EncoderSpec, ...], report: Report, counting: Counting
                   ) -> Mapping[DatasetImage, LabelledImage]:
    """Return what ``dataset.make_labels`` returns, with the labels made by the workers."""
    pairs, missing = missing_labels(images, teacher, _shared_path(folder))
    network = None
    if job.label_device != 'cpu' and not is_graph(job.teacher):
        network = load_network(job.teacher, job.overrides, table).network
    units = {Unit(image.name, pairs[image]): image for image in missing}

    def on_result(unit: Unit, reason: str) -> None:
        if reason:
            report(left_out_line(units[unit], reason))
            del pairs[units[unit]]

    with counting('labels', len(pairs), len(pairs) - len(missing)) as advance:
        _run(job, replace(_fleet(job), gpus=network is not None), list(units),
             OpenLabeller(teacher, network, job.label_device),
             Listener(on_result, advance, _line(report)))
    return pairs


@dataclass(frozen=True)
class OpenDecoder:
    """Opens a worker that writes frames and reduced photographs to ``folder``."""

    folder: Path
    selection: Selection

    def __call__(self, note: Callable[[str], None], threads: int) -> 'OpenDecoder':
        """Return the worker, which keeps nothing."""
        return self

    def run(self, units: Sequence[DecodeUnit], reports: Reports, stop: threading.Event) -> None:
        """Write the images of all units; the results are (images, lines about those left out)."""
        for position, (origin, found) in enumerate(units):
            if stop.is_set():
                return
            lines: list[str] = []
            items = [found] if isinstance(found, ImageItem) else found
            images = images_of(origin, items, self.folder, self.selection, lines.append,
                               lambda note: reports.image())
            reports.result(position, (images, lines))


@dataclass(frozen=True)
class OpenLabeller:
    """
    Opens a worker that labels images.

    ``teacher`` computes on the CPU. ``network`` is the same in PyTorch, for CUDA devices; None if
    the teacher has none or ``device`` is 'cpu'.
    """

    teacher: Teacher
    network: DepthAnything | None
    device: str

    def __call__(self, note: Callable[[str], None], threads: int) -> 'Labeller':
        """Return the worker; FleetError if this machine lacks the device."""
        import torch

        has_cuda = torch.cuda.is_available()
        if self.device == 'cuda' and not has_cuda:
            raise FleetError('PyTorch sees no CUDA device there; start Ray with its GPUs, or '
                             'leave out --device cuda')
        if self.network is None or not has_cuda:
            self.teacher.limit_threads(threads)
            return Labeller(self.teacher)
        return Labeller(replace(self.teacher, infer=in_torch(
            self.network, self.teacher.kind, 'cuda')))


class Labeller:
    """Labels images one after the other."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher

    def run(self, units: Sequence[LabelledImage], reports: Reports,
            stop: threading.Event) -> None:
        """Label all units; the result is '', or the reason why an image has no label."""
        for position, pair in enumerate(units):
            if stop.is_set():
                return
            reason = ''
            try:
                make_label(pair, self._teacher)
            except ImageError as error:
                reason = str(error)
            reports.image()
            reports.result(position, reason)


@dataclass(frozen=True)
class _Seeing:
    """Opens a worker on a machine that sees the work folder, and works only while it does."""

    witness: Witness
    inner: OpenWorker

    def __call__(self, note: Callable[[str], None], threads: int) -> '_SeeingWorker':
        self.witness.check()
        return _SeeingWorker(self.witness, self.inner(note, threads))


class _SeeingWorker:

    def __init__(self, witness: Witness, worker: Worker) -> None:
        self._witness, self._worker = witness, worker

    def run(self, units: Sequence[Any], reports: Reports, stop: threading.Event) -> None:
        self._witness.check()
        self._worker.run(units, reports, stop)


def _run(job: DistillJob, options: FleetOptions, units: Sequence[Unit], opened: OpenWorker,
         listener: Listener) -> None:
    """
    Let the workers do all units.

    FleetError names the first that no worker could finish, when all others are done.
    """
    if not units:
        return
    lost: list[str] = []

    def sort(unit: Unit, result: Any) -> None:
        if isinstance(result, Lost):
            lost.append(f'{unit.name}: {result.reason}')
        else:
            listener.on_result(unit, result)

    with witnessed(str(job.folder)) as witness, connected(options.address) as ray, \
            deferred_signals(deliver=True) as stop, \
            opened_fleet(ray, options, _Seeing(witness, opened)) as fleet:
        fleet.run(units, replace(listener, on_result=sort), stop.event)
    if lost:
        raise FleetError(f'{len(lost)} of {len(units)} files could not be finished, the first is '
                         f'{lost[0]}; the same command continues with them')


def _fleet(job: DistillJob) -> FleetOptions:
    assert job.fleet is not None
    return job.fleet


def _line(report: Report) -> Callable[[str], None]:
    return lambda line: report(f'      {line}')


def _decode_units(source: ImageSource) -> list[Unit]:
    origin = Origin.of(source)
    if source.kind == 'images':
        return [Unit(item.name, (origin, item)) for item in source]
    return [Unit(source.name, (origin, source), alone=True)]


def _shared_path(place: Path | str) -> Path:
    """Return an absolute path, which is the same on all machines; FleetError for a URL."""
    path = local_path(str(place))
    if path is None:
        raise FleetError(f'{place} is a URL, and a training needs files: mount it on all machines '
                         'or copy it to shared storage')
    return path
