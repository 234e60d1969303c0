"""The subcommands of ``depth_anything_evaluate``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from depth_anything_ros.cli.options import Device, InputSize, LARGEST_INPUT_PX, Precision
from depth_anything_ros.cli.progress import Counting, counting, open_console
from depth_anything_ros.cli.reports import (
    finish_report, Json, Markdown, print_lines, ReportFiles, require_writable)
from depth_anything_ros.errors import ImageError
from depth_anything_ros.evaluate.compare import compare_models, PARITY_HEADINGS
from depth_anything_ros.evaluate.gallery import Gallery
from depth_anything_ros.evaluate.pairs import evaluate_pairs, PAIRS_HEADINGS, read_pairs
from depth_anything_ros.evaluate.predictions import ModelOptions
from depth_anything_ros.evaluate.results import as_dict, Evaluation, print_report, to_markdown
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd, RGBD_HEADINGS
from depth_anything_ros.evaluate.sequence import evaluate_sequence, SEQUENCE_HEADINGS
from depth_anything_ros.evaluate.sequence_folder import open_sequence, read_sequence_config
from depth_anything_ros.media.depth_files import encode_png
from depth_anything_ros.media.folders import left_out_text, read_list, required_color_pictures
from depth_anything_ros.media.open_images import left_out
from depth_anything_ros.media.rgbd_folder import open_folder, read_config
import typer

Model = Annotated[Path, typer.Argument(metavar='MODEL.xml', help='The IR to score.')]
Picture = Annotated[Path | None, typer.Option(
    '--picture', metavar='FILE.png', help='Draw the three worst and the three best images.',
    show_default=False)]
Work = Callable[[Counting, Gallery | None], Evaluation[Any]]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None,
                  pretty_exceptions_enable=False,
                  help='Score depth models on measured depth, on moving sequences, on ordered '
                  'pairs of points, or against another model.')


@app.command()
def rgbd(model: Model,
         folder: Annotated[Path, typer.Argument(
             metavar='FOLDER', help='Images and their depth maps.')],
         config: Annotated[Path, typer.Option(
             '--config', metavar='FILE.yaml', show_default=False,
             help='File patterns and units of the folder, see docs/evaluating.md.')],
         median_scaling: Annotated[bool, typer.Option(
             '--median-scaling', help='Metric models: scale to the measured median.')] = False,
         input_size: InputSize = 0, device: Device = 'CPU', precision: Precision = 'auto',
         json: Json = None, markdown: Markdown = None, picture: Picture = None) -> None:
    """Score a model on images with measured depth."""
    def work(counting: Counting, gallery: Gallery | None) -> Evaluation[Any]:
        dataset = open_folder(folder, read_config(config))
        return evaluate_rgbd(model, dataset, ModelOptions(input_size, device, precision),
                             median_scaling, counting, gallery)
    _run(work, Gallery(RGBD_HEADINGS), ReportFiles(json, markdown, picture))


@app.command()
def sequence(model: Model,
             folder: Annotated[Path, typer.Argument(
                 metavar='FOLDER', help='Consecutive images, their depth maps and poses.')],
             config: Annotated[Path, typer.Option(
                 '--config', metavar='FILE.yaml', show_default=False,
                 help='File patterns, units and camera of the folder, see docs/evaluating.md.')],
             every: Annotated[int, typer.Option(
                 min=1, metavar='N', help='Use every N-th frame.')] = 1,
             frames: Annotated[int, typer.Option(
                 min=0, metavar='N', help='Use at most N frames; 0: all.')] = 0,
             input_size: InputSize = 0, device: Device = 'CPU', precision: Precision = 'auto',
             json: Json = None, markdown: Markdown = None, picture: Picture = None) -> None:
    """Score a model on a moving sequence with measured depth and poses."""
    def work(counting: Counting, gallery: Gallery | None) -> Evaluation[Any]:
        clip = open_sequence(folder, read_sequence_config(config), every, frames)
        return evaluate_sequence(model, clip, ModelOptions(input_size, device, precision),
                                 counting, gallery)
    _run(work, Gallery(SEQUENCE_HEADINGS), ReportFiles(json, markdown, picture))


@app.command()
def pairs(model: Model,
          annotations: Annotated[Path, typer.Argument(
              metavar='ANNOTATIONS.json', help='Pairs in the format of DA-2K.')],
          images: Annotated[Path | None, typer.Option(
              '--images', metavar='ROOT', show_default=False,
              help='Folder that the image names are relative to; default: the folder of the '
              'annotations.')] = None,
          input_size: InputSize = 0, device: Device = 'CPU', precision: Precision = 'auto',
          json: Json = None, markdown: Markdown = None, picture: Picture = None) -> None:
    """Count the pairs of points that a model orders correctly (DA-2K)."""
    def work(counting: Counting, gallery: Gallery | None) -> Evaluation[Any]:
        return evaluate_pairs(model, read_pairs(annotations), images or annotations.parent,
                              ModelOptions(input_size, device, precision), counting, gallery)
    _run(work, Gallery(PAIRS_HEADINGS), ReportFiles(json, markdown, picture))


@app.command()
def parity(model: Annotated[Path, typer.Argument(metavar='MODEL_A.xml',
                                                 help='The IR to compare.')],
           reference: Annotated[Path, typer.Argument(metavar='MODEL_B.xml',
                                                     help='The IR that is the reference.')],
           folder: Annotated[Path, typer.Argument(
               metavar='IMAGES_FOLDER', help='Images, also in folders below, or a list of them '
               '(.txt); files and folders in it whose name starts with depth are left out.')],
           input_size: InputSize = 0,
           input_size_b: Annotated[int, typer.Option(
               min=0, max=LARGEST_INPUT_PX, metavar='PX',
               help='Short side of the input of model B; 0: the same as model A, or the default '
               'of model B if the two need multiples of different numbers.')] = 0,
           device_a: Device = 'CPU', precision_a: Precision = 'auto', device_b: Device = 'CPU',
           precision_b: Precision = 'f32', json: Json = None, markdown: Markdown = None,
           picture: Picture = None) -> None:
    """Compare model A with the reference model B on images of any kind."""
    def work(counting: Counting, gallery: Gallery | None) -> Evaluation[Any]:
        return compare_models(
            model, reference, _images(folder), ModelOptions(input_size, device_a, precision_a),
            ModelOptions(input_size_b, device_b, precision_b), counting, gallery)
    _run(work, Gallery(PARITY_HEADINGS), ReportFiles(json, markdown, picture))


def _run(work: Work, gallery: Gallery, files: ReportFiles) -> None:
    """Evaluate, print and write the report; exit status 1 if an image failed."""
    require_writable(files)
    evaluation = work(counting(open_console(stderr=True)),
                      gallery if files.picture is not None else None)
    finish_report(files, as_dict(evaluation), to_markdown(evaluation),
                  lambda path: path.write_bytes(encode_png(gallery.sheet())),
                  partial(print_report, evaluation),
                  [f'{one.name}: {one.reason}' for one in evaluation.failed])


def _images(source: Path) -> list[Path]:
    if source.suffix.lower() == '.txt' and source.is_file():
        files = list(dict.fromkeys(read_list(source)))
        if not files:
            raise ImageError(f'{source} is empty; write one path a line')
    elif source.is_dir():
        files = required_color_pictures(source)
    else:
        raise ImageError(f'{source} is neither a folder with images nor a list of them (.txt)')
    if others := left_out(str(source)):
        print_lines(open_console(stderr=True), [left_out_text(others)])
    return files
