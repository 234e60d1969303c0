"""Tensors out of one file, .pth or .safetensors: nothing in it is ever executed."""

from dataclasses import dataclass
import math
from pathlib import Path
import pickle
import re
from typing import Any, Literal
import warnings

from depth_anything_ros.convert.sources.hf_folder import (
    check_shards, is_hub_layout, read_config, to_official, weight_files)
from depth_anything_ros.convert.sources.identity import Evidence
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError, MissingDependencyError
from depth_anything_ros.networks.models import MODELS, ModelSpec, Shapes
import torch
from torch import Tensor

_SUFFIX = '.safetensors'
_WRAPPERS = ('model', 'state_dict')
_PREFIX = 'module.'
_HUB = 'https://huggingface.co/depth-anything'
Layout = Literal['official', 'huggingface']


def read_tensors(path: Path) -> dict[str, Tensor]:
    """
    Return the state dict in a file; CheckpointError says why it cannot be used.

    It may be wrapped in ``model`` or ``state_dict``, beside an optimiser's state or not, and its
    keys may start with ``module.``, as training scripts leave them.
    """
    if not path.is_file():
        raise CheckpointError(path, 'there is no such file',
                              f'give the path of a .pth file, for example one from {_HUB}')
    if path.stat().st_size == 0:
        raise CheckpointError(path, 'the file is empty', 'download it again')
    return _tensors(path, _load_safetensors(path) if path.suffix == _SUFFIX else _load(path))


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        code = re.search(r'GLOBAL ([\w.]+)', str(error))
        if code:
            raise CheckpointError(
                path, f'it holds code ({code[1]}), which is never run here',
                'save the tensors alone: torch.save(model.state_dict(), FILE)') from error
        raise _unreadable(path, 'PyTorch checkpoint', error) from error
    # The reader of a foreign file: damage makes the unpickler raise nearly any type.
    except Exception as error:
        raise _unreadable(path, 'PyTorch checkpoint', error) from error


def _load_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError('safetensors', f'reading {path.name}',
                                     "pip install 'depth_anything_ros[convert]'") from error
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _unreadable(path, 'safetensors file', error) from error


def _unreadable(path: Path, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        path, f'it is damaged or no {what} ({type(error).__name__})',
        'download it again and compare its size and sha256 with those on its page')


def _tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    for name in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict) or not loaded or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()):
        raise CheckpointError(path, 'it holds no state dict, which maps names to tensors',
                              'save one with torch.save(model.state_dict(), FILE)')
    if all(key.startswith(_PREFIX) for key in loaded):
        loaded = {key[len(_PREFIX):]: value for key, value in loaded.items()}
    return dict(loaded)


@dataclass(frozen=True)
class Checkpoint:
    """
    A state dict under official names (or others: that is checked later) and where it is from.

    ``layout`` is that of the file, ``evidence`` what the config.json beside the weights says, None
    where there is none. For the ``sha256`` of several files see ``digests.sha256_of``.
    """

    path: Path
    sha256: str
    state_dict: dict[str, Tensor]
    layout: Layout = 'official'
    evidence: Evidence | None = None

    @property
    def shapes(self) -> Shapes:
        """Return the shape of each tensor."""
        return {key: tuple(value.shape) for key, value in self.state_dict.items()}

    @property
    def size_bytes(self) -> int:
        """Return how much memory the weights take in f32."""
        return 4 * sum(math.prod(shape) for shape in self.shapes.values())


def read_checkpoint(path: Path, table: tuple[ModelSpec, ...] = MODELS) -> Checkpoint:
    """
    Read a .pth or .safetensors file or a folder with the files of a hub repository.

    ``table`` says which encoders a config.json may describe. CheckpointError says why a file or
    folder cannot be used.
    """
    evidence, files = None, [path]
    places: dict[str, str] = {}
    if path.is_dir():
        evidence = read_config(path, table)
        files, places = weight_files(path)
    shards = {file.name: read_tensors(file) for file in files}
    if places:
        check_shards(path, places, shards)
    state_dict = {name: value for shard in shards.values() for name, value in shard.items()}
    layout: Layout = 'huggingface' if is_hub_layout(state_dict) else 'official'
    if layout == 'huggingface':
        try:
            state_dict = to_official(state_dict)
        except ValueError as error:
            raise CheckpointError(
                path, f'its tensors are not those of a Depth Anything -hf repository ({error})',
                'download it again or give another one') from error
    return Checkpoint(path, sha256_of(files), state_dict, layout, evidence)
