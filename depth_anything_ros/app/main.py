"""The program ``depth_anything_app``: the entry point, which needs no typer to be imported."""

from collections.abc import Sequence
import sys
from typing import TYPE_CHECKING

from depth_anything_ros.cli.program import Program, require_packages, run_app
from depth_anything_ros.errors import INSTALL_APP

if TYPE_CHECKING:
    import typer

PROGRAM = Program('depth_anything_app', install=INSTALL_APP, after_interrupt='no file was kept')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return the exit status: 128 + the signal after one."""
    return run_app(PROGRAM, _app, argv)


def _app() -> 'typer.Typer':
    from depth_anything_ros.app.command import make_app
    require_packages(PROGRAM, 'gradio')
    return make_app()


if __name__ == '__main__':
    sys.exit(main())
