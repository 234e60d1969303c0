"""What names, digests and records tell of a model: checkpoints, Hugging Face folders, graphs."""

from dataclasses import dataclass
from pathlib import Path, PurePath
import re

from depth_anything_ros.convert.distilling.record import read_record
from depth_anything_ros.convert.network.encoders import EncoderSpec, UNKNOWN_LICENCE
from depth_anything_ros.convert.network.members import Member, NanoSpec
from depth_anything_ros.model_info import Kind, ModelVersion

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


@dataclass(frozen=True)
class Stated:
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
    '1e9260954ef8fd73180a3a0bd710e1aad0502aa2958ac258902b2260ca0f4304': Stated(
        'the sha256', 'DA-V2-Small with one refit layer', 'vits', 'relative', 'v2',
        licence='Apache-2.0'),
}


def from_sha256(sha256: str) -> Stated | None:
    """Return what is known of the file with this digest."""
    return _BY_SHA256.get(sha256)


def from_record(path: Path) -> Stated | None:
    """Return what was recorded when the checkpoint at ``path`` was distilled."""
    record = read_record(path)
    if record is None:
        return None
    return Stated('the record of the distillation',
                  f'{path.name}, distilled from {record.teacher}', record.student, 'relative',
                  'v2', licence=record.licence)


def of_checkpoint(path: Path, sha256: str, member: Member,
                  stated: Stated | None) -> tuple[Stated, ...]:
    """
    Return all evidence on a checkpoint, the strongest first; ``stated`` is that of config.json.

    Some of it may speak of another encoder.
    """
    specs = () if isinstance(member, NanoSpec) else (member,)
    name = stated.source_name if stated else path.name
    # Whatever its name, nano has but one form.
    known = Stated('the network', path.name, member.name, 'relative', 'v2')
    found = (from_sha256(sha256), from_record(path), stated, from_name(name, specs),
             None if specs else known)
    return tuple(one for one in found if one)


def from_name(path: str, table: tuple[EncoderSpec, ...]) -> Stated | None:
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
            return Stated('the file name', path, encoder,
                          'relative' if max_depth_m is None else 'metric', version, max_depth_m,
                          _licence(encoder, version, table))
    return None


def _licence(encoder: str, version: ModelVersion, table: tuple[EncoderSpec, ...]) -> str:
    if version == 'v1':
        return _LICENCE_V1
    return next((spec.licence for spec in table if spec.name == encoder), UNKNOWN_LICENCE)
