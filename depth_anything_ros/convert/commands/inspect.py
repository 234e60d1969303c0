"""The subcommand ``inspect``: what a file is."""  # noqa: A005 - imported by its full name

from dataclasses import asdict
import json
from pathlib import Path
from typing import Annotated, Any

from depth_anything_ros.cli.program import complain
from depth_anything_ros.cli.progress import open_console
from depth_anything_ros.convert.commands.options import JsonOption
from depth_anything_ros.convert.inspect.inspect import inspect
from depth_anything_ros.convert.inspect.report import Inspection
from depth_anything_ros.errors import DepthAnythingError, line_of
from depth_anything_ros.model_info import Quantization, SelfCheck
from rich.console import Console
import typer

EXAMPLES = """depth_anything_convert inspect models/*.xml
depth_anything_convert inspect depth_anything_v2_vits.pth small.onnx --json"""

_FACTS = {'encoder': 'encoder', 'kind': 'kind', 'model_version': 'version',
          'max_depth_m': 'max depth [m]', 'licence': 'licence'}


def command(
        context: typer.Context,
        files: Annotated[list[Path], typer.Argument(
            metavar='FILE...', help='Checkpoints (.pth, .safetensors, Hugging Face folders), '
            '.onnx and .xml files.')],
        as_json: JsonOption = False) -> None:
    """
    Show what checkpoints, ONNX files and IRs are, without running them.

    Encoder, kind, version and licence are shown with their evidence, beside sizes, precision,
    sha256, self-check and INT8 layers. The exit status is 1 if one of the files is not a Depth
    Anything model.
    """
    found: list[dict[str, Any]] = []
    console = open_console()
    failed = False
    for path in files:
        try:
            inspection = inspect(path, context.obj)
        except (DepthAnythingError, OSError) as error:
            failed = True
            found.append({'path': str(path), 'error': line_of(error)})
            complain(error)
        else:
            found.append(asdict(inspection))
            if not as_json:
                _show(inspection, console)
    if as_json:
        print(json.dumps(found, indent=2))
    if failed:
        raise typer.Exit(1)


def _show(found: Inspection, console: Console) -> None:
    from rich.table import Table
    table = Table('', '', show_header=False, box=None, title=found.path, title_justify='left')
    for name, text in _rows(found):
        table.add_row(name, text)
    console.print(table)


def _rows(found: Inspection) -> list[tuple[str, str]]:
    rows = [('what', found.what)]
    for name, title in _FACTS.items():
        value, origin = getattr(found, name), found.origins.get(name)
        if value is not None:
            rows.append((title, f'{value} ({origin})' if origin else str(value)))
        elif origin:
            rows.append((title, origin))
    if found.input_shape is not None and found.self_check is None:
        rows.append(('metadata', 'none; add it with depth_anything_convert convert'))
    rows += _described(found)
    rows += [('parameters', f'{found.parameters / 1e6:.1f} M'), ('weights', _shares(found))]
    if found.input_shape is not None:
        rows.append(('input', f'{found.input_name} {_shape(found.input_shape)}'))
    rows += [('files', ', '.join(f'{name} {size / 1e6:.1f} MB'
                                 for name, size in found.files.items())),
             ('sha256', found.sha256)]
    rows += [(name, str(value)) for name, value in (
        ('source', found.source_name), ('source sha256', found.source_sha256),
        ('converter', found.converter_version)) if value is not None]
    if found.focal_px is not None:
        rows.append(('metres', f'for a focal length of {found.focal_px:g} px of its image'))
    if found.range_m is not None:
        rows.append(('trained on', f'{found.range_m[0]:g} to {found.range_m[1]:g} m'))
    if found.self_check:
        rows.append(('self-check', _check(found.self_check)))
    if found.quantization:
        rows += _int8(found.quantization)
    return rows


def _described(found: Inspection) -> list[tuple[str, str]]:
    """Return the rows on a network that is not Depth Anything, or of which nothing is known."""
    rows = [('family', found.family)] if found.family else []
    if found.refusal:
        return [*rows, ('cannot be used', found.refusal)]
    rows += [(f'known: {name}', json.dumps(value)) for name, value in found.facts.items()]
    if found.missing:
        rows.append(('to describe', 'in a file for convert --describe, unless it is Depth '
                     'Anything'))
    rows += [(f'asked: {name}', meaning) for name, meaning in found.missing.items()]
    if found.description:
        rows.append(('described as', found.description))
    return rows


def _shares(found: Inspection) -> str:
    return ', '.join(f'{name} {100 * share:.1f} %' if share > 5e-4 else f'{name} traces'
                     for name, share in found.precision.items())


def _shape(shape: tuple[int, ...]) -> str:
    free = all(side == 0 for side in shape[2:])
    sides = ', '.join('any' if side == 0 else str(side) for side in shape)
    return f'[{sides}], {"any size" if free else "one size"}'


def _check(check: SelfCheck) -> str:
    height, width = check.size_hw
    return (f'stored: card of {width}x{height}, {len(check.samples)} samples, '
            f'standard deviation {check.std:.3g}')


def _int8(made: Quantization) -> list[tuple[str, str]]:
    kept = ', '.join(made.kept_float) or 'nothing'
    return [('INT8 method', f'{made.method}, calibrated on {made.calibration_images} images'),
            ('no fixed ranges', kept),
            ('INT8 loss', f'AbsRel {made.abs_rel_mean:.4f} mean, {made.abs_rel_max:.4f} worst, '
             f'Pearson {made.pearson_min:.4f} at worst, on {made.images} images')]
