"""Folders as the Hugging Face hub has them: config.json, and the weights in one or more files."""

from collections.abc import Iterable, Mapping
import json
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.network.encoders import EncoderSpec, PATCH
from depth_anything_ros.convert.reading.evidence import Stated
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelVersion

CONFIG = 'config.json'
_MODEL_TYPE = 'depth_anything'
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
_INDEX = '.index.json'
_AGAIN = 'download the repository again'
# What transformers takes where a config.json leaves it out.
_DEFAULTS = {'hidden_size': 768, 'num_hidden_layers': 12, 'num_attention_heads': 12,
             'patch_size': PATCH, 'hidden_act': 'gelu', 'apply_layernorm': True}


def read_config(folder: Path, table: tuple[EncoderSpec, ...]) -> Stated:
    """
    Return what config.json says of the model.

    CheckpointError if there is none, or if it describes a model that is not of the family.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(folder, f'the folder has no {CONFIG}', 'give a .pth file or a '
                              'folder with the files of a -hf repository')
    config = _read_json(path)
    source_name = _source_name(folder)
    # The official code saves its own arguments instead, which tell neither kind nor version.
    if 'model_type' not in config and 'encoder' in config:
        return Stated(CONFIG, source_name, str(config['encoder']))
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
    return Stated(CONFIG, source_name, spec.name, 'metric' if metric else 'relative',
                  _version(path, backbone, spec), max_depth_m or None)


def weight_files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """
    Return the files with the weights and, for shards, which tensor the index places in which.

    CheckpointError names a file that is missing.
    """
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name], {}
        index = folder / f'{name}{_INDEX}'
        if index.is_file():
            places = _read_json(index).get('weight_map')
            if not isinstance(places, dict) or not places:
                raise CheckpointError(index, 'it has no weight_map', _AGAIN)
            return _shards(index, places), places
    raise CheckpointError(folder, f'the folder has no weights ({" or ".join(_WEIGHTS)})', _AGAIN)


def check_shards(folder: Path, places: Mapping[str, str],
                 found: Mapping[str, Iterable[str]]) -> None:
    """Raise CheckpointError for tensors that lie elsewhere than the index says."""
    actual = {(tensor, shard) for shard, tensors in found.items() for tensor in tensors}
    for tensor, shard in sorted(set(places.items()) - actual):
        raise CheckpointError(folder / shard, f'it has no tensor {tensor}, which the index places '
                              'there', _AGAIN)
    for tensor, shard in sorted(actual - set(places.items())):
        raise CheckpointError(folder / shard, f'it has a tensor {tensor}, of which the index says '
                              'nothing', _AGAIN)


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
    for spec in table:
        if (spec.width, spec.depth) == (width, depth):
            break
    else:
        known = ', '.join(f'{spec.name} {spec.width}x{spec.depth}' for spec in table)
        raise CheckpointError(path, f'its encoder is {width} wide and {depth} blocks deep, known '
                              f'are {known}', 'give a model with one of these')
    # The tensors do not show these, and another value gives wrong depth without an error.
    expected = {'num_attention_heads': spec.heads, 'patch_size': PATCH, 'hidden_act': 'gelu',
                'apply_layernorm': True}
    for name, value in expected.items():
        if backbone[name] != value:
            raise CheckpointError(path, f'{name} is {backbone[name]} instead of {value}',
                                  f'give a model that is built as {spec.name} is')
    return spec


def _version(path: Path, backbone: Mapping[str, Any], spec: EncoderSpec) -> ModelVersion | None:
    """Return the version whose head reads these blocks; the config counts them from 1."""
    places = backbone.get('out_indices') or [
        str(name).removeprefix('stage') for name in backbone.get('out_features') or []]
    if not places:
        return None
    try:
        read = tuple(int(place) - 1 for place in places)
    except ValueError as error:
        raise CheckpointError(path, f'out_features is {places}', _AGAIN) from error
    if read == spec.blocks_v2:
        return 'v2'
    if read == spec.blocks_read('v1'):
        return 'v1'
    raise CheckpointError(
        path, f'its head reads the blocks {read} (from 0), V1 reads {spec.blocks_read("v1")} and '
        f'V2 {spec.blocks_v2}', 'give a model that reads those')


def _source_name(folder: Path) -> str:
    """Return organisation/name for a folder of the hub's cache, else the name of the folder."""
    resolved = folder.resolve()
    for part in (resolved.name, *(parent.name for parent in resolved.parents)):
        pieces = part.split('--')
        if pieces[0] == 'models' and len(pieces) == 3:
            return '/'.join(pieces[1:])
    return resolved.name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CheckpointError(path, f'it is damaged or no JSON ({error})', _AGAIN) from error
    if not isinstance(content, dict):
        raise CheckpointError(path, 'it is JSON of another kind', _AGAIN)
    return content
