"""
Command line: ``depth_anything_distill TEACHER DATA... -o NAME.xml``.

``depth_anything_distill metric START DATA... -o NAME.xml`` fine-tunes a model to metres.

On several processes: ``torchrun --nproc-per-node 4 -m depth_anything_ros.distill.main ...``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import examples, run_app
from depth_anything_ros.distill import PROGRAM
from depth_anything_ros.distill.processes import find_processes
from depth_anything_ros.networks.models import EncoderSpec, MODELS

if TYPE_CHECKING:
    import typer

# A teacher in a folder of this name is ./metric.
_METRIC = 'metric'


def main(argv: Sequence[str] | None = None, table: tuple[EncoderSpec, ...] = MODELS) -> int:
    """Run the program and return the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    program, make_app = PROGRAM, _application
    if arguments[:1] == [_METRIC]:
        arguments, make_app = arguments[1:], _metric_application
        program = replace(program, name=f'{program.name} {_METRIC}')
    processes = find_processes()
    with processes.one_voice():
        return run_app(replace(program, print_error=processes.complain), make_app, arguments,
                       (table, processes))


def _application() -> 'typer.Typer':
    from depth_anything_ros.distill.command import command, EXAMPLES
    return _single(command, EXAMPLES)


def _metric_application() -> 'typer.Typer':
    from depth_anything_ros.distill.metric.command import command, EXAMPLES
    return _single(command, EXAMPLES)


def _single(command: Callable[..., None], lines: str) -> 'typer.Typer':
    import typer
    application = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
        context_settings={'max_content_width': 99})
    application.command(epilog=examples(lines), no_args_is_help=True)(command)
    return application


if __name__ == '__main__':
    sys.exit(main())
