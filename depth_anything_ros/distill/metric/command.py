"""The options of ``depth_anything_distill metric``."""

from dataclasses import replace
from pathlib import Path
import re
from typing import Annotated

from depth_anything_ros.cli.program import require_packages
from depth_anything_ros.cli.progress import counting, open_console, StepReport
from depth_anything_ros.convert.commands.options import (
    KindOption, OfflineOption, VersionOption, YesOption)
from depth_anything_ros.convert.hub.resolve import DownloadOptions, local_source
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.distill import PROGRAM
from depth_anything_ros.distill.command import Device, parse_crop, torch_device
from depth_anything_ros.distill.job import LARGEST_BATCH
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.model_info import Precision
from depth_anything_ros.vision.depth import DepthRange
import typer

EXAMPLES = """depth_anything_distill metric models/depth_anything_tiny.xml drive -o models/mine.xml
depth_anything_distill metric vits room.yaml hall.mcap --weights 1,2 -o models/mine.xml
depth_anything_distill metric tiny.pth drive.mcap -o models/mine.xml --check-only"""


def command(
        context: typer.Context,
        start: Annotated[str, typer.Argument(
            metavar='START', help='The relative model to begin with: a .pth or .safetensors file, '
            'a Hugging Face folder, an .xml file, or a short name or hub id to download.')],
        data: Annotated[list[str], typer.Argument(
            metavar='DATA...', help='YAML descriptions of folders of images and depth maps, with '
            'the camera; ROS 2 bags with images, registered depth and camera_info.')],
        output: Annotated[Path, typer.Option(
            '--output', '-o', metavar='NAME.xml', help='Path of the IR; the checkpoint NAME.pth '
            'and the card NAME.md go beside it.')],
        steps: Annotated[int, typer.Option(
            '--steps', min=1, help='Largest number of training steps.')] = 200,
        batch: Annotated[int, typer.Option(
            '--batch', min=1, max=LARGEST_BATCH, help='Images per step.')] = 8,
        crop: Annotated[str, typer.Option(
            '--crop', metavar='HxW|PX', help='Size in pixels of the crops that the network sees.',
            show_default='its default size for 4:3')] = '',
        encoder_rate: Annotated[float, typer.Option(
            '--encoder-rate', min=0, help='Peak learning rate of the encoder; 0 keeps it.',
            show_default='0.000005')] = 5e-6,
        head_rate: Annotated[float, typer.Option(
            '--head-rate', min=0, help='Peak learning rate of the head.',
            show_default='0.00002')] = 2e-5,
        gradient_weight: Annotated[float, typer.Option(
            '--gradient-weight', min=0, help='Weight of the error of the gradients, for sharp '
            'edges; the error of the depth has 1.')] = 0.5,
        companion: Annotated[float, typer.Option(
            '--companion', min=0, help="Weight of the relative model's loss where the sensor is "
            'blind.')] = 0.1,
        weights: Annotated[str, typer.Option(
            '--weights', metavar='N,...', help='How often the images of each DATA are drawn in an '
            'epoch.', show_default='1 for each')] = '',
        min_depth: Annotated[float, typer.Option(
            '--min-depth', help='Nearest depth [m] that is learned.')] = 0.1,
        max_depth: Annotated[float, typer.Option(
            '--max-depth', help='Farthest depth [m] that is learned.')] = 20.0,
        focal: Annotated[float | None, typer.Option(
            '--focal', min=1, metavar='PX', help='Canonical focal length in pixels of the '
            "network's image.", show_default='the median of the data')] = None,
        seed: Annotated[int, typer.Option(
            '--seed', min=0, max=2 ** 63 - 1, help='Seed of all random choices.')] = 0,
        tries: Annotated[int, typer.Option(
            '--tries', min=1, metavar='N', help='Train N times, with seeds from --seed on, and '
            'keep the one that is best on the validation images. More may be added later.')] = 3,
        every: Annotated[int, typer.Option(
            '--every', min=1, metavar='N', help='Use every Nth image.')] = 1,
        short_side: Annotated[int, typer.Option(
            '--short-side', min=32, metavar='PX', help='Reduce larger images to this short '
            'side.')] = 384,
        hold_out: Annotated[float, typer.Option(
            '--hold-out', min=0.02, max=0.9, metavar='SHARE', help='Hold out the last share of '
            'each DATA: it judges the result, and nothing is learned or chosen by it.')] = 0.25,
        topic: Annotated[str | None, typer.Option(
            '--topic', help='Image topic of bags that have several.')] = None,
        depth_topic: Annotated[str | None, typer.Option(
            '--depth-topic', help='Depth topic of bags that have several.')] = None,
        info_topic: Annotated[str | None, typer.Option(
            '--info-topic', help='camera_info topic of the images.',
            show_default='the one beside the image topic')] = None,
        validate_every: Annotated[int, typer.Option(
            '--look-every', min=1, metavar='N', help='Validate every N steps.')] = 50,
        patience: Annotated[int, typer.Option(
            '--patience', min=1, metavar='N', help='End after N validations without an '
            'improvement; the best weights are kept.')] = 3,
        device: Annotated[Device, typer.Option(
            '--device', help='Device of PyTorch; auto uses CUDA where it is available.')] = 'auto',
        work: Annotated[Path | None, typer.Option(
            '--work', metavar='FOLDER', help='Folder for frames, labels and the state of the '
            'training.', show_default='NAME.metric beside the output')] = None,
        precision: Annotated[Precision, typer.Option(
            '--precision', help='Precision of the stored weights; int8 is fp16, then quantized '
            'with training images, and trained in INT8 where that loses too much.')] = 'fp16',
        kind: KindOption = None,
        model_version: VersionOption = None,
        check_only: Annotated[bool, typer.Option(
            '--check-only', help='End when the data is checked; pairs.png in the work folder '
            'shows depth on top of the images.')] = False,
        trust_data: Annotated[bool, typer.Option(
            '--trust-data', help='Do not check whether depth is registered and of the same '
            'moment as its image.')] = False,
        force: Annotated[bool, typer.Option(
            '--force', help='Replace an output that exists; start over in a work folder that was '
            'made with other options; write a model that is worse than one fit.')] = False,
        yes: YesOption = False,
        offline: OfflineOption = False) -> None:
    """
    Teach a relative model metres with the depth that a robot has measured.

    The result needs camera_info at run time and serves cameras of any focal length. It ends with a
    table that compares it with fits of the relative model, and writes nothing if it does not win.
    After an interruption the same command continues.
    """
    require_packages(PROGRAM, 'numpy', 'cv2', 'torch', 'onnx', 'onnxscript', 'onnxruntime',
                     'openvino', 'matplotlib', *(['nncf'] if precision == 'int8' else []))
    from depth_anything_ros.distill.metric.bags import BagTopics
    from depth_anything_ros.distill.metric.frames import FrameSelection
    from depth_anything_ros.distill.metric.job import metric_recipe, MetricJob
    from depth_anything_ros.distill.metric.metric import fine_tune
    from depth_anything_ros.distill.metric.start import open_start
    table, processes = context.obj
    processes.check_batch(batch)
    chosen = torch_device(device)
    processes.join(chosen)
    console = open_console()
    overrides = Overrides(kind, model_version)
    with StepReport(console) as report:
        with processes.in_turn():
            path = local_source(start, output.parent, DownloadOptions(yes, offline), report)
        opened = open_start(path, overrides, table)
        student = opened.student
        recipe = metric_recipe(steps, student.input_spec)
        recipe = replace(
            recipe, batch=batch, encoder_rate=encoder_rate, head_rate=head_rate, seed=seed,
            gradient_weight=gradient_weight,
            crop_hw=parse_crop(crop, student.input_spec, student.name) if crop else recipe.crop_hw)
        job = MetricJob(
            path, tuple(data), output, recipe,
            FrameSelection(every, short_side, _range(min_depth, max_depth),
                           BagTopics(topic, depth_topic, info_topic)),
            _weights(weights, len(data)), hold_out, focal, companion, tries, validate_every,
            patience, chosen, work, precision, overrides, trust_data, check_only, force)
        model = fine_tune(job, opened, table=table, report=report,
                          counting=counting(console, report), processes=processes)
    if model is None:
        print(f'the data is in {job.folder}; the same command without --check-only trains')
        return
    print(f'{model.path} is ready, its card is {output.with_suffix(".md")}: '
          f'{model.result.advice}')
    print('try it: ros2 launch depth_anything_ros depth_anything.launch.py '
          f'model:={model.path}')


def _range(minimum_m: float, maximum_m: float) -> DepthRange:
    try:
        return DepthRange(minimum_m, maximum_m)
    except ValueError as error:
        raise SettingsError('--max-depth', maximum_m, f'larger than --min-depth: {error}'
                            ) from error


def _weights(text: str, count: int) -> tuple[int, ...]:
    if not text:
        return (1,) * count
    if not re.fullmatch(r'[1-9]\d{0,2}(,[1-9]\d{0,2})*', text) or text.count(',') != count - 1:
        raise SettingsError('--weights', text, f'{count} whole numbers from 1 to 999 with commas '
                            'between, one for each DATA')
    return tuple(map(int, text.split(',')))
