"""What a checkpoint is: its tensors' shapes and types, and what its name and digest tell."""

from collections.abc import Mapping, Sequence
import json
import math
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.inspect.report import (
    count_weights, Inspection, sizes_and_digest, Tensor, UNKNOWN)
from depth_anything_ros.convert.sources.hf_folder import read_config, weight_files
from depth_anything_ros.convert.sources.identity import Evidence, from_record, of_checkpoint
from depth_anything_ros.convert.sources.records import read_record
from depth_anything_ros.errors import CheckpointError, MissingDependencyError
from depth_anything_ros.networks.models import (
    identify_network, ModelSpec, NANO, Shapes, UNKNOWN_LICENCE)

_SAFETENSORS = '.safetensors'
_TYPES = {'F64': 'f64', 'F32': 'f32', 'F16': 'f16', 'BF16': 'bf16', 'I8': 'i8', 'U8': 'u8',
          'float64': 'f64', 'float32': 'f32', 'float16': 'f16', 'bfloat16': 'bf16',
          'int8': 'i8', 'uint8': 'u8'}
# The two names that tell the encoder, in the layout of transformers and in the official one.
_HUB_NAMES = (('backbone.embeddings.position_embeddings', 'pretrained.pos_embed'),
              ('backbone.encoder.layer.', 'pretrained.blocks.'))


def inspect_checkpoint(path: Path, table: tuple[ModelSpec, ...]) -> Inspection:
    """
    Return what a .pth or .safetensors file or a Hugging Face folder is.

    CheckpointError if it is damaged or something else.
    """
    evidence, files = None, [path]
    if path.is_dir():
        evidence = read_config(path, table)
        files, _ = weight_files(path)
    shapes: dict[str, tuple[int, ...]] = {}
    tensors = []
    for file in files:
        read = _read_safetensors if file.suffix == _SAFETENSORS else _read_pickle
        for name, (dtype, shape, size_bytes) in read(file).items():
            shapes[name] = shape
            tensors.append(Tensor(_TYPES.get(dtype, dtype), math.prod(shape), size_bytes))
    member = _identify(path, shapes, table)
    sizes, digest = sizes_and_digest(files)
    parameters, precision = count_weights(tensors)
    return Inspection(
        str(path), _format(path, shapes, member), sizes, digest, parameters, precision,
        member.name, **_evidence(path, digest, member, evidence))


def _identify(path: Path, shapes: Shapes, table: tuple[ModelSpec, ...]) -> ModelSpec:
    official = {}
    for name, shape in shapes.items():
        for hub_name, official_name in _HUB_NAMES:
            name = name.replace(hub_name, official_name)
        official[name] = shape
    try:
        return identify_network(official, table)
    except ValueError as error:
        raise CheckpointError(
            path, f'it is not a Depth Anything checkpoint: {error} (it starts with '
            f'{", ".join(list(shapes)[:3])})', 'give another file') from error


def _format(path: Path, shapes: Shapes, member: ModelSpec) -> str:
    layout = 'Hugging Face' if any(name.startswith('backbone.') for name in shapes) else (
        'nano' if member == NANO else 'official')
    if path.is_dir():
        return f'folder of a hub repository, {layout} layout'
    kind = 'safetensors' if path.suffix == _SAFETENSORS else 'PyTorch checkpoint'
    return f'{kind}, {layout} layout'


def _evidence(path: Path, digest: str, member: ModelSpec,
              evidence: Evidence | None) -> dict[str, Any]:
    """Return what is known besides the tensors, in the order in which a conversion takes it."""
    found = [one for one in of_checkpoint(path, digest, member, evidence)
             if one.encoder in (None, member.name)]
    origins = {'encoder': 'the shapes of the tensors'}
    facts: dict[str, Any] = {}
    for fact in ('kind', 'model_version', 'max_depth_m'):
        for one in found:
            if getattr(one, fact) is not None:
                facts[fact], origins[fact] = getattr(one, fact), one.origin
                break
        else:
            facts[fact] = None
            if fact != 'max_depth_m' or facts['kind'] == 'metric':
                origins[fact] = UNKNOWN
    facts['licence'] = UNKNOWN_LICENCE
    for one in found:
        if one.licence != UNKNOWN_LICENCE:
            facts['licence'], origins['licence'] = one.licence, one.origin
            break
    distilled = from_record(path)
    if distilled is not None:
        facts['source_name'] = distilled.source_name
    record = read_record(path)
    if record is not None:
        facts['source_name'] = record.repository
        if facts['licence'] == UNKNOWN_LICENCE:
            facts['licence'], origins['licence'] = record.licence, 'the record of the download'
    return {**facts, 'origins': origins}


def _read_pickle(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    try:
        from depth_anything_ros.convert.sources.checkpoints import read_tensors
    except ImportError as error:
        raise MissingDependencyError('torch', f'reading {path.name}',
                                     "pip install 'depth_anything_ros[convert]'") from error
    return {name: (str(value.dtype).removeprefix('torch.'), tuple(value.shape),
                   value.numel() * value.element_size())
            for name, value in read_tensors(path).items()}


def _read_safetensors(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """
    Return type, shape and bytes of each tensor in a .safetensors file.

    Source: the format's description, https://github.com/huggingface/safetensors: eight bytes with
    the length of a JSON header, the header, the data.
    """
    try:
        with path.open('rb') as file:
            length = int.from_bytes(file.read(8), 'little')
            start = 8 + length
            if start > path.stat().st_size:
                raise ValueError('the header is longer than the file')
            header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != '__metadata__'}
        needed = start + max((entry['data_offsets'][1] for entry in tensors.values()), default=0)
        found = {name: _entry(entry) for name, entry in tensors.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise CheckpointError(path, 'it is damaged or no safetensors file',
                              'download it again') from error
    if path.stat().st_size < needed:
        raise CheckpointError(path, f'it is truncated: {path.stat().st_size} bytes of {needed}',
                              'download it again')
    return found


def _entry(entry: Mapping[str, Any]) -> tuple[str, tuple[int, ...], int]:
    offsets: Sequence[int] = entry['data_offsets']
    return str(entry['dtype']), tuple(int(side) for side in entry['shape']), (
        offsets[1] - offsets[0])
