"""Reading a PyTorch checkpoint: tensors only, nothing in it is ever executed."""

from dataclasses import dataclass
import hashlib
import math
from pathlib import Path
import pickle
import re
from typing import Any
import warnings

from depth_anything_ros.convert.encoders import Shapes
from depth_anything_ros.errors import CheckpointError
import torch
from torch import Tensor

_WRAPPERS = ('model', 'state_dict')
_PREFIX = 'module.'
_HUB = 'https://huggingface.co/depth-anything'


@dataclass(frozen=True)
class Checkpoint:
    """A state dict in the official layout (or not: that is checked later) and where it is from."""

    path: Path
    sha256: str
    state_dict: dict[str, Tensor]

    @property
    def shapes(self) -> Shapes:
        """Return the shape of each tensor."""
        return {key: tuple(value.shape) for key, value in self.state_dict.items()}

    @property
    def size_bytes(self) -> int:
        """Return how much memory the weights take in f32."""
        return 4 * sum(math.prod(shape) for shape in self.shapes.values())


def read_checkpoint(path: Path) -> Checkpoint:
    """
    Read the tensors of a .pth file; CheckpointError says why one cannot be used.

    The state dict may be wrapped in ``model`` or ``state_dict`` and its keys may start with
    ``module.``, as training scripts leave them.
    """
    if not path.is_file():
        raise CheckpointError(path, 'there is no such file',
                              f'give the path of a .pth file, for example one from {_HUB}')
    if path.stat().st_size == 0:
        raise CheckpointError(path, 'the file is empty', 'download it again')
    state_dict = _tensors(path, _load(path))
    return Checkpoint(path, _sha256(path), state_dict)


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
        raise _unreadable(path, error) from error
    # The reader of a foreign file: damage makes the unpickler raise nearly any type.
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        path, f'it is damaged or no PyTorch checkpoint ({type(error).__name__})',
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


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
