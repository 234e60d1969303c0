"""Command line: ``depth_anything_convert SUBCOMMAND``; without one, ``convert`` is meant."""

from collections.abc import Callable, Sequence
import difflib
import functools
import importlib
import importlib.util
from pathlib import Path
import signal
import sys
from types import FrameType
from typing import Any, TYPE_CHECKING

from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.errors import (
    DepthAnythingError, MissingDependencyError, was_interrupted)

if TYPE_CHECKING:
    import typer

PROGRAM = 'depth_anything_convert'
_COMMANDS = ('download', 'export', 'convert', 'quantize', 'inspect', 'verify')
_MODULES = 'depth_anything_ros.convert.commands'
_HELP = 'Depth Anything for OpenVINO: fetch a checkpoint, convert it, prove the result.'
_INSTALL = "pip install 'depth_anything_ros[convert]'"
_FAILED, _INTERRUPTED, _TERMINATED = 1, 130, 143


def main(argv: Sequence[str] | None = None,
         table: tuple[EncoderSpec, ...] = ENCODERS) -> int:
    """Run one subcommand and return the exit status."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = list(sys.argv[1:] if argv is None else argv)
        return _run(_with_subcommand(arguments), table)
    except ModuleNotFoundError as error:
        return _complain(_missing(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _FAILED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(arguments: list[str], table: tuple[EncoderSpec, ...]) -> int:
    import typer
    command = typer.main.get_command(_application())
    command.main(args=arguments, prog_name=PROGRAM, obj=table)
    return 0


def _application() -> 'typer.Typer':
    import typer
    application = typer.Typer(
        help=_HELP, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
        rich_markup_mode=None, context_settings={'max_content_width': 99})
    for name in _commands():
        module = importlib.import_module(f'{_MODULES}.{name}')
        application.command(name, epilog=_examples(module.EXAMPLES))(_guarded(module.command))
    return application


def _examples(lines: str) -> str:
    """Return an epilog whose lines are left as they are."""
    return '\b\nExamples:\n' + '\n'.join(f'  {line}' for line in lines.splitlines())


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


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with every expected error turned into one line and an exit status."""
    @functools.wraps(command)
    def guarded(*args: Any, **options: Any) -> None:
        import typer
        try:
            command(*args, **options)
        except BrokenPipeError:
            raise
        except ModuleNotFoundError as error:
            raise typer.Exit(_complain(_missing(error))) from error
        except (DepthAnythingError, OSError) as error:
            raise typer.Exit(_complain(error)) from error
        except (KeyboardInterrupt, ImportError) as error:
            if not was_interrupted(error):
                raise
            print('error: interrupted; nothing half-written has the name of an output',
                  file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from error

    return guarded


def _missing(error: ModuleNotFoundError) -> MissingDependencyError:
    package = (error.name or str(error)).split('.')[0]
    return MissingDependencyError(package, PROGRAM, _INSTALL)


def _complain(error: Exception) -> int:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return _FAILED


def _terminate(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that temporary files are removed."""
    raise SystemExit(_TERMINATED)


if __name__ == '__main__':
    sys.exit(main())
