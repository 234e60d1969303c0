"""Compare the engine with other runtimes: ``python -m tools.peers CHECKPOINT``."""

from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Annotated

from depth_anything_ros.benchmark.commands import (
    Images, InputSize, Picture, Rounds, run_mode, Seconds)
from depth_anything_ros.benchmark.results import Report, Say
from depth_anything_ros.cli.program import run_app
from depth_anything_ros.cli.reports import Json, Markdown, ReportFiles
from tools.peers import measure
from tools.peers.choice import OTHERS, OWN
import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def peers(checkpoint: Annotated[Path, typer.Argument(
              metavar='CHECKPOINT', help='The weights that all of them run, a .pth file.')],
          models: Annotated[list[Path] | None, typer.Argument(
              metavar='MODEL.xml', show_default=False,
              help='IRs made of these weights; default: one in fp16, converted for this.')] = None,
          peer: Annotated[list[str] | None, typer.Option(
              '--peer', metavar='NAME', show_default=False,
              help=f'What to measure, of {", ".join((*OWN, *OTHERS))}; may be repeated; default: '
              'all that are installed.')] = None,
          images: Images = None, input_size: InputSize = 0, rounds: Rounds = 5,
          seconds: Seconds = 4.0, json: Json = None, markdown: Markdown = None,
          picture: Picture = None) -> None:
    """
    Compare with other runtimes on the same weights.

    PyTorch, ONNX Runtime and OpenVINO in a plain loop get the same weights, network size and
    images as the engine of the node: throughput, latency, peak memory.
    """
    def work(say: Say) -> Report:
        return measure.measure_peers(measure.PeersOptions(checkpoint, tuple(models or ()), images, input_size,
                                          rounds, seconds, tuple(peer or ())), say)
    run_mode(work, ReportFiles(json, markdown, picture), 'tools')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and return the exit status: 0, 1 for bad input, 2 for wrong usage."""
    return run_app('tools.peers', lambda: app, argv)


if __name__ == '__main__':
    sys.exit(main())
