"""The program ``depth_anything_benchmark``: how fast depth is computed on this machine."""

from collections.abc import Sequence
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, run_app

if TYPE_CHECKING:
    import typer


def main(argv: Sequence[str] | None = None) -> int:
    """Run a mode and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app(Program('depth_anything_benchmark'), _make_app, argv)


def _make_app() -> 'typer.Typer':
    from depth_anything_ros.benchmark.commands import app
    return app


if __name__ == '__main__':
    sys.exit(main())
