"""The subcommands of ``depth_anything_evaluate``."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from depth_anything_ros.cli.options import Precision
from depth_anything_ros.cli.program import complain, one_line_errors
from depth_anything_ros.cli.reports import (
    Json, Markdown, ReportFiles, require_writable, write_report)
from depth_anything_ros.errors import ImageError
from depth_anything_ros.evaluate.compare import compare_models, PARITY_HEADINGS
from depth_anything_ros.evaluate.files import read_pairs
from depth_anything_ros.evaluate.gallery import Gallery
from depth_anything_ros.evaluate.pairs import evaluate_pairs, PAIRS_HEADINGS
from depth_anything_ros.evaluate.predictions import Progress, RunOptions
from depth_anything_ros.evaluate.report import print_report, to_json, to_markdown
from depth_anything_ros.evaluate.results import Evaluation
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd, RGBD_HEADINGS
from depth_anything_ros.evaluate.rgbd_folder import open_folder, read_config
from depth_anything_ros.media.depth_files import encode_png
from depth_anything_ros.media.pictures import files_below, read_list, SUFFIXES
from rich.console import Console
from rich.progress import (
    BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn)
import typer

Model = Annotated[Path, typer.Argument(metavar='MODEL.xml', help='The IR to score.')]
InputSize = Annotated[int, typer.Option(
    min=0, max=2058, metavar='PX', help="Short side of the network's input, 0: the model's own.")]
Device = Annotated[str, typer.Option(
    help='OpenVINO devices in order of preference, separated by commas.')]
ExecutionPrecision = Annotated[Precision, typer.Option(help='Execution precision.')]
Picture = Annotated[Path | None, typer.Option(
    '--picture', metavar='FILE.png', help='Draw the worst and the best cases.',
    show_default=False)]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help='Score depth models on measured depth, on ordered pairs of points and '
                  'against each other.')


@app.command()
def rgbd(model: Model,
         folder: Annotated[Path, typer.Argument(
             metavar='FOLDER', help='Images and their depth maps.')],
         config: Annotated[Path, typer.Option(
             '--config', metavar='FILE.yaml', show_default=False,
             help='File patterns and units of the folder, see docs/evaluating.md.')],
         median_scaling: Annotated[bool, typer.Option(
             '--median-scaling', help='Metric models: scale to the measured median.')] = False,
         input_size: InputSize = 0, device: Device = 'CPU',
         precision: ExecutionPrecision = Precision.auto, json: Json = None,
         markdown: Markdown = None, picture: Picture = None) -> None:
    """Score a model on images with measured depth."""
    def work(progress: Progress, gallery: Gallery | None) -> Evaluation[Any]:
        dataset = open_folder(folder, read_config(config))
        return evaluate_rgbd(model, dataset, RunOptions(input_size, device, precision.value),
                             median_scaling, progress, gallery)
    _run(work, Gallery(RGBD_HEADINGS), ReportFiles(json, markdown, picture))


@app.command()
def pairs(model: Model,
          annotations: Annotated[Path, typer.Argument(
              metavar='ANNOTATIONS.json', help='Pairs in the format of DA-2K.')],
          images: Annotated[Path | None, typer.Option(
              '--images', metavar='ROOT', show_default=False,
              help="Folder that image names start from; default: the annotations'.")] = None,
          input_size: InputSize = 0, device: Device = 'CPU',
          precision: ExecutionPrecision = Precision.auto, json: Json = None,
          markdown: Markdown = None, picture: Picture = None) -> None:
    """Count the pairs of points that a model orders rightly (DA-2K)."""
    def work(progress: Progress, gallery: Gallery | None) -> Evaluation[Any]:
        return evaluate_pairs(model, read_pairs(annotations), images or annotations.parent,
                              RunOptions(input_size, device, precision.value), progress, gallery)
    _run(work, Gallery(PAIRS_HEADINGS), ReportFiles(json, markdown, picture))


@app.command()
def parity(model: Annotated[Path, typer.Argument(metavar='MODEL_A.xml',
                                                 help='The IR to compare.')],
           reference: Annotated[Path, typer.Argument(metavar='MODEL_B.xml',
                                                     help='The IR that is taken as true.')],
           folder: Annotated[Path, typer.Argument(
               metavar='IMAGES_FOLDER', help='Images, also in folders below, or a list of them '
               '(.txt); files of a folder whose name starts with depth are left out.')],
           input_size: InputSize = 0,
           input_size_b: Annotated[int, typer.Option(
               min=0, max=2058, metavar='PX', help="Short side of model B's input, 0: as A's, or "
               'its own where it takes other sizes.')] = 0,
           device_a: Device = 'CPU',
           precision_a: ExecutionPrecision = Precision.auto, device_b: Device = 'CPU',
           precision_b: ExecutionPrecision = Precision.f32, json: Json = None,
           markdown: Markdown = None, picture: Picture = None) -> None:
    """Compare model A with the reference model B on images of any kind."""
    def work(progress: Progress, gallery: Gallery | None) -> Evaluation[Any]:
        return compare_models(
            model, reference, _images(folder),
            RunOptions(input_size, device_a, precision_a.value),
            RunOptions(input_size_b, device_b, precision_b.value), progress, gallery)
    _run(work, Gallery(PARITY_HEADINGS), ReportFiles(json, markdown, picture))


def _run(work: Callable[[Progress, Gallery | None], Evaluation[Any]], gallery: Gallery,
         files: ReportFiles) -> None:
    """Do the work under a progress bar, print and write; SystemExit carries the status."""
    with one_line_errors():
        require_writable(files)
        evaluation = _with_bar(lambda progress: work(
            progress, gallery if files.picture is not None else None))
        print_report(evaluation, Console())
        write_report(files, to_json(evaluation), to_markdown(evaluation),
                     lambda path: path.write_bytes(encode_png(gallery.sheet())))
    for one in evaluation.failed:
        complain(f'{one.name}: {one.reason}')
    if evaluation.failed:
        raise SystemExit(1)


def _with_bar(work: Callable[[Progress], Evaluation[Any]]) -> Evaluation[Any]:
    console = Console(stderr=True)
    with Bar(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
             TimeRemainingColumn(), console=console, transient=True,
             disable=not console.is_terminal) as bar:
        task = bar.add_task('images', total=None)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _images(source: Path) -> list[Path]:
    if source.suffix.lower() == '.txt' and source.is_file():
        files = list(dict.fromkeys(read_list(source)))
    else:
        # RGB-D folders keep depth maps beside the images.
        files = [file for file in files_below(source, SUFFIXES)
                 if not file.name.startswith('depth')]
    if not files:
        raise ImageError(f'{source} is no folder with images and no list of them; supported are '
                         f'{", ".join(SUFFIXES)}')
    return files
