"""The options that several subcommands share."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from depth_anything_ros.cli.program import require_packages
from depth_anything_ros.convert import PROGRAM
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Kind
import typer

MODELS_FOLDER = Path('models')

Encoder = Literal['vits', 'vitb', 'vitl', 'vitg', 'vitt', 'tiny', 'da3_vitl']
Version = Literal['v1', 'v2', 'v3']

KindOption: TypeAlias = Annotated[Kind | None, typer.Option(
    '--kind', help='Output of the network: inverse depth up to scale and shift, or metres.',
    show_default='that of the source')]
MaxDepthOption: TypeAlias = Annotated[float | None, typer.Option(
    '--max-depth', metavar='METRES', help='Range of a metric network.',
    show_default='that of the source')]
VersionOption: TypeAlias = Annotated[Version | None, typer.Option(
    '--model-version', help='V1 and V2 have the same tensors but read different blocks.',
    show_default='that of the source')]
EncoderOption: TypeAlias = Annotated[Encoder | None, typer.Option(
    '--encoder', help='Checked against the tensors of a checkpoint, recorded for a graph.',
    show_default='that of the source')]
FocalOption: TypeAlias = Annotated[float | None, typer.Option(
    '--focal-px', metavar='PX', help='Depth Anything 3: the focal length for which its depth is '
    'in metres, 300 for DA3METRIC, 0 for DA3MONO, which gives none.',
    show_default='that of the source')]
HeightOption: TypeAlias = Annotated[int, typer.Option(
    '--height', min=0, metavar='PX',
    help='Fixed height of the input in pixels, a multiple of 14; 0: any.')]
WidthOption: TypeAlias = Annotated[int, typer.Option(
    '--width', min=0, metavar='PX',
    help='Fixed width of the input in pixels, a multiple of 14; 0: any.')]
BatchOption: TypeAlias = Annotated[int, typer.Option(
    '--batch-size', min=0, metavar='N', help='Fixed number of images; 0: any.')]
TrainOption: TypeAlias = Annotated[bool, typer.Option(
    '--train', help='If INT8 loses too much, train its weights on the images against the f32 '
    'depth, before layers lose their fixed ranges.')]
ForceOption: TypeAlias = Annotated[bool, typer.Option(
    '--force', help='Replace an output that exists.')]
YesOption: TypeAlias = Annotated[bool, typer.Option(
    '--yes', help='Accept the licence of what is downloaded without a question.')]
OfflineOption: TypeAlias = Annotated[bool, typer.Option(
    '--offline', help='Use local files and the cache of the hub client, never the network.')]
JsonOption: TypeAlias = Annotated[bool, typer.Option(
    '--json', help='Write JSON instead of tables.')]


def size_from(height: int, width: int) -> tuple[int, int] | None:
    """Return (height, width), None if both are 0; CheckpointError if only one of them is."""
    if bool(height) != bool(width):
        raise CheckpointError(f'--height {height} --width {width}', 'only one side is fixed',
                              'give both, or neither for a model of any size')
    return (height, width) if height else None


def require(*packages: str) -> None:
    """Raise MissingDependencyError for the first package that is not installed."""
    require_packages(PROGRAM, *packages)
