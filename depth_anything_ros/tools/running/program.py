"""The shell of a program with subcommands: missing packages, signals, errors, exit status."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import signal
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.errors import (
    DepthAnythingError, MissingDependencyError, was_interrupted)
from depth_anything_ros.tools.running.signals import INTERRUPTED, terminate

if TYPE_CHECKING:
    import typer


def run_program(program: str, load: 'Callable[[], typer.Typer]',
                argv: Sequence[str] | None = None) -> int:
    """
    Run the app that ``load`` imports and return the exit status.

    That is 0, 1 for bad input or a missing package, 2 for wrong usage, 130 after Ctrl-C and 143
    after SIGTERM.
    """
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        load()(None if argv is None else list(argv), prog_name=program)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except (KeyboardInterrupt, ImportError) as error:
        if was_interrupted(error):
            return INTERRUPTED
        if not isinstance(error, ModuleNotFoundError):
            raise
        complain(MissingDependencyError((error.name or 'typer').partition('.')[0], program,
                                        "pip install 'depth_anything_ros[tools]'"))
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Say what went wrong in one line and end with its status: 1, or 130 after Ctrl-C."""
    try:
        yield
    except (DepthAnythingError, OSError) as error:
        complain(error)
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        complain('interrupted, nothing was written')
        raise SystemExit(INTERRUPTED) from error


def complain(sentence: object) -> None:
    """Print one line ``error: ...`` on stderr."""
    print(f'error: {" ".join(str(sentence).split())}', file=sys.stderr)
