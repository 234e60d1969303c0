"""The executable ``depth_anything_evaluate``: scores of models, as tables, JSON and a picture."""

from collections.abc import Sequence
import signal
import sys

from depth_anything_ros.errors import MissingDependencyError, was_interrupted
from depth_anything_ros.tools.running.signals import INTERRUPTED, terminate

PROGRAM = 'depth_anything_evaluate'


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    try:
        from depth_anything_ros.tools.evaluation.commands import app
    except ModuleNotFoundError as error:
        missing = MissingDependencyError((error.name or 'typer').partition('.')[0], PROGRAM,
                                         "pip install 'depth_anything_ros[tools]'")
        print(f'error: {missing}', file=sys.stderr)
        return 1
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        app(None if argv is None else list(argv), prog_name=PROGRAM)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except ImportError as error:
        if not was_interrupted(error):
            raise
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


if __name__ == '__main__':
    sys.exit(main())
