"""The subcommand ``convert``: a checkpoint, ONNX file or IR to an IR that is proven."""

from pathlib import Path
from typing import Annotated

from depth_anything_ros.cli.progress import open_console, StepReport
from depth_anything_ros.convert.commands.options import (
    BatchOption, EncoderOption, FocalOption, ForceOption, HeightOption, KindOption, MaxDepthOption,
    MODELS_FOLDER, OfflineOption, require, size_from, TrainOption, VersionOption,
    WidthOption, YesOption)
from depth_anything_ros.convert.hub.resolve import DownloadOptions, local_source, name_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Precision
import typer

EXAMPLES = """depth_anything_convert convert depth_anything_v2_vits.pth -o models/small.xml
depth_anything_convert convert depth-anything/Depth-Anything-V2-Small-hf
depth_anything_convert convert mine.pth --kind metric --max-depth 20 --model-version v2
depth_anything_convert convert vits --precision int8 --images my_photos -o models/int8.xml
depth_anything_convert convert another.onnx --describe another.yaml -o models/another.xml
depth_anything_convert convert vits --height 392 --width 518 -o models/npu.xml"""


def command(
        context: typer.Context,
        source: Annotated[str, typer.Argument(
            metavar='SOURCE', help='A .pth or .safetensors file, a Hugging Face folder, an .onnx '
            'or .xml file, or a short name or hub id, which is downloaded.')],
        output: Annotated[Path | None, typer.Option(
            '--output', '-o', metavar='NAME.xml', help='Where to write the IR.',
            show_default='models/SOURCE.xml')] = None,
        precision: Annotated[Precision | None, typer.Option(
            '--precision', help='Precision of the stored weights; for int8 the fp16 model is '
            'quantized as the subcommand quantize does by default.',
            show_default='fp16; an .xml keeps its own')] = None,
        images: Annotated[str | None, typer.Option(
            '--images', help='For int8: a folder, list, video or bag to calibrate with.')] = None,
        train: TrainOption = False,
        height: HeightOption = 0,
        width: WidthOption = 0,
        batch_size: BatchOption = 0,
        kind: KindOption = None,
        max_depth: MaxDepthOption = None,
        model_version: VersionOption = None,
        encoder: EncoderOption = None,
        focal_px: FocalOption = None,
        describe: Annotated[Path | None, typer.Option(
            '--describe', metavar='FILE.yaml', help='Facts on an ONNX file or IR that is not '
            'Depth Anything; inspect shows which it needs.', show_default='none')] = None,
        force: ForceOption = False,
        yes: YesOption = False,
        offline: OfflineOption = False) -> None:
    """
    Convert a model to an OpenVINO IR and prove the result.

    Kind, version and range come from records, config.json, metadata or an official name. Where
    these are missing, give the options: the tensors do not show them.
    """
    size_hw = size_from(height, width)
    require('numpy', 'cv2', 'torch', 'onnx', 'onnxscript', 'onnxruntime', 'openvino')
    from depth_anything_ros.convert.conversion import convert, convert_to_int8, Job
    from depth_anything_ros.convert.sources.identity import Overrides
    with StepReport(open_console()) as report:
        path = local_source(source, output.parent if output else MODELS_FOLDER,
                            DownloadOptions(yes, offline), report)
        target = output or MODELS_FOLDER / f'{name_of(path)}.xml'
        overrides = Overrides(kind, model_version, max_depth, encoder, focal_px)
        job = Job(path, target, precision, overrides, force, size_hw, batch_size, describe)
        if precision == 'int8':
            require('nncf')
            if images is None:
                raise CheckpointError(path, 'INT8 needs images to calibrate with', 'add --images '
                                      'FOLDER with 40 pictures like those of your camera')
            convert_to_int8(job, images, train=train, table=context.obj, report=report)
        else:
            convert(job, table=context.obj, report=report)
    size = target.with_suffix('.bin').stat().st_size / 1e6
    print(f'{target} is ready ({size:.0f} MB of weights beside it)')
