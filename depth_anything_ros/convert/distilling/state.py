"""A training on disk: written whole or not at all, taken up by the same training alone."""

from collections.abc import Mapping
import dataclasses
import hashlib
from pathlib import Path
import pickle
from typing import Any

from depth_anything_ros.convert.distilling.training import Training
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.media.writing import staged_file
import torch

_FACTS = 'training'
_ANEW = 'remove the file to begin anew'


def save_state(path: Path, training: Training) -> None:
    """Write what ``load_state`` takes; a CheckpointError leaves ``path`` as it was."""
    try:
        with staged_file(path) as staged, staged.open('wb') as file:
            torch.save({_FACTS: _facts(training), **training.state_dict()}, file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(path, f'the state of the training cannot be written ({error})',
                              'free some space or choose another folder') from error


def load_state(path: Path, training: Training) -> None:
    """
    Let ``training`` go on where the one in the file stopped.

    CheckpointError where the file is damaged or another student, recipe or set of images is in
    it than ``training`` has; it names what differs.
    """
    state = _read(path)
    found, wanted = state.get(_FACTS), _facts(training)
    if not isinstance(found, Mapping):
        raise CheckpointError(path, 'it holds no state of a training', _ANEW)
    for name, value in wanted.items():
        if found.get(name) != value:
            raise CheckpointError(
                path, f'the training in it has {name} {found.get(name)}, this one {value}',
                f'go on with what it has, or {_ANEW}')
    try:
        training.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(path, f'its weights do not fit the student ({error})',
                              _ANEW) from error


def _facts(training: Training) -> dict[str, Any]:
    """Return what has to be the same, by the name that an error calls it."""
    recipe = dataclasses.asdict(training.recipe)
    augmentation = recipe.pop('augmentation')
    names = '\n'.join(one.image.name for one in training.images)
    return {'student': training.student.name, **recipe, **augmentation,
            'number of images': len(training.images),
            'sha256 of the names of the images': hashlib.sha256(names.encode()).hexdigest()}


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise CheckpointError(path, f'it cannot be read ({error.strerror})', _ANEW) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise CheckpointError(path, f'it is damaged ({type(error).__name__})', _ANEW) from error
    if not isinstance(state, dict):
        raise CheckpointError(path, 'it holds no state of a training', _ANEW)
    return state
