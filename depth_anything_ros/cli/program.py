"""The shell of a console script: missing packages, signals, errors, exit status."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import functools
import importlib.util
import signal
import sys
from types import FrameType
from typing import Any, TYPE_CHECKING

from depth_anything_ros.cli.signals import INTERRUPTED, terminate
from depth_anything_ros.errors import DepthAnythingError, MissingDependencyError, was_interrupted

if TYPE_CHECKING:
    import typer

_FAILED, _INTERRUPTED, _TERMINATED = 1, 130, 143


@dataclass(frozen=True)
class Program:
    """A console script, the line that installs what it needs and what it says after Ctrl-C."""

    name: str
    install: str
    interrupted: str


def run_program(program: Program, main: Callable[[], object]) -> int:
    """
    Run ``main`` and return the exit status.

    That is 0, 1 for bad input or a missing package, 2 for wrong usage, 130 after Ctrl-C and 143
    after SIGTERM.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except ModuleNotFoundError as error:
        return _complain(_missing(program, error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _FAILED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def guarded(program: Program, command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with every expected error turned into one line and an exit status."""
    @functools.wraps(command)
    def guarded_command(*args: Any, **options: Any) -> None:
        import typer
        try:
            command(*args, **options)
        except BrokenPipeError:
            raise
        except ModuleNotFoundError as error:
            raise typer.Exit(_complain(_missing(program, error))) from error
        except (DepthAnythingError, OSError) as error:
            raise typer.Exit(_complain(error)) from error
        except (KeyboardInterrupt, ImportError) as error:
            if not was_interrupted(error):
                raise
            print(f'error: interrupted; {program.interrupted}', file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from error

    return guarded_command


def require_packages(program: Program, *packages: str) -> None:
    """Raise MissingDependencyError for the first package that is not installed."""
    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(name, program.name, program.install)


def examples(lines: str) -> str:
    """Return an epilog whose lines are left as they are."""
    return '\b\nExamples:\n' + '\n'.join(f'  {line}' for line in lines.splitlines())


def _missing(program: Program, error: ModuleNotFoundError) -> MissingDependencyError:
    package = (error.name or str(error)).split('.')[0]
    return MissingDependencyError(package, program.name, program.install)


def _complain(error: Exception) -> int:
    print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
    return _FAILED


def _terminate(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that temporary files are removed."""
    raise SystemExit(_TERMINATED)


def run_app(program: str, load: 'Callable[[], typer.Typer]',
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
