"""Command line: ``depth_anything_distill TEACHER DATA... -o NAME.xml``."""

from collections.abc import Sequence
import sys

from depth_anything_ros.cli.program import examples, guarded, run_program
from depth_anything_ros.distill import PROGRAM
from depth_anything_ros.networks.models import MODELS, ModelSpec


def main(argv: Sequence[str] | None = None,
         table: tuple[ModelSpec, ...] = MODELS) -> int:
    """Run the program and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return run_program(PROGRAM, lambda: _run(arguments, table))


def _run(arguments: list[str], table: tuple[ModelSpec, ...]) -> None:
    from depth_anything_ros.distill.command import command, EXAMPLES
    import typer
    application = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
        context_settings={'max_content_width': 99})
    application.command(epilog=examples(EXAMPLES), no_args_is_help=True)(
        guarded(PROGRAM, command))
    typer.main.get_command(application).main(
        args=arguments, prog_name=PROGRAM.name, obj=table)


if __name__ == '__main__':
    sys.exit(main())
