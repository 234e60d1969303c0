"""Compare the layers with the peak of the machine: ``python -m tools.limit MODEL.xml``."""

from collections.abc import Sequence
import sys
from typing import Annotated

from depth_anything_ros.benchmark.commands import (
    InputSize, Model, Picture, PRECISIONS, Rounds, run_mode, size_from)
from depth_anything_ros.benchmark.results import Report, Say
from depth_anything_ros.cli.options import Precision
from depth_anything_ros.cli.program import run_app
from depth_anything_ros.cli.reports import Json, Markdown, ReportFiles
from tools.limit import measure
import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def limit(model: Model, input_size: InputSize = 0,
          precision: Annotated[Precision, typer.Option(
              metavar=PRECISIONS,
              help='Execution precision; auto lets the device choose.')] = Precision.auto,
          size: Annotated[str, typer.Option(
              '--size', metavar='WIDTHxHEIGHT', help='Size of the image.')] = '640x480',
          rounds: Rounds = 5, json: Json = None, markdown: Markdown = None,
          picture: Picture = None) -> None:
    """
    Compare the layers with the peak of the machine.

    For each group of layers: the time it takes and the arithmetic it does a second, as a share of
    what the largest matmuls reach here in the same precision.
    """
    image_hw = size_from(size)

    def work(say: Say) -> Report:
        return measure.measure_limit(measure.LimitOptions(model, input_size, precision.value, image_hw, rounds),
                             say)
    run_mode(work, ReportFiles(json, markdown, picture), 'tools')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app('tools.limit', lambda: app, argv)


if __name__ == '__main__':
    sys.exit(main())
