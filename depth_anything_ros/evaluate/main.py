"""The executable ``depth_anything_evaluate``: scores of models, as tables, JSON and a picture."""

from collections.abc import Sequence
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, run_app

if TYPE_CHECKING:
    import typer

PROGRAM = Program('depth_anything_evaluate')


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app(PROGRAM, _app, argv)


def _app() -> 'typer.Typer':
    from depth_anything_ros.evaluate.commands import app
    return app


if __name__ == '__main__':
    sys.exit(main())
