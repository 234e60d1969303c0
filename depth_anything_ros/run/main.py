"""Command line: ``depth_anything_run MODEL.xml --input X``."""

from collections.abc import Sequence
import signal
import sys

from depth_anything_ros.cli.signals import INTERRUPTED, terminate
from depth_anything_ros.errors import DepthAnythingError, MissingDependencyError, was_interrupted

PROGRAM = 'depth_anything_run'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return the exit status."""
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except (DepthAnythingError, OSError) as error:
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ImportError) as error:
        if not was_interrupted(error):
            raise
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(arguments: list[str]) -> int:
    try:
        import rich.progress  # noqa: F401
        import typer
    except ImportError as error:
        raise MissingDependencyError(error.name or 'typer', PROGRAM,
                                     "pip install 'depth_anything_ros[tools]'") from error
    from depth_anything_ros.run.command import make_app
    try:
        typer.main.get_command(make_app()).main(arguments, prog_name=PROGRAM)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
