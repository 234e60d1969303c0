"""Command line: ``depth_anything_convert SUBCOMMAND``; without one, ``convert`` is meant."""

from collections.abc import Sequence
import difflib
import importlib
import importlib.util
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.convert.program import examples, guarded, Program, run_program

if TYPE_CHECKING:
    import typer

PROGRAM = Program('depth_anything_convert', "pip install 'depth_anything_ros[convert]'",
                  'nothing half-written has the name of an output')
_COMMANDS = ('download', 'export', 'convert', 'quantize', 'inspect', 'verify')
_MODULES = 'depth_anything_ros.convert.commands'
_HELP = 'Depth Anything for OpenVINO: fetch a checkpoint, convert it, prove the result.'


def main(argv: Sequence[str] | None = None,
         table: tuple[EncoderSpec, ...] = ENCODERS) -> int:
    """Run one subcommand and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program(PROGRAM, lambda: _run(_with_subcommand(arguments), table))


def _run(arguments: list[str], table: tuple[EncoderSpec, ...]) -> None:
    import typer
    command = typer.main.get_command(_application())
    command.main(args=arguments, prog_name=PROGRAM.name, obj=table)


def _application() -> 'typer.Typer':
    import typer
    application = typer.Typer(
        help=_HELP, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
        rich_markup_mode=None, context_settings={'max_content_width': 99})
    for name in _commands():
        module = importlib.import_module(f'{_MODULES}.{name}')
        application.command(name, epilog=examples(module.EXAMPLES))(
            guarded(PROGRAM, module.command))
    return application


def _commands() -> list[str]:
    return [name for name in _COMMANDS if importlib.util.find_spec(f'{_MODULES}.{name}')]


def _with_subcommand(arguments: list[str]) -> list[str]:
    """Take a first argument that is no subcommand, nor nearly one, for the source of convert."""
    if not arguments or arguments[0] in (*_commands(), '--help'):
        return arguments
    first = arguments[0]
    if not Path(first).exists() and difflib.get_close_matches(first, _commands()):
        return arguments
    return ['convert', *arguments]


if __name__ == '__main__':
    sys.exit(main())
