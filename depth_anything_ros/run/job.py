"""One call of ``depth_anything_run``: open, load, compute, report."""

from contextlib import closing
import sys

from depth_anything_ros.cli.progress import progress
from depth_anything_ros.cli.signals import Stop, stopped_by_signals
from depth_anything_ros.errors import ModelError
from depth_anything_ros.files import make_folder
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.parameters import Settings
from depth_anything_ros.run.options import RunOptions
from depth_anything_ros.run.outputs import open_output
from depth_anything_ros.run.pipeline import run_images, RunSummary
from depth_anything_ros.run.tasks import first_size_hw, in_order_of_size, make_tasks, Task
from rich.console import Console

_TIMEOUT_S = 600.0
_MODEL_INPUT_SIZE = 518


def run(options: RunOptions) -> int:
    """
    Compute everything and return the exit status: 1 if an image failed, 130 after Ctrl-C.

    DepthAnythingError and OSError say why nothing, or not the rest, could be done.
    """
    settings = Settings(model=str(options.model), device=options.device,
                        precision=options.precision, requests=options.requests,
                        input_size=options.input_size)
    tasks = make_tasks(options)
    make_folder(options.outdir)
    console = Console(stderr=True)
    status = 0
    with closing(_start_engine(options, settings.devices, tasks[0], console)) as engine:
        for task in tasks:
            with stopped_by_signals() as stop:
                summary = _run_task(engine, task, options, stop, console)
            status = stop.exit_status or max(status, int(bool(summary.failed)))
            if stop.exit_status:
                break
    return status


def _start_engine(options: RunOptions, devices: tuple[str, ...], task: Task,
                  console: Console) -> Engine:
    image_hw = first_size_hw(task, options.input_size or _MODEL_INPUT_SIZE)
    engine = Engine(options.model, EngineOptions(
        devices=devices, precision=options.precision, requests=options.requests,
        timeout_s=_TIMEOUT_S, input_size=options.input_size, hint='THROUGHPUT',
        image_hw=image_hw or EngineOptions.image_hw),
        log=lambda line: console.print(line, markup=False, highlight=False))
    if options.encoder not in (None, engine.info.encoder):
        engine.close()
        raise ModelError(options.model, f'its encoder is {engine.info.encoder}, not '
                         f'{options.encoder}', 'take another model or leave --encoder out')
    return engine


def _run_task(engine: Engine, task: Task, options: RunOptions, stop: Stop,
              console: Console) -> RunSummary:
    items = task.items
    if task.source.kind == 'images':
        items = in_order_of_size(items, engine.info, engine.input_size)

    def complete() -> bool:
        return options.frames is None and not stop.event.is_set()

    with open_output(task, options, engine.info.kind, complete) as output, \
            progress(console, task.count) as advance:
        summary = run_images(engine, items, output.write, writers=output.writers,
                             stop=stop.event, on_progress=advance)
    _report(summary, output.place, bool(stop.exit_status))
    return summary


def _report(summary: RunSummary, place: str, interrupted: bool) -> None:
    for failure in summary.failed:
        named = f'{failure.name}: ' if failure.name else ''
        print(f'error: {named}{failure.reason}', file=sys.stderr)
    written = f'written to {place}' if summary.done else 'nothing written'
    failed = f', {len(summary.failed)} failed' if summary.failed else ''
    print(f'{"interrupted: " if interrupted else ""}{summary.done} images in '
          f'{summary.seconds:.1f} s ({summary.rate:.2f}/s){failed}, {written}')
