"""The subcommand ``verify``: whether an IR computes correctly, also on a device."""

from dataclasses import asdict
import json
from pathlib import Path
import re
from typing import Annotated

from depth_anything_ros.cli.progress import open_console
from depth_anything_ros.convert.commands.options import JsonOption, require
from depth_anything_ros.convert.parity.measure import ParityRow
from depth_anything_ros.convert.parity.verify import Verification, verify
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.devices import device_report, open_core
from depth_anything_ros.model_info import ExecutionPrecision
from rich.console import Console
import typer

EXAMPLES = """depth_anything_convert verify models/small.xml
depth_anything_convert verify models/small.xml --checkpoint depth_anything_v2_vits.pth
depth_anything_convert verify models/small.xml --device GPU --sizes 518x518,392x518"""


def command(
        context: typer.Context,
        model: Annotated[Path, typer.Argument(metavar='MODEL.xml', help='The IR.')],
        checkpoint: Annotated[Path | None, typer.Option(
            '--checkpoint', metavar='SOURCE', help='The file that the IR was made from.')] = None,
        device: Annotated[str, typer.Option(
            '--device', help='A device that OpenVINO sees: CPU, GPU, GPU.1, NPU.')] = 'CPU',
        precision: Annotated[ExecutionPrecision, typer.Option(
            '--precision', help='Execution precision; with auto the device chooses.')] = 'auto',
        sizes: Annotated[str, typer.Option(
            '--sizes', metavar='WxH,...', help='Sizes of the input in pixels, width first.',
            show_default='two usual ones, such as 518x518,518x392, or the only one')] = '',
        as_json: JsonOption = False) -> None:
    """
    Compare an IR with its source and a device with the CPU.

    The first lines name releases, device and drivers, for a report. The CPU runs in f32, the
    device in its own precision. The device is also compared with the self-check in the IR. All
    run on the test card. The last line is PASS, or FAIL with the failed comparisons; the exit
    status is 0 or 1.
    """
    require('numpy', 'cv2', 'openvino')
    if checkpoint is not None:
        require('torch')
    wanted_hw, machine = _sizes(sizes), device_report(open_core(), device)
    console = open_console()
    if not as_json:
        # First, because a report about a device that fails needs them most.
        for name, value in machine.items():
            console.print(f'{name}: {value}', highlight=False, soft_wrap=True)
    found = verify(model, source=checkpoint, device=device, precision=precision,
                   sizes_hw=wanted_hw, table=context.obj)
    if as_json:
        print(json.dumps({'machine': machine, **asdict(found), 'verdict': found.verdict},
                         indent=2))
    else:
        _show(found, console)
    if found.verdict != 'PASS':
        raise typer.Exit(1)


def _sizes(text: str) -> list[tuple[int, int]]:
    """Return (height, width) of each size in a list such as 518x392,518x518."""
    found = []
    for size in filter(None, text.split(',')):
        match = re.fullmatch(r'\s*(\d+)x(\d+)\s*', size)
        if not match:
            raise CheckpointError(f'--sizes {text}', f'{size} is not a size',
                                  'write WIDTHxHEIGHT, for example 518x392')
        found.append((int(match[2]), int(match[1])))
    return found


def _show(found: Verification, console: Console) -> None:
    from rich.table import Table
    table = Table('', 'size', 'max/std', 'mean/std', 'AbsRel', 'Pearson', 'allowed', box=None)
    for check in found.checks:
        height, width = check.size_hw
        table.add_row(
            check.name, f'{width}x{height}', _number(check.max_error), _number(check.mean_error),
            _number(check.abs_rel), '-' if check.pearson is None else f'{check.pearson:.5f}',
            _allowed(check), '' if check.passed else 'FAILED')
    console.print(table)
    for note in found.notes:
        console.print(f'note: {note}')
    console.print(found.verdict)


def _allowed(check: ParityRow) -> str:
    limits = {'max': check.limits.max_error, 'mean': check.limits.mean_error,
              'AbsRel': check.limits.abs_rel}
    return ', '.join(f'{name} {value:g}' for name, value in limits.items() if value is not None)


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.1e}'
