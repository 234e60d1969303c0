"""The shell of every console script: missing packages, signals, errors, exit status."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import functools
import importlib.util
import math
import sys
from typing import Any, TYPE_CHECKING

from depth_anything_ros.cli.signals import insistent_signals, INTERRUPTED
from depth_anything_ros.errors import DepthAnythingError, INSTALL_TOOLS, MissingDependencyError
from depth_anything_ros.foreign_files import printable

if TYPE_CHECKING:
    import typer

FAILED = 1


def complain(sentence: object) -> None:
    """Print one line ``error: ...`` on stderr."""
    print(f'error: {" ".join(printable(sentence).split())}', file=sys.stderr)


@dataclass(frozen=True)
class Program:
    """
    A console script.

    ``install`` is the command that installs the optional packages it needs, ``after_interrupt``
    the state of its output files after Ctrl-C, for the message. ``print_error`` prints that of an
    expected error.
    """

    name: str
    install: str = INSTALL_TOOLS
    after_interrupt: str = 'nothing was written'
    print_error: Callable[[object], None] = complain


def run_program(program: Program, main: Callable[[], object]) -> int:
    """
    Call ``main`` and return the exit status.

    That is 0, 1 for bad input or a missing package, 2 for wrong usage, 130 after Ctrl-C, 143
    after SIGTERM and 129 after SIGHUP. An expected error becomes one line on stderr, others keep
    their traceback.
    """
    try:
        with _one_line_errors(program):
            main()
    except BrokenPipeError:
        return FAILED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED if end.code else 0
    return 0


def run_app(program: Program, make_app: 'Callable[[], typer.Typer]',
            argv: Sequence[str] | None = None, context_object: object = None) -> int:
    """
    Run the Typer app that ``make_app`` returns and return the exit status of ``run_program``.

    ``make_app`` imports typer itself, so that a missing package is one line. ``argv`` None stands
    for the command line; commands find ``context_object`` as ``typer.Context.obj``.
    """
    def main() -> None:
        app = make_app()
        import rich  # noqa: F401 - named when it is missing now, not after hours of work
        import typer
        command = typer.main.get_command(app)
        for one in (command, *getattr(command, 'commands', {}).values()):
            _guard(program, one)
        command.main(None if argv is None else list(argv), prog_name=program.name,
                     obj=context_object)

    return run_program(program, main)


def require_packages(program: Program, *packages: str, install: str = '') -> None:
    """
    Raise MissingDependencyError for the first package that is not installed.

    ``install`` is the command that installs them, that of the program if it is empty.
    """
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(name, program.name, install or program.install)


def require_positive(parser: argparse.ArgumentParser, options: argparse.Namespace,
                     *names: str) -> None:
    """End with status 2 unless these options are finite and above 0, or None."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f'--{name} is {value:g}; it must be above 0')


def examples(lines: str) -> str:
    """Return the examples for the end of a help text, one a line."""
    return '\b\nExamples:\n' + '\n'.join(f'  {line}' for line in lines.splitlines())


def _guard(program: Program, command: Any) -> None:
    """Handle errors inside the command: click prints an empty line for each Ctrl-C it sees."""
    callback = command.callback
    if callback is None:
        return

    @functools.wraps(callback)
    def guarded(*args: Any, **options: Any) -> None:
        with _one_line_errors(program):
            callback(*args, **options)

    command.callback = guarded


@contextmanager
def _one_line_errors(program: Program) -> Iterator[None]:
    """Print an expected error as one line and raise SystemExit with its status."""
    try:
        with insistent_signals():
            yield
    except BrokenPipeError:
        # The reader of a pipe, such as head, has ended; click ends the program without a message.
        raise
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition('.')[0]
        program.print_error(MissingDependencyError(package, program.name, program.install))
        raise SystemExit(FAILED) from error
    except (DepthAnythingError, OSError) as error:
        program.print_error(error)
        raise SystemExit(FAILED) from error
    except KeyboardInterrupt as error:
        program.print_error(f'interrupted; {program.after_interrupt}')
        raise SystemExit(INTERRUPTED) from error
