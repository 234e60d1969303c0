"""Checkpoints on disk: .pth, .safetensors or an -hf folder. No code in a file is executed."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from pathlib import Path
import pickle
import re
from typing import Any, Literal, TYPE_CHECKING, TypeVar
import warnings

from depth_anything_ros.convert.sources.da3_names import (
    is_da3_layout, official_da3_name, refuse_several_views)
from depth_anything_ros.convert.sources.hf_folder import (
    check_shards, is_hub_layout, read_config, to_official, weight_files)
from depth_anything_ros.convert.sources.identity import Evidence
from depth_anything_ros.convert.sources.records import combined_sha256, file_digests
from depth_anything_ros.errors import CheckpointError, INSTALL_CONVERT, MissingDependencyError
from depth_anything_ros.foreign_files import foreign_file
from depth_anything_ros.networks.models import EncoderSpec, MODELS, Shapes

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = '.safetensors'
_WRAPPERS = ('model', 'state_dict')
_PREFIX = 'module.'
_HUB = 'https://huggingface.co/depth-anything'
# The names of safetensors and of PyTorch to ours.
_DTYPES = {'F64': 'f64', 'F32': 'f32', 'F16': 'f16', 'BF16': 'bf16', 'I8': 'i8', 'U8': 'u8',
           'float64': 'f64', 'float32': 'f32', 'float16': 'f16', 'bfloat16': 'bf16',
           'int8': 'i8', 'uint8': 'u8'}

Layout = Literal['official', 'huggingface', 'da3']
T = TypeVar('T')


@dataclass(frozen=True)
class TensorSpec:
    """Name of the type, such as f16, and shape of one stored tensor."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CheckpointFiles:
    """
    The files of a checkpoint.

    ``places`` maps each tensor to its file where the weights are in shards, else it is empty;
    ``config`` is the evidence in config.json, None for a file alone.
    """

    files: tuple[Path, ...]
    places: dict[str, str]
    config: Evidence | None


@dataclass(frozen=True)
class Checkpoint:
    """
    A state dict under official names, or under unknown ones, which are not checked here.

    ``digests`` are the sha256 of its files, ``layout`` is that of the files, ``config`` the
    evidence in config.json, None for a file alone.
    """

    path: Path
    digests: tuple[str, ...]
    state_dict: 'dict[str, Tensor]'
    layout: Layout = 'official'
    config: Evidence | None = None

    @property
    def sha256(self) -> str:
        """Return the sha256 of the weights, see ``records.combined_sha256``."""
        return combined_sha256(self.digests)

    @property
    def shapes(self) -> Shapes:
        """Return the shape of each tensor."""
        return {key: tuple(value.shape) for key, value in self.state_dict.items()}

    @property
    def size_bytes(self) -> int:
        """Return the memory that the weights take in f32."""
        return 4 * sum(math.prod(shape) for shape in self.shapes.values())


def read_checkpoint(path: Path, table: tuple[EncoderSpec, ...] = MODELS) -> Checkpoint:
    """
    Read a .pth or .safetensors file or a folder with the files of an -hf repository.

    ``table`` lists the encoders that config.json may describe. CheckpointError says why a file or
    folder cannot be used.
    """
    found = find_files(path, table)
    shards = {file.name: read_tensors(file) for file in found.files}
    if found.places:
        check_shards(path, found.places, shards)
    state_dict = {name: value for shard in shards.values() for name, value in shard.items()}
    layout: Layout = layout_of(path, state_dict)
    if layout == 'da3':
        state_dict = {official_da3_name(name): value for name, value in state_dict.items()}
    if layout == 'huggingface':
        try:
            state_dict = to_official(state_dict)
        except ValueError as error:
            raise CheckpointError(
                path, f'its tensors are not those of a Depth Anything -hf repository ({error})',
                'download it again or give another one') from error
    return Checkpoint(path, file_digests(found.files), state_dict, layout, found.config)


def layout_of(path: Path, names: Mapping[str, object]) -> Layout:
    """Return the layout of tensor names; CheckpointError for Depth Anything 3 of several views."""
    refuse_several_views(path, names)
    if is_da3_layout(names):
        return 'da3'
    return 'huggingface' if is_hub_layout(names) else 'official'


def find_files(path: Path, table: tuple[EncoderSpec, ...]) -> CheckpointFiles:
    """Return the files of a checkpoint; CheckpointError if a folder lacks one of them."""
    if not path.is_dir():
        return CheckpointFiles((path,), {}, None)
    config = read_config(path, table)
    files, places = weight_files(path)
    return CheckpointFiles(tuple(files), places, config)


def read_tensors(path: Path) -> 'dict[str, Tensor]':
    """
    Return the state dict in a file; CheckpointError says why it cannot be used.

    It may be wrapped in ``model`` or ``state_dict`` beside the state of an optimiser, and its
    keys may start with ``module.``, as training scripts write them.
    """
    if not path.is_file():
        raise CheckpointError(path, 'there is no such file',
                              f'give the path of a .pth file, for example one from {_HUB}')
    if path.stat().st_size == 0:
        raise CheckpointError(path, 'the file is empty', 'download it again')
    if foreign := foreign_file(path):
        raise CheckpointError(path, *foreign)
    if path.suffix == SAFETENSORS:
        return _state_dict(path, _load_safetensors(path))
    return _state_dict(path, _load_pickle(path))


def read_tensor_specs(path: Path) -> dict[str, TensorSpec]:
    """
    Return type and shape of each tensor in a file; CheckpointError as ``read_tensors``.

    Only the header of a .safetensors file is read, without torch.
    """
    if foreign := foreign_file(path):
        raise CheckpointError(path, *foreign)
    if path.suffix != SAFETENSORS:
        return {name: _spec(str(value.dtype).removeprefix('torch.'), value.shape)
                for name, value in read_tensors(path).items()}
    try:
        from safetensors import safe_open, SafetensorError
    except ImportError as error:
        raise MissingDependencyError('safetensors', f'reading {path.name}',
                                     INSTALL_CONVERT) from error
    try:
        with safe_open(path, framework='numpy') as file:
            slices = [(name, file.get_slice(name)) for name in list(file.keys())]
            return _without_prefix({
                name: _spec(one.get_dtype(), one.get_shape()) for name, one in slices})
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, 'a safetensors file', error) from error


def _load_pickle(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError('torch', f'reading {path.name}', INSTALL_CONVERT) from error
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
        raise _unreadable(path, 'a PyTorch checkpoint', error) from error
    # The reader of a foreign file: damage makes the unpickler raise nearly any type.
    except Exception as error:
        raise _unreadable(path, 'a PyTorch checkpoint', error) from error


def _load_safetensors(path: Path) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError('safetensors', f'reading {path.name}',
                                     INSTALL_CONVERT) from error
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _unreadable(path, 'a safetensors file', error) from error


def _unreadable(path: Path, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        path, f'it is truncated, damaged or not {what} ({type(error).__name__})',
        'download it again and compare its size and sha256 with those on its page')


def _state_dict(path: Path, loaded: Any) -> 'dict[str, Tensor]':
    import torch
    from torch import Tensor

    for name in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict) or not loaded or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()):
        raise CheckpointError(path, 'it holds no state dict, which maps names to tensors',
                              'save one with torch.save(model.state_dict(), FILE)')
    for key, value in loaded.items():
        if value.layout != torch.strided or value.device.type != 'cpu':
            kind = 'sparse' if value.layout != torch.strided else 'stored without its values'
            raise CheckpointError(path, f'its tensor {key} is {kind}',
                                  'save it again with dense tensors')
    return _without_prefix(loaded)


def _without_prefix(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the tensors without the prefix of their names, if all have it."""
    start = len(_PREFIX) if all(name.startswith(_PREFIX) for name in tensors) else 0
    return {name[start:]: value for name, value in tensors.items()}


def _spec(dtype: str, shape: Any) -> TensorSpec:
    return TensorSpec(_DTYPES.get(dtype, dtype.lower()), tuple(int(side) for side in shape))
