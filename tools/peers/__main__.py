"""Compare the engine with other software: ``python -m tools.peers CHECKPOINT``."""

from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Annotated

from depth_anything_ros.benchmark.commands import Images, Rounds, run_mode, Seconds
from depth_anything_ros.benchmark.report import Log, Report
from depth_anything_ros.cli.options import InputSize, Picture
from depth_anything_ros.cli.program import Program, run_app
from depth_anything_ros.cli.reports import Json, Markdown, ReportFiles
from tools.peers import measure
from tools.peers.engines import OTHERS, OWN
import typer

COMMAND = 'python -m tools.peers'
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def peers(checkpoint: Annotated[Path, typer.Argument(
              metavar='CHECKPOINT', help='Weights for all peers, a .pth file.')],
          models: Annotated[list[Path] | None, typer.Argument(
              metavar='MODEL.xml', show_default=False,
              help='IRs of these weights; default: an fp16 IR, converted for this run.')] = None,
          peer: Annotated[list[str] | None, typer.Option(
              '--peer', metavar='NAME', show_default=False,
              help=f'A peer to measure: {", ".join((*OWN, *OTHERS))}; may be repeated; default: '
              'all that are installed.')] = None,
          images: Images = None, input_size: InputSize = 0, rounds: Rounds = 5,
          seconds: Seconds = 4.0, json: Json = None, markdown: Markdown = None,
          picture: Picture = None) -> None:
    """
    Compare the engine with other software on the same weights.

    PyTorch, ONNX Runtime and OpenVINO in a plain loop run the same weights at the same network
    size on the same images as the engine of the node. Measures throughput, latency, peak memory
    and the difference of the depth.
    """
    def work(log: Log) -> Report:
        return measure.measure_peers(measure.PeersOptions(
            checkpoint, tuple(models or ()), images, input_size, rounds, seconds,
            tuple(peer or ())), log)
    run_mode(COMMAND, work, ReportFiles(json, markdown, picture))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app(Program(COMMAND), lambda: app, argv)


if __name__ == '__main__':
    sys.exit(main())
