"""The subcommands of ``depth_anything_evaluate``."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
import sys
from typing import Annotated, Any

from depth_anything_ros.errors import DepthAnythingError, ImageError
from depth_anything_ros.media.depth_files import encode_png
from depth_anything_ros.media.picture_files import files_below, SUFFIXES
from depth_anything_ros.media.writing import staged_file
from depth_anything_ros.tools.evaluation.gallery import Gallery
from depth_anything_ros.tools.evaluation.ordinal_pairs import read_pairs
from depth_anything_ros.tools.evaluation.pairs import evaluate_pairs, PAIRS_HEADINGS
from depth_anything_ros.tools.evaluation.parity import compare_models, PARITY_HEADINGS
from depth_anything_ros.tools.evaluation.predictions import Progress, RunOptions
from depth_anything_ros.tools.evaluation.report import print_report, to_json, to_markdown
from depth_anything_ros.tools.evaluation.results import Evaluation
from depth_anything_ros.tools.evaluation.rgbd import evaluate_rgbd, RGBD_HEADINGS
from depth_anything_ros.tools.evaluation.rgbd_folder import open_folder, read_config
from rich.console import Console
from rich.progress import (
    BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn)
import typer

_INTERRUPTED = 130


class Precision(str, Enum):
    """Execution precision; auto lets the device choose."""

    auto = 'auto'
    f32 = 'f32'
    bf16 = 'bf16'
    f16 = 'f16'


Model = Annotated[Path, typer.Argument(metavar='MODEL.xml', help='The IR to score.')]
InputSize = Annotated[int, typer.Option(
    min=0, max=2058, metavar='PX', help="Short side of the network's input, 0: the model's own.")]
Device = Annotated[str, typer.Option(
    help='OpenVINO devices in order of preference, separated by commas.')]
ExecutionPrecision = Annotated[Precision, typer.Option(help='Execution precision.')]
Json = Annotated[Path | None, typer.Option(
    '--json', metavar='FILE', help='Write all figures as JSON.', show_default=False)]
Markdown = Annotated[Path | None, typer.Option(
    '--markdown', metavar='FILE', help='Write all figures as Markdown.', show_default=False)]
Picture = Annotated[Path | None, typer.Option(
    '--picture', metavar='FILE.png', help='Draw the worst and the best cases.',
    show_default=False)]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help='Score depth models on measured depth, on ordered pairs of points and '
                  'against each other.')


@dataclass(frozen=True)
class _Files:
    """Where to write what was found."""

    json: Path | None
    markdown: Path | None
    picture: Path | None


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
    _run(work, Gallery(RGBD_HEADINGS), _Files(json, markdown, picture))


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
    _run(work, Gallery(PAIRS_HEADINGS), _Files(json, markdown, picture))


@app.command()
def parity(model: Annotated[Path, typer.Argument(metavar='MODEL_A.xml',
                                                 help='The IR to compare.')],
           reference: Annotated[Path, typer.Argument(metavar='MODEL_B.xml',
                                                     help='The IR that is taken as true.')],
           folder: Annotated[Path, typer.Argument(
               metavar='IMAGES_FOLDER', help='Images, also in folders below; files whose name '
               'starts with depth are left out.')],
           input_size: InputSize = 0, device_a: Device = 'CPU',
           precision_a: ExecutionPrecision = Precision.auto, device_b: Device = 'CPU',
           precision_b: ExecutionPrecision = Precision.f32, json: Json = None,
           markdown: Markdown = None, picture: Picture = None) -> None:
    """Compare model A with the reference model B on images of any kind."""
    def work(progress: Progress, gallery: Gallery | None) -> Evaluation[Any]:
        return compare_models(
            model, reference, _images(folder),
            RunOptions(input_size, device_a, precision_a.value),
            RunOptions(input_size, device_b, precision_b.value), progress, gallery)
    _run(work, Gallery(PARITY_HEADINGS), _Files(json, markdown, picture))


def _run(work: Callable[[Progress, Gallery | None], Evaluation[Any]], gallery: Gallery,
         files: _Files) -> None:
    """Do the work under a progress bar, print and write; typer.Exit carries the status."""
    try:
        _require_writable(files)
        evaluation = _with_bar(lambda progress: work(
            progress, gallery if files.picture is not None else None))
        print_report(evaluation, Console())
        _write(evaluation, gallery, files)
    except (DepthAnythingError, OSError) as error:
        _complain(' '.join(str(error).split()))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        _complain('interrupted, nothing was written')
        raise typer.Exit(_INTERRUPTED) from error
    for one in evaluation.failed:
        _complain(f'{one.name}: {one.reason}')
    if evaluation.failed:
        raise typer.Exit(1)


def _with_bar(work: Callable[[Progress], Evaluation[Any]]) -> Evaluation[Any]:
    console = Console(stderr=True)
    with Bar(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
             TimeRemainingColumn(), console=console, transient=True,
             disable=not console.is_terminal) as bar:
        task = bar.add_task('images', total=None)
        return work(lambda done, total: bar.update(task, completed=done, total=total))


def _require_writable(files: _Files) -> None:
    for file in (files.json, files.markdown, files.picture):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise OSError(f'{file} cannot be written; name a file in a folder that exists')
    if files.picture is not None and files.picture.suffix.lower() != '.png':
        raise OSError(f'{files.picture} is no name of a picture; let it end in .png')


def _write(evaluation: Evaluation[Any], gallery: Gallery, files: _Files) -> None:
    if files.json is not None:
        _write_file(files.json, to_json(evaluation).encode())
    if files.markdown is not None:
        _write_file(files.markdown, to_markdown(evaluation).encode())
    if files.picture is not None:
        _write_file(files.picture, encode_png(gallery.sheet()))


def _write_file(path: Path, content: bytes) -> None:
    with staged_file(path) as staged:
        staged.write_bytes(content)


def _images(folder: Path) -> list[Path]:
    # RGB-D folders keep depth maps beside the images.
    files = [file for file in files_below(folder, SUFFIXES) if not file.name.startswith('depth')]
    if not files:
        raise ImageError(f'{folder} is no folder with images; supported are '
                         f'{", ".join(SUFFIXES)}')
    return files


def _complain(sentence: str) -> None:
    print(f'error: {sentence}', file=sys.stderr)
