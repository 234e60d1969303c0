"""One run of ``depth_anything_run``: find the images, start the model, compute, report."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import complain
from depth_anything_ros.cli.progress import counting, open_console
from depth_anything_ros.cli.signals import deferred_signals, StopRequest
from depth_anything_ros.errors import ImageError, ModelError
from depth_anything_ros.files import make_folder
from depth_anything_ros.foreign_files import printable
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import IrFiles, read_model_info
from depth_anything_ros.media.folders import left_out_text
from depth_anything_ros.model_info import device_names, ModelInfo, Size
from depth_anything_ros.run.outputs import open_output
from depth_anything_ros.run.pipeline import run_images, RunSummary
from depth_anything_ros.run.tasks import (
    files_left_out, first_size_hw, make_tasks, ordered_items, RunOptions, Task)

if TYPE_CHECKING:
    from rich.console import Console

_TIMEOUT_S = 600.0


def run(options: RunOptions) -> int:
    """
    Compute the depth of all images and return the exit status.

    That is 1 if an image failed, 130 after Ctrl-C and 143 after SIGTERM. DepthAnythingError or
    OSError if the run cannot start or cannot continue.
    """
    tasks = make_tasks(options)
    make_folder(options.outdir)
    console = open_console(stderr=True)
    status = 0
    info = checked_info(options)
    messages: list[str] = []
    with closing(start_engine(
            options, options.model, first_size_hw(tasks[0], info, options.input_size),
            messages.append)) as engine:
        for message in messages:
            print(message, file=sys.stderr)
        for task in tasks:
            with deferred_signals() as stop:
                is_complete = _run_task(engine, task, options, stop, console)
            status = stop.exit_status or max(status, int(not is_complete))
            if stop.is_set():
                break
    if others := files_left_out(options.source, str(options.outdir)):
        print(left_out_text(others), file=sys.stderr)
    return status


def checked_info(options: RunOptions) -> ModelInfo:
    """
    Return the metadata of the model; ModelError if it cannot be used or has another encoder.

    A line on stderr names what a model that needs the focal length does not give here.
    """
    info = read_model_info(options.model)
    if options.encoder not in (None, info.encoder):
        raise ModelError(options.model, f'its encoder is {info.encoder}, not {options.encoder}',
                         'name another model or remove --encoder')
    if info.focal_px is not None and options.fov_deg is None:
        print(f'{info.source_name} has metres only for a known focal length, so inverse depth is '
              'written; for metres say the field of view of the camera with --fov',
              file=sys.stderr)
    return info


def start_engine(options: RunOptions, model: Path | IrFiles, image_hw: Size | None,
                 warn: Callable[[str], None], threads: int = 0) -> Engine:
    """
    Start the model, compiled for images of this size.

    ``warn`` gets a line for each device that cannot run it; ``threads`` as in EngineOptions.
    """
    return Engine(model, EngineOptions(
        devices=device_names(options.device), precision=options.precision,
        requests=options.requests, timeout_s=_TIMEOUT_S, input_size=options.input_size,
        hint='THROUGHPUT', threads=threads,
        image_hw=image_hw or EngineOptions.image_hw), warn=warn)


def _run_task(engine: Engine, task: Task, options: RunOptions, stop: StopRequest,
              console: 'Console') -> bool:
    """Return whether all images are written; one output that is impossible spares the others."""
    def complete() -> bool:
        return options.frames is None and not stop.is_set()

    try:
        with open_output(task, options, engine.info, complete) as output, \
                counting(console)('images', task.count, 0) as advance:
            summary = run_images(
                engine, ordered_items(task, engine.info, options.input_size), output.write,
                writers=output.writers, stop=stop.event, on_progress=advance)
    except ImageError as error:
        complain(error)
        return False
    summary = output.complete(summary)
    _report(summary, output.place, stop.is_set())
    return not summary.failed


def _report(summary: RunSummary, place: str, interrupted: bool) -> None:
    for failure in summary.failed:
        complain(failure)
    written = f'written to {printable(place)}' if summary.done else 'nothing written'
    failed = f', {len(summary.failed)} failed' if summary.failed else ''
    print(f'{"interrupted: " if interrupted else ""}{summary.done} images in '
          f'{summary.seconds:.1f} s ({summary.rate:.2f}/s){failed}, {written}')
