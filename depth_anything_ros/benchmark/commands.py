"""The subcommands of ``depth_anything_benchmark``, and options that other benchmarks share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
import re
from typing import Annotated, cast, TypeAlias

from depth_anything_ros.benchmark.report import (
    as_dict, Log, print_report, Report, require_matplotlib, to_markdown)
from depth_anything_ros.cli.options import LARGEST_INPUT_PX, Picture, Precisions
from depth_anything_ros.cli.processes import dds_profile as use_dds_profile
from depth_anything_ros.cli.progress import open_console
from depth_anything_ros.cli.reports import (
    finish_report, Json, Markdown, print_lines, ReportFiles, require_writable)
from depth_anything_ros.model_info import ExecutionPrecision
import typer

Model: TypeAlias = Annotated[Path, typer.Argument(metavar='MODEL.xml', help='IR to measure.')]
Images: TypeAlias = Annotated[Path | None, typer.Option(
    metavar='FOLDER', help='Images to run the model on; default: a test card.',
    show_default=False)]
Rounds: TypeAlias = Annotated[int, typer.Option(
    min=1, metavar='N', help='Rounds; everything is measured once per round.')]
Seconds: TypeAlias = Annotated[float, typer.Option(
    min=0.1, metavar='S', help='Length of one measurement in seconds.')]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help='Measure how fast depth is computed on this machine. What is compared '
                  'alternates within one run; each figure is the median of the rounds, with the '
                  'lowest and the highest. Progress goes to stderr, the report to stdout.')


@app.command()
def node(model: Model,
         size: Annotated[list[str], typer.Option(
             '--size', metavar='WIDTHxHEIGHT', default_factory=lambda: ['640x480', '1280x720'],
             show_default=False, help='Image size of the camera; may be repeated; default: '
             '640x480 and 1280x720.')],
         rate: Annotated[list[float], typer.Option(
             '--rate', min=0.1, metavar='HZ', default_factory=lambda: [5.0, 10.0, 30.0],
             show_default=False, help='Frame rate of the camera; may be repeated; default: 5, 10 '
             'and 30.')],
         frames: Annotated[int, typer.Option(
             min=1, metavar='N', help='Frames for the growth of memory.')] = 2000,
         dds_profile: Annotated[Path | None, typer.Option(
             metavar='FILE.xml', exists=True, dir_okay=False, show_default=False,
             help='Profiles of Fast DDS for node, camera and subscriber, such as '
             'config/fastdds.xml; default: those of Fast DDS.')] = None,
         images: Images = None, rounds: Rounds = 3, seconds: Seconds = 10.0, json: Json = None,
         markdown: Markdown = None, picture: Picture = None) -> None:
    """
    Compare the node with the bare model.

    Runs the node in its own process and sends it images over DDS. Measures frame rate, age of the
    depth, dropped frames, CPU time per frame, time to the first depth and memory.
    """
    sizes_hw = tuple(map(size_from, size))

    def work(log: Log) -> Report:
        from depth_anything_ros.benchmark.node import measure_node, NodeOptions
        with use_dds_profile(dds_profile):
            return measure_node(NodeOptions(model, images, sizes_hw, tuple(rate), rounds, seconds,
                                            frames), log)
    run_mode('depth_anything_benchmark node', work, ReportFiles(json, markdown, picture))


@app.command()
def ladder(models: Annotated[list[Path], typer.Argument(
               metavar='MODEL.xml', help='IRs to measure, of any kind.')],
           input_size: Annotated[list[int], typer.Option(
               '--input-size', min=0, max=LARGEST_INPUT_PX, metavar='PX',
               default_factory=lambda: [518, 448, 392, 336, 294, 252, 210, 168],
               show_default=False, help="Short side of the network's input, 0: the default of "
               'each model; may be repeated; default: 518, 448, 392, 336, 294, 252, 210 and '
               '168.')],
           precision: Precisions,
           teacher: Annotated[Path | None, typer.Option(
               metavar='MODEL.xml', show_default=False, help='IR whose order of pixels by '
               'distance the others are compared with; default: the first model.')] = None,
           images: Annotated[Path | None, typer.Option(
               metavar='FOLDER', help='Images to run the models on, without files and folders '
               'whose name starts with depth; default: the photographs of the package.',
               show_default=False)] = None,
           rgbd: Annotated[Path | None, typer.Option(
               metavar='FOLDER', show_default=False,
               help='Images with measured depth: rgb_*.png and depth_*.png in millimetres, or '
               'files described by a dataset.yaml in this folder.')] = None,
           sequence: Annotated[Path | None, typer.Option(
               metavar='FOLDER', show_default=False,
               help='Frames of a moving camera with depth and poses, described by a dataset.yaml '
               'in this folder, for the flicker.')] = None,
           rounds: Rounds = 3, json: Json = None, markdown: Markdown = None,
           picture: Picture = None) -> None:
    """
    Show which model to take: speed, accuracy and licence of each.

    Measures each model at each input size in each precision: the time of an image, the rank
    correlation of its depth with that of the teacher and, with --rgbd and --sequence, the error on
    measured depth and the flicker. The best for their time are marked. A model that cannot run is
    named and left out.
    """
    def work(log: Log) -> Report:
        from depth_anything_ros.benchmark.ladder import LadderOptions, measure_ladder
        precisions = tuple(cast(list[ExecutionPrecision], precision))
        return measure_ladder(LadderOptions(tuple(models), images, rgbd, tuple(input_size), rounds,
                                            precisions, teacher, sequence), log)
    run_mode('depth_anything_benchmark ladder', work, ReportFiles(json, markdown, picture))


def run_mode(command: str, work: Callable[[Log], Report], files: ReportFiles) -> None:
    """
    Measure with ``work``, then print the report and write its files, headed by ``command``.

    Exit status 1 if a part of it could not be measured.
    """
    progress = open_console(stderr=True)
    require_writable(files)
    if files.picture is not None:
        require_matplotlib()
    report = work(lambda line: print_lines(progress, [line]))
    content = as_dict(report)
    finish_report(files, content, f'# {command}\n\n{to_markdown(content)}',
                  lambda path: _draw(report, path), partial(print_report, report), report.failed)


def _draw(report: Report, path: Path) -> None:
    if report.draw is None:
        raise OSError(f'{report.mode} has no picture; run it without --picture')
    report.draw(path)


def size_from(text: str) -> tuple[int, int]:
    """Return (height, width) of a size such as 640x480; a usage error for another text."""
    match = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if match is None:
        raise typer.BadParameter(f'{text} is not a size; write WIDTHxHEIGHT, for example 640x480',
                                 param_hint='--size')
    return int(match[2]), int(match[1])
