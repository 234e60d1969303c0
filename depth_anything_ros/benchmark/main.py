"""The program ``depth_anything_benchmark``: how fast depth is computed on this machine."""

from collections.abc import Sequence
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, run_app

if TYPE_CHECKING:
    import typer

PROGRAM = Program('depth_anything_benchmark')


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app(PROGRAM, _app, argv)


def _app() -> 'typer.Typer':
    from depth_anything_ros.benchmark.commands import app
    return app


if __name__ == '__main__':
    sys.exit(main())
