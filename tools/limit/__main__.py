"""Compare the layers with the peak of the machine: ``python -m tools.limit MODEL.xml``."""

from collections.abc import Sequence
import sys
from typing import Annotated

from depth_anything_ros.benchmark.commands import Model, Rounds, run_mode, size_from
from depth_anything_ros.benchmark.report import Log, Report
from depth_anything_ros.cli.options import InputSize, Picture, Precision
from depth_anything_ros.cli.program import Program, run_app
from depth_anything_ros.cli.reports import Json, Markdown, ReportFiles
from tools.limit import measure
import typer

COMMAND = 'python -m tools.limit'
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def limit(model: Model, input_size: InputSize = 0, precision: Precision = 'auto',
          size: Annotated[str, typer.Option(
              '--size', metavar='WIDTHxHEIGHT', help='Size of the image.')] = '640x480',
          rounds: Rounds = 5, json: Json = None, markdown: Markdown = None,
          picture: Picture = None) -> None:
    """
    Compare the layers of the network with the peak of the machine.

    Prints for each group of layers its time and its FLOP per second, as a share of the rate that
    large matrix products reach on this machine in the same precision.
    """
    image_hw = size_from(size)

    def work(log: Log) -> Report:
        return measure.measure_limit(
            measure.LimitOptions(model, input_size, precision, image_hw, rounds), log)
    run_mode(COMMAND, work, ReportFiles(json, markdown, picture))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app(Program(COMMAND), lambda: app, argv)


if __name__ == '__main__':
    sys.exit(main())
