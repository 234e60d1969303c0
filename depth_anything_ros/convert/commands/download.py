"""The subcommand ``download``: published checkpoints by name."""

from pathlib import Path
from typing import Annotated

from depth_anything_ros.cli.progress import open_console, StepReport
from depth_anything_ros.convert.commands.options import (
    MODELS_FOLDER, OfflineOption, require, YesOption)
from depth_anything_ros.convert.hub.catalog import published
from depth_anything_ros.convert.hub.download import find_checkpoint
from depth_anything_ros.convert.hub.resolve import DownloadOptions, obtain
from depth_anything_ros.errors import CheckpointError
from rich.console import Console
import typer

EXAMPLES = """depth_anything_convert download --list
depth_anything_convert download vits metric-hypersim-vits
depth_anything_convert download depth-anything/Depth-Anything-V2-Large-hf -o weights --yes"""


def command(
        names: Annotated[list[str] | None, typer.Argument(
            metavar='NAME...', help='Short names (vits, metric-hypersim-vits, v1-vitl, vits-hf, '
            '...) or hub ids.', show_default=False)] = None,
        list_names: Annotated[bool, typer.Option(
            '--list', help='List the published checkpoints and stop.')] = False,
        output: Annotated[Path, typer.Option(
            '--output', '-o', metavar='FOLDER', help='Folder for the files.')] = MODELS_FOLDER,
        offline: OfflineOption = False,
        yes: YesOption = False) -> None:
    """
    Download published checkpoints with their licence.

    The sha256 is compared with the one that the hub names, and the licence is recorded. A broken
    connection is resumed. HF_ENDPOINT selects a mirror; HF_HUB_OFFLINE=1 is --offline.
    """
    console = open_console()
    if list_names:
        _list(console)
        return
    if not names:
        raise CheckpointError('download', 'no name was given', 'give one of download --list')
    require('huggingface_hub')
    options = DownloadOptions(yes, offline)
    with StepReport(console) as report:
        found = [find_checkpoint(name, offline) for name in names]
        paths = [obtain(checkpoint, output, options, report) for checkpoint in found]
    for path in paths:
        print(f'{path} is ready')


def _list(console: Console) -> None:
    from rich.table import Table
    table = Table('name', 'repository on the hub', 'saved as', 'licence', box=None)
    for row in published():
        table.add_row(row.name, row.repository, f'{row.saved_as}{"/" if row.is_folder else ""}',
                      row.licence)
    console.print(table)
    console.print('CC-BY-NC-4.0 forbids commercial use.')
