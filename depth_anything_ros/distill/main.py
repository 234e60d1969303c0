"""
Command line: ``depth_anything_distill TEACHER DATA... -o NAME.xml``.

On several processes: ``torchrun --nproc-per-node 4 -m depth_anything_ros.distill.main ...``.
"""

from collections.abc import Sequence
from dataclasses import replace
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import examples, run_app
from depth_anything_ros.distill import PROGRAM
from depth_anything_ros.distill.processes import find_processes
from depth_anything_ros.networks.models import EncoderSpec, MODELS

if TYPE_CHECKING:
    import typer


def main(argv: Sequence[str] | None = None, table: tuple[EncoderSpec, ...] = MODELS) -> int:
    """Run the program and return the exit status."""
    processes = find_processes()
    with processes.one_voice():
        return run_app(replace(PROGRAM, print_error=processes.complain), _application, argv,
                       (table, processes))


def _application() -> 'typer.Typer':
    from depth_anything_ros.distill.command import command, EXAMPLES
    import typer
    application = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
        context_settings={'max_content_width': 99})
    application.command(epilog=examples(EXAMPLES), no_args_is_help=True)(command)
    return application


if __name__ == '__main__':
    sys.exit(main())
