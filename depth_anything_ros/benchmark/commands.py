"""The subcommands of ``depth_anything_benchmark``."""

from collections.abc import Callable
from pathlib import Path
import re
from typing import Annotated, TypeAlias

from depth_anything_ros.benchmark.report import (
    as_dict, print_report, require_matplotlib, to_json, to_markdown)
from depth_anything_ros.benchmark.results import Report, Say
from depth_anything_ros.cli.options import Precision
from depth_anything_ros.cli.program import one_line_errors
from depth_anything_ros.cli.reports import (
    Json, Markdown, ReportFiles, require_writable, write_report)
from rich.console import Console
from rich.markup import escape
import typer

LARGEST_INPUT_PX = 2058
# Rich takes a file for a terminal of 80 columns, where wide tables lose text.
_WIDTH_OF_A_FILE = 240
PRECISIONS = '|'.join(Precision)

Model: TypeAlias = Annotated[Path, typer.Argument(metavar='MODEL.xml', help='The IR to measure.')]
InputSize: TypeAlias = Annotated[int, typer.Option(
    min=0, max=LARGEST_INPUT_PX, metavar='PX',
    help="Short side of the network's input, 0: the model's own.")]
Images: TypeAlias = Annotated[Path | None, typer.Option(
    metavar='FOLDER', help='Images to compute; default: a test card.',
    show_default=False)]
Rounds: TypeAlias = Annotated[int, typer.Option(
    min=1, metavar='N', help='Everything is measured in turn, this many times.')]
Seconds: TypeAlias = Annotated[float, typer.Option(
    min=0.1, metavar='S', help='Length of one measurement.')]
Picture: TypeAlias = Annotated[Path | None, typer.Option(
    '--picture', metavar='FILE.png', help='Draw the figures.', show_default=False)]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help='Measure how fast depth is computed here. What is compared takes turns within one run; a figure is the median '
                  'of the rounds, with the lowest and the highest beside it. Progress goes to '
                  'stderr, the report to stdout.')


@app.command()
def node(model: Model,
         size: Annotated[list[str], typer.Option(
             '--size', metavar='WIDTHxHEIGHT', default_factory=lambda: ['640x480', '1280x720'],
             show_default=False, help='Size of the images that the camera sends; may be repeated; '
             'default: 640x480 and 1280x720.')],
         rate: Annotated[list[float], typer.Option(
             '--rate', min=0.1, metavar='HZ', default_factory=lambda: [5.0, 10.0, 30.0],
             show_default=False, help='Images that the camera sends a second; may be repeated; '
             'default: 5, 10 and 30.')],
         frames: Annotated[int, typer.Option(
             min=1, metavar='N', help='Images after which the growth of memory is read.')] = 2000,
         images: Images = None, rounds: Rounds = 3, seconds: Seconds = 10.0, json: Json = None,
         markdown: Markdown = None, picture: Picture = None) -> None:
    """
    Compare the node with the bare model.

    The node runs as a process of its own and is fed over DDS: rate, age of the depth when it is
    published, drops, CPU time per frame, time to the first depth, memory.
    """
    sizes_hw = tuple(map(size_from, size))

    def work(say: Say) -> Report:
        from depth_anything_ros.benchmark.node import measure_node, NodeOptions
        return measure_node(NodeOptions(model, images, sizes_hw, tuple(rate), rounds, seconds,
                                        frames), say)
    run_mode(work, ReportFiles(json, markdown, picture))


@app.command()
def ladder(models: Annotated[list[Path], typer.Argument(
               metavar='MODEL.xml', help='The IRs to measure.')],
           input_size: Annotated[list[int], typer.Option(
               '--input-size', min=14, max=LARGEST_INPUT_PX, metavar='PX',
               default_factory=lambda: [518, 448, 392, 336, 294, 252, 210, 168],
               show_default=False, help="Short side of the network's input; may be repeated; "
               'default: 518, 448, 392, 336, 294, 252, 210 and 168.')],
           precision: Annotated[list[Precision], typer.Option(
               '--precision', metavar=PRECISIONS, show_default=False,
               default_factory=lambda: [Precision.f32, Precision.auto],
               help='Execution precision; auto lets the device choose; may be repeated; default: '
               'f32 and auto.')],
           images: Annotated[Path | None, typer.Option(
               metavar='FOLDER', help='Images to compute; default: the photographs of the '
               'package.', show_default=False)] = None,
           rgbd: Annotated[Path | None, typer.Option(
               metavar='FOLDER', show_default=False,
               help='Images with measured depth: rgb_*.png and depth_*.png in millimetres, or as '
               'its dataset.yaml says.')] = None,
           rounds: Rounds = 3, json: Json = None, markdown: Markdown = None,
           picture: Picture = None) -> None:
    """
    Weigh speed against accuracy.

    Each model is measured at each input size in each precision: its speed, how far its depth is
    from that in f32 at 518 and, with --rgbd, from measured depth.
    """
    def work(say: Say) -> Report:
        from depth_anything_ros.benchmark.ladder import LadderOptions, measure_ladder
        return measure_ladder(LadderOptions(tuple(models), images, rgbd, tuple(input_size),
                                            rounds, tuple(one.value for one in precision)), say)
    run_mode(work, ReportFiles(json, markdown, picture))


def run_mode(work: Callable[[Say], Report], files: ReportFiles,
             program: str = 'depth_anything_benchmark') -> None:
    """Measure, print and write the report of a mode; SystemExit carries the status."""
    progress, console = Console(stderr=True), Console()
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    with one_line_errors():
        require_writable(files)
        if files.picture is not None:
            require_matplotlib()
        report = work(lambda line: progress.print(escape(line), highlight=False, soft_wrap=True))
        print_report(report, console)
        write_report(files, to_json(report), _page(report, program), lambda path: _draw(report, path))


def _page(report: Report, program: str) -> str:
    return f'# {program} {report.mode}\n\n{to_markdown(as_dict(report))}'


def _draw(report: Report, path: Path) -> None:
    if report.draw is None:
        raise OSError(f'{report.mode} has no picture; run it without --picture')
    report.draw(path)


def size_from(text: str) -> tuple[int, int]:
    """Return (height, width) of a size such as 640x480; a usage error for another text."""
    match = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if match is None:
        raise typer.BadParameter(f'{text} is no size; write WIDTHxHEIGHT, for example 640x480',
                                 param_hint='--size')
    return int(match[2]), int(match[1])
