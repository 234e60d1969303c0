"""The program ``depth_anything_run``: the entry point, which needs no typer to be imported."""

from collections.abc import Sequence
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, run_app

if TYPE_CHECKING:
    import typer

PROGRAM = Program('depth_anything_run',
                  after_interrupt='each file in the output folder is complete')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return the exit status."""
    return run_app(PROGRAM, _app, argv)


def _app() -> 'typer.Typer':
    from depth_anything_ros.run.command import make_app
    return make_app()


if __name__ == '__main__':
    sys.exit(main())
