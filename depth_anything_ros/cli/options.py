"""The options that several programs share, with one meaning and one text each."""

from pathlib import Path
from typing import Annotated, get_args, TypeAlias

from depth_anything_ros.model_info import ExecutionPrecision
import typer

LARGEST_INPUT_PX = 2058
_PANEL, _FLEET = 'Model and device', 'Several machines'
_PRECISION = 'Execution precision; auto lets the device choose.'


def _precision(name: str) -> str:
    if name not in get_args(ExecutionPrecision):
        raise typer.BadParameter(
            f"'{name}' is not one of {', '.join(get_args(ExecutionPrecision))}.")
    return name


# An option is named like the parameter of the command: input_size becomes --input-size.
InputSize: TypeAlias = Annotated[int, typer.Option(
    min=0, max=LARGEST_INPUT_PX, metavar='PX', rich_help_panel=_PANEL,
    help='Short side of the network input; 0: the default of the model.')]
Device: TypeAlias = Annotated[str, typer.Option(
    rich_help_panel=_PANEL,
    help='OpenVINO devices in order of preference, separated by commas.')]
Precision: TypeAlias = Annotated[ExecutionPrecision, typer.Option(
    rich_help_panel=_PANEL, help=_PRECISION)]
# Typer takes no list of a Literal, and with Python 3.10 no callback for a list.
Precisions: TypeAlias = Annotated[list[str], typer.Option(
    '--precision', metavar='|'.join(get_args(ExecutionPrecision)), show_default=False,
    parser=_precision, default_factory=lambda: ['f32', 'auto'],
    help=f'{_PRECISION[:-1]}; may be repeated; default: f32 and auto.')]
RayAddress: TypeAlias = Annotated[str | None, typer.Option(
    '--ray', metavar='ADDRESS', rich_help_panel=_FLEET, show_default='this machine alone',
    help='Work on a Ray cluster: HOST:PORT of its head, auto for the cluster of this machine, '
    'or local.')]
RayCpus: TypeAlias = Annotated[int, typer.Option(
    '--ray-cpus', min=0, metavar='N', rich_help_panel=_FLEET,
    help='CPUs of a worker of --ray; 0: one worker with all CPUs of its machine.')]
Picture: TypeAlias = Annotated[Path | None, typer.Option(
    '--picture', metavar='FILE.png', help='Draw the figures.', show_default=False)]
