"""The subcommand ``export``: a checkpoint to ONNX."""

from pathlib import Path
from typing import Annotated, Literal

from depth_anything_ros.cli.progress import open_console, StepReport
from depth_anything_ros.convert.commands.options import (
    BatchOption, EncoderOption, FocalOption, ForceOption, HeightOption, KindOption, MaxDepthOption,
    MODELS_FOLDER, OfflineOption, require, VersionOption, WidthOption, YesOption)
from depth_anything_ros.convert.hub.resolve import DownloadOptions, local_source, name_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Kind
import typer

EXAMPLES = """depth_anything_convert export depth_anything_v2_vits.pth -o models/small.onnx
depth_anything_convert export --encoder vits --metric indoor
depth_anything_convert export --encoder vits --height 518 --width 518 --batch-size 1"""

Metric = Literal['indoor', 'outdoor']
_DATASETS = {'indoor': 'hypersim', 'outdoor': 'vkitti'}
_UNPUBLISHED = {'vitg': 'vitg was announced but never published',
                'vitt': 'vitt is distilled and was never published',
                'tiny': 'tiny is distilled and was never published as a checkpoint',
                'da3_vitl': 'it is the encoder of two checkpoints, da3-mono and da3-metric'}


def command(
        context: typer.Context,
        source: Annotated[str | None, typer.Argument(
            metavar='SOURCE', help='A .pth or .safetensors file, a Hugging Face folder, or a '
            'short name or hub id, which is downloaded.',
            show_default='the published checkpoint of --encoder and --metric')] = None,
        output: Annotated[Path | None, typer.Option(
            '--output', '-o', metavar='NAME.onnx', help='Where to write the ONNX file.',
            show_default='models/SOURCE.onnx')] = None,
        encoder: EncoderOption = None,
        focal_px: FocalOption = None,
        metric: Annotated[Metric | None, typer.Option(
            '--metric', help='The metric network for indoor (Hypersim, 20 m) or outdoor (VKITTI, '
            '80 m) scenes.', show_default='relative')] = None,
        batch_size: BatchOption = 0,
        height: HeightOption = 0,
        width: WidthOption = 0,
        opset: Annotated[int | None, typer.Option(
            '--opset', min=1, metavar='N', help='Version of the ONNX operators.',
            show_default="PyTorch's own choice")] = None,
        external_data: Annotated[bool, typer.Option(
            '--external-data/--no-external-data',
            help='Whether the weights are stored in a second file.')] = True,
        kind: KindOption = None,
        max_depth: MaxDepthOption = None,
        model_version: VersionOption = None,
        force: ForceOption = False,
        yes: YesOption = False,
        offline: OfflineOption = False) -> None:
    """
    Export a checkpoint to ONNX and prove the result.

    The input `image` is f32 [N,3,H,W], RGB, normalised; the output `depth` is f32 [N,H,W]. Without
    a source the published checkpoint of --encoder is downloaded.
    """
    name = source or _published_name(encoder, metric)
    kind, max_depth = _metric_facts(metric, kind, max_depth)
    require('numpy', 'cv2', 'torch', 'onnx', 'onnxscript', 'onnxruntime')
    from depth_anything_ros.convert.conversion import export, ExportJob
    from depth_anything_ros.convert.export import OnnxOptions
    from depth_anything_ros.convert.sources.identity import Overrides
    options = OnnxOptions(batch_size, (height, width) if height or width else None, opset,
                          external_data)
    with StepReport(open_console()) as report:
        path = local_source(name, output.parent if output else MODELS_FOLDER,
                            DownloadOptions(yes, offline), report)
        job = ExportJob(path, output or MODELS_FOLDER / f'{name_of(path)}.onnx', options,
                        Overrides(kind, model_version, max_depth, encoder, focal_px), force)
        export(job, table=context.obj, report=report)
    print(f'{job.output} is ready')


def _metric_facts(metric: Metric | None, kind: Kind | None,
                  max_depth: float | None) -> tuple[Kind | None, float | None]:
    """Return kind and range of the options; --max-depth wins over the range of --metric."""
    if metric is None:
        return kind, max_depth
    if kind == 'relative':
        raise CheckpointError(f'--metric {metric} --kind relative', 'a relative network gives no '
                              'metres', 'leave out one of the two')
    from depth_anything_ros.convert.sources.identity import MAX_DEPTH_M
    return 'metric', max_depth or MAX_DEPTH_M[metric]


def _published_name(encoder: str | None, metric: Metric | None) -> str:
    if encoder is None:
        raise CheckpointError('export', 'neither a source nor --encoder is given',
                              'give the path of a checkpoint or --encoder vits')
    if encoder in _UNPUBLISHED:
        raise CheckpointError(f'--encoder {encoder}', _UNPUBLISHED[encoder],
                              'give a checkpoint as SOURCE as well')
    return f'metric-{_DATASETS[metric]}-{encoder}' if metric else encoder
