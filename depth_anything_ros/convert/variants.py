"""
Which member of the family a checkpoint is: relative or metric, V1 or V2, how far it reaches.

All of them have the same tensors and load into each other without an error, so this comes from
an option, the sha256 or the official file name, and is never guessed.
"""

from dataclasses import dataclass
import math
from pathlib import Path
import re
from typing import TypeVar

from depth_anything_ros.convert.encoders import EncoderSpec, UNKNOWN_LICENCE
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Kind, ModelVersion

_NAME_V1 = re.compile(r'depth_anything_(vit[sbl])14\.pth')
_NAME_V2 = re.compile(r'depth_anything_v2_(?:metric_(hypersim|vkitti)_)?(vit[sblg])\.pth')
_MAX_DEPTH_M = {'hypersim': 20.0, 'vkitti': 80.0}
_LICENCE_V1 = 'Apache-2.0'

T = TypeVar('T')


@dataclass(frozen=True)
class Asked:
    """What the options say; None where they say nothing."""

    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None


@dataclass(frozen=True)
class Variant:
    """
    What was settled, and in ``origins`` one line for people per fact with where it is from.

    ``max_depth_m`` is None for a relative model.
    """

    kind: Kind
    model_version: ModelVersion
    max_depth_m: float | None
    licence: str
    source_name: str
    origins: tuple[str, ...]


@dataclass(frozen=True)
class _Published:
    """What is known of a published checkpoint; None where nothing is."""

    source_name: str
    origin: str = ''
    encoder: str | None = None
    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None
    licence: str = UNKNOWN_LICENCE


_BY_SHA256 = {
    '1e9260954ef8fd73180a3a0bd710e1aad0502aa2958ac258902b2260ca0f4304': _Published(
        'DA-V2-Small with one refit layer', 'the sha256', 'vits', 'relative', 'v2',
        licence='Apache-2.0'),
}


def settle_variant(path: Path, sha256: str, spec: EncoderSpec, asked: Asked) -> Variant:
    """
    Return what the checkpoint is; options win over the sha256, that over the file name.

    CheckpointError names the option that is missing or makes no sense.
    """
    published = _BY_SHA256.get(sha256) or _from_name(path.name, spec)
    origins = [f'encoder: {spec.name}, from the shapes of the tensors']
    if published.encoder not in (None, spec.name):
        origins.append(f'file name: says {published.encoder}, so nothing is taken from it')
        published = _Published(path.name)
    kind: Kind
    version: ModelVersion
    kind, line = _choose(path, 'kind', asked.kind, published.kind, published.origin,
                         '--kind relative or --kind metric --max-depth METRES')
    version, version_line = _choose(
        path, 'model version', asked.model_version, published.model_version, published.origin,
        '--model-version v1 or --model-version v2')
    origins += [line, version_line]
    max_depth_m = None
    _check_max_depth(path, kind, asked.max_depth_m)
    if kind == 'metric':
        max_depth_m, line = _choose(
            path, 'max depth in metres', asked.max_depth_m, published.max_depth_m,
            published.origin, '--max-depth METRES, which is 20 for Hypersim and 80 for VKITTI')
        origins.append(line)
    origins.append(_licence_line(published.licence, spec))
    return Variant(kind, version, max_depth_m, published.licence, published.source_name,
                   tuple(origins))


def _from_name(name: str, spec: EncoderSpec) -> _Published:
    if match := _NAME_V1.fullmatch(name):
        return _Published(name, 'the file name', match[1], 'relative', 'v1', None, _LICENCE_V1)
    if match := _NAME_V2.fullmatch(name):
        max_depth_m = _MAX_DEPTH_M.get(match[1])
        return _Published(name, 'the file name', match[2],
                          'relative' if max_depth_m is None else 'metric', 'v2', max_depth_m,
                          spec.licence)
    return _Published(name)


def _choose(path: Path, what: str, asked: T | None, published: T | None, origin: str,
            options: str) -> tuple[T, str]:
    """Return the value to use and a line that says so."""
    if asked is not None:
        line = f'{what}: {asked}, as asked'
        if published not in (None, asked):
            line += f', although {origin} says {published}'
        return asked, line
    if published is not None:
        return published, f'{what}: {published}, from {origin}'
    raise CheckpointError(
        path, f'neither its name nor its sha256 tells the {what}, and the tensors cannot',
        f'add {options}')


def _check_max_depth(path: Path, kind: Kind, max_depth_m: float | None) -> None:
    if max_depth_m is None:
        return
    if kind == 'relative':
        raise CheckpointError(path, '--max-depth belongs to metric models and this is relative',
                              'leave it out or add --kind metric')
    if not (math.isfinite(max_depth_m) and max_depth_m > 0):
        raise CheckpointError(path, f'--max-depth is {max_depth_m:g}',
                              'give a positive number of metres')


def _licence_line(licence: str, spec: EncoderSpec) -> str:
    if licence == UNKNOWN_LICENCE and spec.licence != UNKNOWN_LICENCE:
        return (f'licence: unknown; the published V2 weights of {spec.name} are under '
                f'{spec.licence}')
    if licence == 'CC-BY-NC-4.0':
        return 'licence: CC-BY-NC-4.0, which forbids commercial use of these weights'
    return f'licence: {licence}'
