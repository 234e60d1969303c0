"""What names, digests and records tell of a model: checkpoints, Hugging Face folders, graphs."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path, PurePath
import re
from typing import TypeVar

from depth_anything_ros.convert.sources.records import read_distillation_record
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Kind, ModelVersion
from depth_anything_ros.networks.models import MODELS, ModelSpec, NanoSpec, UNKNOWN_LICENCE

_V1 = r'depth_anything_(?P<encoder>vit[sbl])14'
_V2 = r'depth_anything_v2_(?:metric_(?P<trained>hypersim|vkitti)_)?(?P<encoder>vit[sblg])'
# Students are distilled, and always relative.
_STUDENT = r'depth_anything_(?P<encoder>nano|vitt)'
# The names of Depth-Anything-ONNX, and what people add to say how a file was made.
_PLACE = r'(?:_(?P<place>indoor|outdoor))?'
_MADE = r'(?:_(?:dynamic|fp16|fp32|\d+|\d+x\d+))*'
_HUB_V1 = r'depth-anything-(?P<size>small|base|large)-hf'
_HUB_V2 = r'Depth-Anything-V2-(?:Metric-(?P<place>Indoor|Outdoor)-)?(?P<size>Small|Base|Large)-hf'
_NAMES: tuple[tuple[ModelVersion, str], ...] = (
    ('v1', rf'{_V1}\.pth'), ('v1', rf'{_V1}{_MADE}\.(?:safetensors|onnx|xml)'), ('v1', _V1),
    ('v2', rf'{_V2}\.pth'), ('v2', rf'{_V2}{_PLACE}{_MADE}\.(?:safetensors|onnx|xml)'),
    ('v1', _HUB_V1), ('v2', _HUB_V2), ('v2', rf'{_STUDENT}{_MADE}\.(?:pth|onnx|xml)'))
_MAX_DEPTH_M = {'hypersim': 20.0, 'indoor': 20.0, 'vkitti': 80.0, 'outdoor': 80.0}
_SIZES = {'small': 'vits', 'base': 'vitb', 'large': 'vitl'}
_LICENCE_V1 = 'Apache-2.0'
UNKNOWN_ENCODER = 'unknown'

_UNKNOWN = 'neither its name nor its sha256 tells the {}, and the tensors cannot'
_UNTOLD_BY_GRAPH = 'neither its metadata nor its name tells the {}, and the graph cannot'

T = TypeVar('T')


@dataclass(frozen=True)
class Evidence:
    """
    What one piece of evidence says of a model; None where it says nothing.

    ``origin`` is its name for people, ``source_name`` that of the model it speaks of.
    """

    origin: str
    source_name: str
    encoder: str | None = None
    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None
    licence: str = UNKNOWN_LICENCE


_BY_SHA256 = {
    '1e9260954ef8fd73180a3a0bd710e1aad0502aa2958ac258902b2260ca0f4304': Evidence(
        'the sha256', 'DA-V2-Small with one refit layer', 'vits', 'relative', 'v2',
        licence='Apache-2.0'),
}


def from_sha256(sha256: str) -> Evidence | None:
    """Return what is known of the file with this digest."""
    return _BY_SHA256.get(sha256)


def from_record(path: Path) -> Evidence | None:
    """Return what was recorded when the checkpoint at ``path`` was distilled."""
    record = read_distillation_record(path)
    if record is None:
        return None
    return Evidence('the record of the distillation',
                  f'{path.name}, distilled from {record.teacher}', record.student, 'relative',
                  'v2', licence=record.licence)


def of_checkpoint(path: Path, sha256: str, member: ModelSpec,
                  evidence: Evidence | None) -> tuple[Evidence, ...]:
    """
    Return all evidence on a checkpoint, the strongest first; ``evidence`` is that of config.json.

    Some of it may speak of another encoder.
    """
    specs = () if isinstance(member, NanoSpec) else (member,)
    name = evidence.source_name if evidence else path.name
    # Whatever its name, nano has but one form.
    known = Evidence('the network', path.name, member.name, 'relative', 'v2')
    found = (from_sha256(sha256), from_record(path), evidence, from_name(name, specs),
             None if specs else known)
    return tuple(one for one in found if one)


def from_name(path: str, table: tuple[ModelSpec, ...]) -> Evidence | None:
    """
    Return what an official name tells: of a .pth, .safetensors, .onnx or .xml, or a hub folder.

    ``path`` may be a hub id, ``organisation/name``, too. ``table`` knows the licences.
    """
    name = PurePath(path).name
    for version, pattern in _NAMES:
        if match := re.fullmatch(pattern, name):
            groups = match.groupdict()
            encoder = groups.get('encoder') or _SIZES[groups['size'].lower()]
            place = groups.get('trained') or groups.get('place')
            max_depth_m = _MAX_DEPTH_M[place.lower()] if place else None
            return Evidence('the file name', path, encoder,
                          'relative' if max_depth_m is None else 'metric', version, max_depth_m,
                          _licence(encoder, version, table))
    return None


def _licence(encoder: str, version: ModelVersion, table: tuple[ModelSpec, ...]) -> str:
    if version == 'v1':
        return _LICENCE_V1
    return next((spec.licence for spec in table if spec.name == encoder), UNKNOWN_LICENCE)


@dataclass(frozen=True)
class Overrides:
    """What the options say; None where they say nothing."""

    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class ModelIdentity:
    """
    What was settled, and in ``origins`` one line for people per fact with where it is from.

    ``max_depth_m`` is None for a relative model.
    """

    encoder: str
    kind: Kind
    model_version: ModelVersion
    max_depth_m: float | None
    licence: str
    source_name: str
    origins: tuple[str, ...]


def resolve_identity(path: Path, sha256: str, member: ModelSpec, overrides: Overrides,
                     config: Evidence | None = None,
                     recorded: Evidence | None = None) -> ModelIdentity:
    """
    Return what a checkpoint is; ``config`` by config.json, ``recorded`` when it was downloaded.

    Options win over the sha256, that over the record of a distillation, that over config.json,
    that over the name of the file or folder; the record of a download tells the licence where
    these do not.
    CheckpointError names the option that is missing or makes no sense.
    """
    if overrides.encoder not in (None, member.name):
        raise CheckpointError(path, f'its tensors are those of {member.name}, not of '
                              f'{overrides.encoder}', 'leave out --encoder')
    if isinstance(member, NanoSpec) and (overrides.kind == 'metric' or overrides.model_version == 'v1'):
        raise CheckpointError(path, 'it is nano, which gives inverse depth and has one version',
                              'leave out --kind, --max-depth and --model-version')
    origins = [f'encoder: {member.name}, from the shapes of the tensors']
    evidence = []
    for one in of_checkpoint(path, sha256, member, config):
        if one.encoder not in (None, member.name):
            origins.append(f'{one.origin.removeprefix("the ")}: says {one.encoder}, so nothing '
                           'is taken from it')
        else:
            evidence.append(one)
    if recorded:
        evidence.append(recorded)
    return _settle(path, member.name, overrides, evidence, origins, _UNKNOWN, member.licence)


def resolve_graph_identity(path: Path, sha256: str, metadata: Evidence | None,
                           overrides: Overrides, table: tuple[ModelSpec, ...] = MODELS
                           ) -> ModelIdentity:
    """
    Return what an ONNX file or an IR is; ``metadata`` is what its own metadata says.

    Options win over the metadata, that over the file name. The encoder and the version are baked
    into a graph; the encoder may stay unknown. CheckpointError as ``resolve_identity``.
    """
    named = from_name(path.name, table)
    evidence = [one for one in (from_sha256(sha256), metadata, named) if one]
    encoder, line = _first('encoder', overrides.encoder,
                           [(one.encoder, one.origin) for one in evidence])
    origins = [line or 'encoder: unknown; it changes nothing for the runtime']
    return _settle(path, encoder or UNKNOWN_ENCODER, overrides, evidence, origins, _UNTOLD_BY_GRAPH,
                   UNKNOWN_LICENCE)


def _settle(path: Path, encoder: str, overrides: Overrides, evidence: Sequence[Evidence],
            origins: list[str], untold: str, published_licence: str) -> ModelIdentity:
    kind: Kind = _require(
        path, 'kind', overrides.kind, [(one.kind, one.origin) for one in evidence], untold,
        '--kind relative or --kind metric --max-depth METRES', origins)
    version: ModelVersion = _require(
        path, 'model version', overrides.model_version,
        [(one.model_version, one.origin) for one in evidence], untold,
        '--model-version v1 or --model-version v2', origins)
    max_depth_m = None
    _check_max_depth(path, kind, overrides.max_depth_m)
    if kind == 'metric':
        max_depth_m = _require(
            path, 'max depth in metres', overrides.max_depth_m,
            [(one.max_depth_m, one.origin) for one in evidence], untold,
            '--max-depth METRES, which is 20 for Hypersim and 80 for VKITTI', origins)
    licence = next((one.licence for one in evidence if one.licence != UNKNOWN_LICENCE),
                   UNKNOWN_LICENCE)
    origins.append(_licence_line(licence, encoder, published_licence))
    source_name = evidence[0].source_name if evidence else path.name
    return ModelIdentity(encoder, kind, version, max_depth_m, licence, source_name, tuple(origins))


def _first(what: str, overrides: T | None, told: Sequence[tuple[T | None, str]]
           ) -> tuple[T | None, str]:
    """Return the first value that is known and a line that says so, empty where none is."""
    known = [(value, f'from {origin}', origin) for value, origin in told if value is not None]
    if overrides is not None:
        known.insert(0, (overrides, 'as asked', ''))
    if not known:
        return None, ''
    value, reason, _ = known[0]
    against = next((f', although {origin} says {other}' for other, _, origin in known[1:]
                    if other != value), '')
    return value, f'{what}: {value}, {reason}{against}'


def _require(path: Path, what: str, overrides: T | None, told: Sequence[tuple[T | None, str]],
             untold: str, options: str, origins: list[str]) -> T:
    """Return the value to use and add a line that says so to ``origins``."""
    value, line = _first(what, overrides, told)
    if value is None:
        raise CheckpointError(path, untold.format(what), f'add {options}')
    origins.append(line)
    return value


def _check_max_depth(path: Path, kind: Kind, max_depth_m: float | None) -> None:
    if max_depth_m is None:
        return
    if kind == 'relative':
        raise CheckpointError(path, '--max-depth belongs to metric models and this is relative',
                              'leave it out or add --kind metric')
    if not (math.isfinite(max_depth_m) and max_depth_m > 0):
        raise CheckpointError(path, f'--max-depth is {max_depth_m:g}',
                              'give a positive number of metres')


def _licence_line(licence: str, encoder: str, published_licence: str) -> str:
    if licence == UNKNOWN_LICENCE and published_licence != UNKNOWN_LICENCE:
        return (f'licence: unknown; the published V2 weights of {encoder} are under '
                f'{published_licence}')
    if licence == 'CC-BY-NC-4.0':
        return 'licence: CC-BY-NC-4.0, which forbids commercial use of these weights'
    return f'licence: {licence}'
