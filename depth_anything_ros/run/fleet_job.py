"""One run of ``depth_anything_run`` on a Ray cluster: send what is missing, count, report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
import sys
import time
from typing import Any

from depth_anything_ros.cli.program import complain
from depth_anything_ros.cli.progress import counting, open_console
from depth_anything_ros.cli.signals import deferred_signals, StopRequest
from depth_anything_ros.fleet import storage
from depth_anything_ros.fleet.cluster import connected, FleetOptions
from depth_anything_ros.fleet.dispatch import Listener, Lost, opened_fleet, Unit
from depth_anything_ros.foreign_files import printable
from depth_anything_ros.inference.ir import read_ir_files
from depth_anything_ros.media.folders import left_out_text
from depth_anything_ros.run.fleet_files import (
    facts_of, find_files, find_missing, Missing, open_places)
from depth_anything_ros.run.fleet_worker import OpenRunWorker, Picture, Places, Recording
from depth_anything_ros.run.job import checked_info
from depth_anything_ros.run.pipeline import Failure, RunSummary
from depth_anything_ros.run.tasks import RunOptions


@dataclass
class _Results:
    """What the workers have done; ``files`` counts the finished ones, with those of before."""

    files: int
    images: int = 0
    machines: int = 0
    failed: list[Failure] = field(default_factory=list)

    def add(self, unit: Unit, result: Any) -> None:
        """Count the result of a unit."""
        self.files += 1
        if isinstance(result, Lost):
            self.failed.append(Failure(unit.name, result.reason))
        elif isinstance(result, RunSummary):
            self.images += result.done
            self.failed += [Failure(unit.name if failure.name else '', str(failure))
                            for failure in result.failed]
        elif isinstance(result, Failure):
            self.failed.append(result)
        else:
            self.images += 1


def run_on_fleet(options: RunOptions, outdir: str, fleet: FleetOptions) -> int:
    """
    Compute the depth of all files by the workers of a cluster and return the exit status.

    ``options.source`` and ``outdir`` are paths or URLs. Results that an earlier run with the same
    options has completed stay. Status and errors are those of ``job.run``; FleetError if the
    cluster cannot do the work.
    """
    outdir = storage.plain(outdir)
    options = replace(options, source=storage.plain(options.source), outdir=Path(outdir))
    info = checked_info(options)
    files = read_ir_files(options.model)
    work = find_files(options, outdir, info)
    places, facts = open_places(options, outdir), facts_of(options, files.digest)
    missing = find_missing(work, places, options, facts)
    results = _Results(len(work.files) - len(missing.files))
    start_s = time.monotonic()
    stop = StopRequest()
    if missing.files:
        with storage.witnessed(outdir) as witness:
            opened = OpenRunWorker(options, files, work.image_hw, places, witness)
            stop = _compute(missing, len(work.files), opened, fleet, results, facts)
    _report(results, missing, places, stop, time.monotonic() - start_s)
    if work.left_out:
        print(left_out_text(work.left_out), file=sys.stderr)
    return stop.exit_status or int(bool(results.failed))


def _compute(missing: Missing, count: int, opened: OpenRunWorker, options: FleetOptions,
             results: _Results, facts: bytes) -> StopRequest:
    """Send the missing files of ``count`` to the workers and add up what they return."""
    has_recordings = any(isinstance(file, Recording) for file in missing.files)
    total = None if has_recordings else count
    try:
        with connected(options.address) as ray, deferred_signals() as stop, \
                opened_fleet(ray, options, opened) as fleet, \
                counting(open_console(stderr=True))(
                    'images', total, missing.images_before) as advance:

            def on_image() -> None:
                advance(f'{results.files} of {count} files' if has_recordings else '')

            if not missing.continues:
                storage.write(opened.places.facts, facts)
            fleet.run(_units(missing.files), Listener(results.add, on_image, _warn), stop.event)
            results.machines = fleet.machines_used
            return stop
    finally:
        storage.remove(opened.places.stage)


def _units(files: Sequence[Picture | Recording]) -> list[Unit]:
    return [Unit(file.name, file) if isinstance(file, Picture)
            else Unit(file.place, file, alone=True) for file in files]


def _report(results: _Results, missing: Missing, places: Places, stop: StopRequest,
            seconds: float) -> None:
    for failure in sorted(results.failed, key=lambda failure: failure.name):
        complain(failure)
    parts = [f'{results.images} images in {seconds:.1f} s '
             f'({results.images / max(seconds, 1e-9):.2f}/s)']
    if results.machines:
        parts.append(f'machines: {results.machines}')
    if missing.images_before:
        parts.append(f'{missing.images_before} done before')
    if results.failed:
        parts.append(f'{len(results.failed)} failed')
    written = results.images or missing.images_before
    parts.append(f'written to {printable(places.outdir)}' if written else 'nothing written')
    if stop.is_set():
        parts.append('run the same command again to continue')
    print(f'{"interrupted: " if stop.is_set() else ""}{", ".join(parts)}')


def _warn(line: str) -> None:
    print(f'warning: {printable(line)}', file=sys.stderr)
