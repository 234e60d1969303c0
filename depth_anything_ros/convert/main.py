"""Command line: ``depth_anything_convert SUBCOMMAND``; the default is ``convert``."""

from collections.abc import Sequence
import difflib
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import examples, run_app
from depth_anything_ros.convert import PROGRAM
from depth_anything_ros.networks.models import EncoderSpec, MODELS

if TYPE_CHECKING:
    import typer

_COMMANDS = ('download', 'export', 'convert', 'quantize', 'inspect', 'verify')
_HELP = 'Depth Anything for OpenVINO: download a checkpoint, convert it, verify the result.'


def main(argv: Sequence[str] | None = None,
         table: tuple[EncoderSpec, ...] = MODELS) -> int:
    """Run one subcommand and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_app(PROGRAM, _application, _with_subcommand(arguments), table)


def _application() -> 'typer.Typer':
    from depth_anything_ros.convert.commands import (
        convert, download, export, inspect, quantize, verify)
    import typer
    application = typer.Typer(
        help=_HELP, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
        rich_markup_mode=None, context_settings={'max_content_width': 99})
    modules = (download, export, convert, quantize, inspect, verify)
    for name, module in zip(_COMMANDS, modules):
        application.command(name, epilog=examples(module.EXAMPLES))(module.command)
    return application


def _with_subcommand(arguments: list[str]) -> list[str]:
    """Add ``convert`` where the first argument is not a subcommand, not even a misspelt one."""
    if not arguments or arguments[0] in (*_COMMANDS, '--help'):
        return arguments
    first = arguments[0]
    if not Path(first).exists() and difflib.get_close_matches(first, _COMMANDS):
        return arguments
    return ['convert', *arguments]


if __name__ == '__main__':
    sys.exit(main())
