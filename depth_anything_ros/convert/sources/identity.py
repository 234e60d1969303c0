"""
Which model a checkpoint, an ONNX file or an IR is, and under which licence.

Tensors show the encoder, but not the kind, the version or the range. These come from evidence:
options, records beside the file, config.json, metadata and official file names.
``resolve_identity`` is the only place that weighs it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
import math
from pathlib import Path, PurePath
import re
from typing import Any, Generic, TypeVar

from depth_anything_ros.convert.sources.da3_names import focal_px_of, SKY_THRESHOLD
from depth_anything_ros.convert.sources.description import Description
from depth_anything_ros.convert.sources.records import (
    DistillationRecord, DownloadRecord, MetricRecord, read_distillation_record,
    read_metric_record, read_record)
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Kind, ModelInfo, ModelVersion
from depth_anything_ros.networks.models import (
    EncoderSpec, forbids_commercial_use, identify_network, LICENCE_V1, Shapes, UNKNOWN_LICENCE)

_V1 = r'depth_anything_(?P<encoder>vit[sbl])14'
_V2 = r'depth_anything_v2_(?:metric_(?P<dataset>hypersim|vkitti)_)?(?P<encoder>vit[sblg])'
# Students are distilled, and always relative.
_STUDENT = r'depth_anything_(?P<encoder>tiny|vitt)'
# The names of Depth-Anything-ONNX, and the suffixes that describe how a file was exported.
_PLACE = r'(?:_(?P<place>indoor|outdoor))?'
_EXPORT = r'(?:_(?:dynamic|fp16|fp32|\d+|\d+x\d+))*'
_HUB_V1 = r'depth-anything-(?P<size>small|base|large)-hf'
_HUB_V2 = r'Depth-Anything-V2-(?:Metric-(?P<place>Indoor|Outdoor)-)?(?P<size>Small|Base|Large)-hf'
_OFFICIAL_NAMES: tuple[tuple[ModelVersion, str], ...] = (
    ('v1', rf'{_V1}\.pth'), ('v1', rf'{_V1}{_EXPORT}\.(?:safetensors|onnx|xml)'), ('v1', _V1),
    ('v2', rf'{_V2}\.pth'), ('v2', rf'{_V2}{_PLACE}{_EXPORT}\.(?:safetensors|onnx|xml)'),
    ('v1', _HUB_V1), ('v2', _HUB_V2), ('v2', rf'{_STUDENT}{_EXPORT}\.(?:pth|onnx|xml)'))
MAX_DEPTH_M = {'hypersim': 20.0, 'indoor': 20.0, 'vkitti': 80.0, 'outdoor': 80.0}
_SIZES = {'small': 'vits', 'base': 'vitb', 'large': 'vitl'}

UNKNOWN = 'unknown, the weights do not show it'
_UNKNOWN_ENCODER = 'unknown'
_NOWHERE = 'and neither a record beside it nor config.json nor an official file name says it'
_NOWHERE_FOR_GRAPH = 'and neither its metadata nor an official file name says it'
_OR_DESCRIBE = ', or describe a network that is not Depth Anything with ' \
    'depth_anything_convert convert {} --describe FILE.yaml'
_CHECKPOINT_WANTED = 'give a Depth Anything V1 or V2 checkpoint in the official layout or that ' \
    'of the -hf repositories'

T = TypeVar('T')


@dataclass(frozen=True)
class Evidence:
    """
    The facts that one piece of evidence states; None where it states nothing.

    ``origin`` names the evidence for people, ``source_name`` names the model it describes.
    """

    origin: str
    source_name: str | None = None
    encoder: str | None = None
    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None
    licence: str = UNKNOWN_LICENCE
    focal_px: float | None = None
    range_m: tuple[float, float] | None = None


@dataclass(frozen=True)
class Overrides:
    """
    The facts that the user states with options, which win; None without an option.

    ``focal_px`` belongs to Depth Anything 3: the focal length for which its depth is in metres, 0
    for none.
    """

    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None
    encoder: str | None = None
    focal_px: float | None = None


@dataclass(frozen=True)
class Fact(Generic[T]):
    """A fact, None where it is unknown; ``origin`` names its evidence, ``line`` is for people."""

    value: T | None
    origin: str
    line: str


@dataclass(frozen=True)
class OutputFacts:
    """The facts on the output of a network that ``ModelInfo`` explains."""

    has_shift: bool = True
    focal_px: float | None = None
    range_m: tuple[float, float] | None = None
    sky_threshold: float | None = None
    description: str = ''


@dataclass(frozen=True)
class ModelIdentity:
    """
    All facts on a model, and in ``origins`` one line for people per fact with its evidence.

    ``max_depth_m`` is None for a relative model.
    """

    encoder: str
    kind: Kind
    model_version: ModelVersion
    max_depth_m: float | None
    licence: str
    source_name: str
    origins: tuple[str, ...]
    output: OutputFacts = OutputFacts()


@dataclass(frozen=True)
class ResolvedIdentity:
    """
    The facts that the evidence on the model at ``path`` gives.

    ``licence`` is 'unknown' where no evidence states one. ``ignored`` has a line for people per
    piece of evidence that describes another encoder.
    """

    path: Path
    encoder: Fact[str]
    kind: Fact[Kind]
    model_version: Fact[ModelVersion]
    max_depth_m: Fact[float]
    focal_px: Fact[float]
    range_m: Fact[tuple[float, float]]
    licence: Fact[str]
    source_name: str | None
    ignored: tuple[str, ...]
    is_graph: bool

    def require_complete(self) -> ModelIdentity:
        """Return all facts; CheckpointError names the option for the first unknown one."""
        kind = self._require('kind', self.kind,
                             '--kind relative or --kind metric --max-depth METRES')
        version = self._require('model version', self.model_version,
                                '--model-version v1 or --model-version v2')
        if kind == 'metric' and version != 'other':
            self._require('max depth in metres', self.max_depth_m,
                          '--max-depth METRES, which is 20 for Hypersim and 80 for VKITTI')
        output = OutputFacts()
        if version == 'v3':
            focal_px = self._require(
                'focal length of metres', self.focal_px, '--focal-px 300 for DA3METRIC-LARGE, or '
                '--focal-px 0 for DA3MONO-LARGE, which gives no metres, to '
                'depth_anything_convert convert')
            output = OutputFacts(False, focal_px or None, sky_threshold=SKY_THRESHOLD)
        elif self.focal_px.value:
            output = OutputFacts(False, self.focal_px.value, self.range_m.value)
        lines = (self.encoder.line, *self.ignored, self.kind.line, self.model_version.line,
                 self.max_depth_m.line, self.focal_px.line, self.range_m.line, self.licence.line)
        return ModelIdentity(
            self.encoder.value or _UNKNOWN_ENCODER, kind, version, self.max_depth_m.value,
            self.licence.value or UNKNOWN_LICENCE, self.source_name or model_name(self.path),
            tuple(line for line in lines if line), output)

    def _require(self, what: str, fact: Fact[T], options: str) -> T:
        if fact.value is None:
            nowhere = _NOWHERE_FOR_GRAPH if self.is_graph else _NOWHERE
            others = _OR_DESCRIBE.format(self.path.name) if self.is_graph else ''
            raise CheckpointError(self.path, f'its {what} is unknown: the weights do not show it, '
                                  f'{nowhere}',
                                  f'add {options}{others}')
        return fact.value


def identify_checkpoint(path: Path, shapes: Shapes,
                        table: tuple[EncoderSpec, ...]) -> EncoderSpec:
    """Return the model with these official tensor names; CheckpointError names others."""
    try:
        return identify_network(shapes, table)
    except ValueError as error:
        raise CheckpointError(
            path, f'it is not a Depth Anything checkpoint: {error} (it starts with '
            f'{", ".join(list(shapes)[:3])})', _CHECKPOINT_WANTED) from error


def described_identity(path: Path, described: Description, origin: str) -> ModelIdentity:
    """Return the facts on a network of another family; ``origin`` names their evidence."""
    if described.max_depth and described.kind != 'metric':
        raise CheckpointError(path, 'max_depth is given, but the output is not in metres',
                              'leave it out, or state metres: true')
    licence, note = described.licence, ''
    if forbids_commercial_use(licence):
        note = ', which forbids commercial use of these weights'
    return ModelIdentity(
        described.name, described.kind, 'other', described.max_depth or None, licence,
        model_name(path), (f'facts: {origin}', f'kind: {described.kind}',
                           f'licence: {licence}{note}'),
        OutputFacts(described.has_shift, described.focal_px or None, None,
                    described.sky_threshold if described.sky_output else None, described.text))


def checkpoint_evidence(path: Path, digests: Collection[str], spec: EncoderSpec,
                        config: Evidence | None) -> tuple[Evidence, ...]:
    """
    Return the evidence on a checkpoint with these sha256, strongest first.

    A record counts only if it names the ``digests``. ``config`` is that of config.json.
    """
    found: list[Evidence] = []
    if metric := read_metric_record(path, digests):
        found.append(from_metric_record(path, metric))
    if distilled := read_distillation_record(path, digests):
        found.append(from_record(path, distilled))
    if config:
        found.append(config)
    name = (config and config.source_name) or model_name(path)
    if named := from_file_name(name, (spec,)):
        found.append(named)
    if downloaded := read_record(path, digests):
        found.append(from_record(path, downloaded))
    return tuple(found)


def graph_evidence(path: Path, info: ModelInfo | None,
                   table: tuple[EncoderSpec, ...]) -> tuple[Evidence, ...]:
    """Return the evidence on an ONNX file or IR with these metadata, strongest first."""
    metadata = from_metadata(path, info) if info else None
    return tuple(one for one in (metadata, from_file_name(path.name, table)) if one)


def resolve_identity(path: Path, spec: EncoderSpec | None, evidence: Sequence[Evidence],
                     overrides: Overrides | None = None) -> ResolvedIdentity:
    """
    Return the facts on a model; ``spec`` is None for a graph, whose tensors show no encoder.

    ``overrides`` win, then the first piece of evidence that states a fact. Evidence that
    describes another encoder than that of the tensors is ignored. CheckpointError names an
    override that the network contradicts.
    """
    overrides = overrides or Overrides()
    ignored: list[str] = []
    if spec is None:
        used = list(evidence)
        encoder: Fact[str] = _fact('encoder', 'encoder', '--encoder', overrides.encoder, used)
    else:
        _check_overrides(path, spec, overrides)
        if spec.is_v3:
            evidence = (Evidence('the sky head', None, spec.name, 'relative', 'v3'), *evidence)
        used = [one for one in evidence if one.encoder in (None, spec.name)
                and one.model_version in (('v3', None) if spec.is_v3 else ('v1', 'v2', None))]
        ignored = [f'{one.origin.removeprefix("the ")}: it describes '
                   f'{one.encoder or one.model_version}, so it is ignored'
                   for one in evidence if one not in used]
        shapes = 'the shapes of the tensors'
        encoder = Fact(spec.name, shapes, f'encoder: {spec.name}, from {shapes}')
    kind: Fact[Kind] = _fact('kind', 'kind', '--kind', overrides.kind, used)
    version: Fact[ModelVersion] = _fact(
        'model version', 'model_version', '--model-version', overrides.model_version, used)
    _check_max_depth(path, kind.value, overrides.max_depth_m)
    max_depth_m: Fact[float] = Fact(None, '', '')
    if kind.value == 'metric':
        max_depth_m = _fact('max depth in metres', 'max_depth_m', '--max-depth',
                            overrides.max_depth_m, used)
    focal_px: Fact[float] = Fact(None, '', '')
    range_m: Fact[tuple[float, float]] = Fact(None, '', '')
    if version.value == 'v3' or any(one.focal_px for one in used):
        focal_px = _fact('focal length of metres in pixels, 0 for none', 'focal_px', '--focal-px',
                         overrides.focal_px, used)
    if any(one.range_m for one in used):
        range_m = _fact('range of its training in metres', 'range_m', '', None, used)
    source_name = next((one.source_name for one in used if one.source_name), None)
    return ResolvedIdentity(path, encoder, kind, version, max_depth_m, focal_px,
                            range_m, _licence(spec, used), source_name, tuple(ignored),
                            spec is None)


def from_file_name(name: str, table: tuple[EncoderSpec, ...]) -> Evidence | None:
    """
    Return the evidence in an official name: of a .pth, .safetensors, .onnx or .xml, or a folder.

    ``name`` may be a hub id, ``owner/name``, too. ``table`` has the licences of the V2 weights.
    """
    for version, pattern in _OFFICIAL_NAMES:
        if match := re.fullmatch(pattern, PurePath(name).name):
            groups = match.groupdict()
            encoder = groups.get('encoder') or _SIZES[groups['size'].lower()]
            place = groups.get('dataset') or groups.get('place')
            max_depth_m = MAX_DEPTH_M[place.lower()] if place else None
            licence = LICENCE_V1 if version == 'v1' else next(
                (spec.licence for spec in table if spec.name == encoder), UNKNOWN_LICENCE)
            return Evidence('the file name', name, encoder, 'metric' if place else 'relative',
                            version, max_depth_m, licence)
    plain = PurePath(name).name.removesuffix('.safetensors')
    if (focal_px := focal_px_of(plain)) is not None:
        licence = next((spec.licence for spec in table if spec.is_v3), UNKNOWN_LICENCE)
        return Evidence('the file name', name, None, 'relative', 'v3', licence=licence,
                        focal_px=focal_px)
    return None


def from_metadata(path: Path, info: ModelInfo) -> Evidence:
    """Return the evidence in the metadata of an ONNX file or IR."""
    what = 'IR' if path.suffix == '.xml' else 'ONNX file'
    return Evidence(f'the metadata of the {what}', info.source_name, info.encoder, info.kind,
                    info.model_version, info.max_depth_m, info.licence, info.focal_px or 0.0,
                    info.range_m)


def from_record(path: Path, record: DownloadRecord | DistillationRecord) -> Evidence:
    """Return the evidence in a record of the checkpoint at ``path``."""
    if isinstance(record, DownloadRecord):
        return Evidence('the record of the download', record.repository, licence=record.licence)
    return Evidence('the record of the distillation', f'{path.name}, distilled from '
                    f'{record.teacher}', record.student, 'relative', 'v2', licence=record.licence)


def from_metric_record(path: Path, record: MetricRecord) -> Evidence:
    """Return the evidence in the record of the fine-tuning of the checkpoint at ``path``."""
    return Evidence('the record of the fine-tuning', f'{path.name}, {record.start} in metres',
                    record.encoder, 'relative', record.model_version, licence=record.licence,
                    focal_px=record.focal_px, range_m=record.range_m)


def model_name(path: Path) -> str:
    """Return the name of a file, or that of a folder behind links and dots."""
    return path.resolve().name if path.is_dir() else path.name


def _fact(what: str, field: str, option: str, override: Any,
          evidence: Sequence[Evidence]) -> Fact[Any]:
    known = [(getattr(one, field), one.origin) for one in evidence
             if getattr(one, field) is not None]
    if override is not None:
        known.insert(0, (override, option))
    if not known:
        return Fact(None, UNKNOWN, f'{what}: unknown')
    value, origin = known[0]
    against = next((f', although {other_origin} says {other}' for other, other_origin in known[1:]
                    if other != value), '')
    return Fact(value, origin, f'{what}: {value}, from {origin}{against}')


def _licence(spec: EncoderSpec | None, evidence: Sequence[Evidence]) -> Fact[str]:
    for one in evidence:
        if one.licence != UNKNOWN_LICENCE:
            note = (', which forbids commercial use of these weights'
                    if forbids_commercial_use(one.licence) else '')
            return Fact(one.licence, one.origin, f'licence: {one.licence}{note}')
    note = '' if spec is None or spec.licence == UNKNOWN_LICENCE else (
        f'; the published V2 weights of {spec.name} are under {spec.licence}')
    return Fact(None, '', f'licence: {UNKNOWN_LICENCE}{note}')


def _check_overrides(path: Path, spec: EncoderSpec, overrides: Overrides) -> None:
    if overrides.encoder not in (None, spec.name):
        raise CheckpointError(path, f'its tensors are those of {spec.name}, not of '
                              f'{overrides.encoder}', 'leave out --encoder')
    if spec.is_v3 and (overrides.kind == 'metric' or overrides.model_version not in (None, 'v3')):
        raise CheckpointError(path, 'it is Depth Anything 3, whose metres need the focal length',
                              'leave out --kind and --model-version; --focal-px 300 gives metres')
    if not spec.is_v3 and (overrides.focal_px is not None or overrides.model_version == 'v3'):
        raise CheckpointError(path, 'it is not Depth Anything 3',
                              'leave out --focal-px and --model-version v3')
    if overrides.focal_px is not None and not 0 <= overrides.focal_px < math.inf:
        raise CheckpointError(path, f'--focal-px is {overrides.focal_px:g}',
                              'give a number of pixels, or 0 for none')


def _check_max_depth(path: Path, kind: Kind | None, max_depth_m: float | None) -> None:
    if max_depth_m is None:
        return
    if kind == 'relative':
        raise CheckpointError(path, '--max-depth belongs to metric models and this is relative',
                              'leave it out or add --kind metric')
    if not (math.isfinite(max_depth_m) and max_depth_m > 0):
        raise CheckpointError(path, f'--max-depth is {max_depth_m:g}',
                              'give a positive number of metres')
