"""
Folders with the files of an -hf repository: config.json, the weight files and the tensor names.

transformers stores the tensors of the official checkpoints under other names, with query, key and
value apart and the fusion layers counted from the coarsest. Its releases name some tensors
differently; this module knows the names of all releases.
"""

from collections.abc import Iterable, Mapping
import json
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING

from depth_anything_ros.convert.sources.da3_names import focal_px_of, is_da3_config
from depth_anything_ros.convert.sources.identity import Evidence
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelVersion
from depth_anything_ros.networks.models import EncoderSpec, identify_encoder, PATCH

if TYPE_CHECKING:
    from torch import Tensor

_PREFIXES = ('backbone.', 'neck.')
_BLOCK = r'backbone\.encoder\.layer\.(\d+)\.'
_RULES = (
    (r'backbone\.embeddings\.(cls_token|mask_token)', r'pretrained.\1'),
    (r'backbone\.embeddings\.position_embeddings', 'pretrained.pos_embed'),
    (r'backbone\.embeddings\.patch_embeddings\.projection\.', 'pretrained.patch_embed.proj.'),
    (r'backbone\.layernorm\.', 'pretrained.norm.'),
    (_BLOCK + r'(norm[12])\.', r'pretrained.blocks.\1.\2.'),
    (_BLOCK + r'layer_scale([12])\.lambda1', r'pretrained.blocks.\1.ls\2.gamma'),
    (_BLOCK + r'attention\.(?:output\.dense|o_proj)\.', r'pretrained.blocks.\1.attn.proj.'),
    (_BLOCK + r'mlp\.(fc[12])\.', r'pretrained.blocks.\1.mlp.\2.'),
    (_BLOCK + r'mlp\.weights_in\.', r'pretrained.blocks.\1.mlp.w12.'),
    (_BLOCK + r'mlp\.(?:weights_out|down_proj)\.', r'pretrained.blocks.\1.mlp.w3.'),
    (r'neck\.reassemble_stage\.layers\.(\d)\.projection\.', r'depth_head.projects.\1.'),
    (r'neck\.reassemble_stage\.layers\.(\d)\.resize\.', r'depth_head.resize_layers.\1.'),
    (r'head\.conv1\.', 'depth_head.scratch.output_conv1.'),
    (r'head\.conv2\.', 'depth_head.scratch.output_conv2.0.'),
    (r'head\.conv3\.', 'depth_head.scratch.output_conv2.2.'),
)
# Several tensors that are one in the official layout, and the first letters of the parts in order.
_JOINED = (
    (_BLOCK + r'attention\.(?:attention\.)?(query|key|value|[qkv]_proj)\.', 'attn.qkv', 'qkv'),
    (_BLOCK + r'mlp\.(gate|up)_proj\.', 'mlp.w12', 'gu'),
)
_CONV = re.compile(r'neck\.convs\.([0-3])\.')
_FUSION = re.compile(r'neck\.fusion_stage\.layers\.([0-3])\.')
_FUSED = (
    (r'projection\.', 'out_conv.'),
    (r'residual_layer([12])\.convolution([12])\.', r'resConfUnit\1.conv\2.'),
)
CONFIG = 'config.json'
_MODEL_TYPE = 'depth_anything'
WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
_INDEX = '.index.json'
_AGAIN = 'download the repository again'
# The values that transformers uses where config.json omits them.
_DEFAULTS = {'hidden_size': 768, 'num_hidden_layers': 12, 'num_attention_heads': 12,
             'patch_size': PATCH, 'hidden_act': 'gelu', 'apply_layernorm': True}


def is_hub_layout(names: Mapping[str, object]) -> bool:
    """Return whether these are the tensor names of transformers."""
    return any(name.startswith(_PREFIXES) for name in names)


def official_name(name: str) -> str:
    """Return the official name of a tensor, or of the tensor that it is a part of; '' if none."""
    part = _part(name)
    return part[0] if part else _official(name)


def to_official(state_dict: Mapping[str, 'Tensor']) -> dict[str, 'Tensor']:
    """
    Return the same weights under their official names.

    ValueError names tensors that do not belong to a Depth Anything model and missing parts.
    """
    import torch

    result: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    for name, value in state_dict.items():
        if part := _part(name):
            official, order, letter = part
            parts.setdefault((official, order), {})[letter] = value
        elif (official := _official(name)) and official not in result:
            result[official] = value
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f'unexpected: {_some(unknown)}')
    for (official, order), found in parts.items():
        if missing := [letter for letter in order if letter not in found]:
            raise ValueError(f'missing: the part {_some(missing)} of {official}')
        result[official] = torch.cat([found[letter] for letter in order])
    return result


def _part(name: str) -> tuple[str, str, str] | None:
    """Return the official name of the joined tensor, the order of its parts and this part."""
    for pattern, whole, order in _JOINED:
        if match := re.match(pattern, name):
            rest = name[match.end():]
            return f'pretrained.blocks.{match[1]}.{whole}.{rest}', order, match[2][0]
    return None


def _official(name: str) -> str:
    """Return the official name of a tensor that is not joined with others, '' if none."""
    for pattern, replacement in _RULES:
        if match := re.match(pattern, name):
            return match.expand(replacement) + name[match.end():]
    if match := _CONV.match(name):
        return f'depth_head.scratch.layer{int(match[1]) + 1}_rn.{name[match.end():]}'
    if match := _FUSION.match(name):
        rest = name[match.end():]
        for pattern, replacement in _FUSED:
            if inner := re.match(pattern, rest):
                official = inner.expand(replacement) + rest[inner.end():]
                return f'depth_head.scratch.refinenet{4 - int(match[1])}.{official}'
    return ''


def _some(names: list[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more


def read_config(folder: Path, table: tuple[EncoderSpec, ...]) -> Evidence:
    """
    Return the evidence in config.json; its source is the hub id if the folder name contains one.

    CheckpointError if config.json is missing or describes another kind of model.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(folder, f'the folder has no {CONFIG}', 'give a .pth file or a '
                              'folder with the files of a -hf repository')
    config = _read_json(path)
    source_name = _hub_id(folder)
    # The official code saves its own arguments instead, without kind and version.
    if 'model_type' not in config and 'encoder' in config:
        return Evidence(CONFIG, source_name, str(config['encoder']))
    if is_da3_config(config):
        return Evidence(CONFIG, source_name, focal_px=focal_px_of(config.get('model_name')))
    if config.get('model_type') != _MODEL_TYPE:
        raise CheckpointError(path, f'it describes a model of type {config.get("model_type")}',
                              f'give a folder with a model of type {_MODEL_TYPE}')
    try:
        backbone = {**_DEFAULTS, **(config.get('backbone_config') or {})}
        metric = config.get('depth_estimation_type', 'relative') == 'metric'
        max_depth_m = float(config.get('max_depth') or 0) if metric else 0.0
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f'it has a value of another kind ({error})',
                              _AGAIN) from error
    spec = _find_spec(path, backbone, table)
    return Evidence(CONFIG, source_name, spec.name, 'metric' if metric else 'relative',
                    _version(path, backbone, spec), max_depth_m or None)


def weight_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """
    Return the weight files and, for shards, the file that the index names for each tensor.

    CheckpointError names a missing file.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name], {}
        index = folder / f'{name}{_INDEX}'
        if index.is_file():
            places = _read_json(index).get('weight_map')
            if not isinstance(places, dict) or not places:
                raise CheckpointError(index, 'it has no weight_map', _AGAIN)
            return _shards(index, places), places
    raise CheckpointError(folder, f'the folder has no weights ({" or ".join(WEIGHTS)})', _AGAIN)


def check_shards(folder: Path, places: Mapping[str, str],
                 found: Mapping[str, Iterable[str]]) -> None:
    """Raise CheckpointError where a shard has not exactly the tensors that the index lists."""
    actual = {(tensor, shard) for shard, tensors in found.items() for tensor in tensors}
    for tensor, shard in sorted(set(places.items()) - actual):
        raise CheckpointError(folder / shard, f'it has no tensor {tensor}, which the index places '
                              'there', _AGAIN)
    for tensor, shard in sorted(actual - set(places.items())):
        raise CheckpointError(folder / shard, f'it has a tensor {tensor} that the index does not '
                              'list', _AGAIN)


def _shards(index: Path, places: Mapping[str, Any]) -> list[Path]:
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(index, f'it names {name}, which is outside the folder', _AGAIN)
        if not (index.parent / name).is_file():
            raise CheckpointError(index.parent / name, 'this shard of the weights is missing',
                                  _AGAIN)
    return [index.parent / name for name in names]


def _find_spec(path: Path, backbone: Mapping[str, Any],
               table: tuple[EncoderSpec, ...]) -> EncoderSpec:
    width, depth = backbone['hidden_size'], backbone['num_hidden_layers']
    try:
        spec = identify_encoder(width, depth, table)
    except ValueError as error:
        raise CheckpointError(path, str(error), 'give a model with one of these') from error
    # The tensors do not show these, and another value would give wrong depth without an error.
    expected = {'num_attention_heads': spec.heads, 'patch_size': PATCH, 'hidden_act': 'gelu',
                'apply_layernorm': True}
    for name, value in expected.items():
        if backbone[name] != value:
            raise CheckpointError(path, f'{name} is {backbone[name]} instead of {value}',
                                  f'give a model with the same structure as {spec.name}')
    return spec


def _version(path: Path, backbone: Mapping[str, Any], spec: EncoderSpec) -> ModelVersion | None:
    """Return the version whose head reads these blocks; config.json counts them from 1."""
    places = backbone.get('out_indices') or backbone.get('out_features')
    if not places:
        return None
    try:
        read = tuple(int(str(place).removeprefix('stage')) - 1 for place in places)
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, f'out_indices or out_features is {places}', _AGAIN) from error
    if read == spec.blocks_v2:
        return 'v2'
    if read == spec.blocks_read('v1'):
        return 'v1'
    raise CheckpointError(
        path, f'its head reads the blocks {read} (from 0), V1 reads {spec.blocks_read("v1")} and '
        f'V2 {spec.blocks_v2}', 'give a model that reads those')


def _hub_id(folder: Path) -> str | None:
    """Return owner/name for a folder in the cache of the hub client, else None."""
    resolved = folder.resolve()
    for part in (resolved.name, *(parent.name for parent in resolved.parents)):
        pieces = part.split('--')
        if pieces[0] == 'models' and len(pieces) == 3:
            return '/'.join(pieces[1:])
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f'it is damaged or not JSON ({error})', _AGAIN) from error
    if not isinstance(content, dict):
        raise CheckpointError(path, 'it is JSON, but not an object', _AGAIN)
    return content
