"""
Files, folders and models that appear under their name only when they are complete.

Everything is written below a hidden folder beside its target, on the same disk, and then renamed.
An error or a signal in between removes the hidden folder and leaves an older target unchanged.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import secrets
import shutil
import tempfile

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.foreign_files import is_pipe_or_device, LONGEST_NAME_BYTES

# Of the random part of the name of a hidden folder.
_TOKEN_BYTES = 8
_KINDS = {'.xml': 'an IR', '.onnx': 'an ONNX file'}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """
    Yield a hidden name with the same suffix; the file or folder written there becomes ``path``.

    An older ``path`` is replaced after the block, and stays if the block raises or writes nothing.
    OSError names ``path`` and the reason.
    """
    if is_pipe_or_device(path):
        # Renaming a file onto /dev/null would replace the device, for all programs.
        raise OSError(f'{path} is a pipe or a device and cannot be replaced; name a file')
    with readable_os_errors(path):
        hidden = _hidden_path(path)
        # The second name is one that no target has.
        staged, older = hidden / path.name, hidden / hidden.name
        try:
            hidden.mkdir(0o700)
            yield staged
            if staged.exists():
                # A folder can be renamed only onto an empty one.
                if staged.is_dir() and path.is_dir():
                    os.replace(path, older)
                os.replace(staged, path)
        finally:
            if older.exists() and not path.exists():
                os.replace(older, path)
            shutil.rmtree(hidden, ignore_errors=True)


def _hidden_path(path: Path) -> Path:
    """Return the path of a folder that is still to be made, so that no signal can leave it."""
    # A name may already be as long as the file system allows.
    return path.parent / f'.{path.name[:40]}-{secrets.token_hex(_TOKEN_BYTES)}'


def unfinished_files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files like ``pattern`` that are being written into ``folder``, or never were."""
    yield from folder.glob(f'.*-{"[0-9a-f]" * 2 * _TOKEN_BYTES}/{pattern}')


def expand_home(path: Path | str) -> Path:
    """Return ``path`` with ~ and ~USER replaced; OSError if there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise OSError(f'{path}: the home folder of {Path(path).parts[0]} is unknown; write the '
                      'whole path') from error


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents; OSError if no file can be written into it."""
    with readable_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def readable_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the system into one whose text is a sentence about ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f'{path} cannot be written ({error.strerror}); free some space or choose '
                      'another folder') from error


def weights_path(model: Path) -> Path:
    """Return the file with the weights of an .xml or .onnx: NAME.bin or NAME.onnx.data."""
    if model.suffix == '.onnx':
        return model.with_name(f'{model.name}.data')
    return model.with_suffix('.bin')


def check_name(path: Path) -> None:
    """Raise CheckpointError for a file whose name is too long."""
    if len(os.fsencode(path.name)) > LONGEST_NAME_BYTES:
        raise CheckpointError(path, f'its name is longer than {LONGEST_NAME_BYTES} bytes',
                              'choose a shorter -o')


def check_target(target: Path, overwrite: bool, suffix: str = '.xml',
                 is_source: Callable[[Path], bool] = lambda path: False) -> None:
    """
    Raise CheckpointError if a model cannot or must not be written to ``target``.

    A file that ``is_source`` is never replaced.
    """
    check_name(target)
    if target.suffix != suffix:
        example = target / f'NAME{suffix}' if target.is_dir() else target.with_suffix(suffix)
        raise CheckpointError(target, f'the name of {_KINDS[suffix]} ends in {suffix}',
                              f'write -o {example}')
    for path in (target, weights_path(target)):
        check_name(path)
        if path.is_dir():
            raise CheckpointError(path, 'a folder has that name', 'choose another -o')
        check_replaceable(path, overwrite, is_source)


def check_replaceable(path: Path, overwrite: bool, is_source: Callable[[Path], bool],
                      fact: str = 'the file exists already') -> None:
    """Raise CheckpointError for a file that ``is_source``, and for any without ``overwrite``."""
    if not path.exists():
        return
    if is_source(path):
        raise CheckpointError(path, 'that is the source, which would be lost',
                              'choose another -o')
    if not overwrite:
        raise CheckpointError(path, fact, 'add --force to replace it or choose another -o')


@contextmanager
def staging_folder(target: Path, needed_bytes: int) -> Iterator[Path]:
    """
    Yield a hidden folder beside ``target`` for the files of a model; it is removed afterwards.

    CheckpointError if the folder of ``target`` cannot be written or has too little space.
    """
    folder = target.parent
    existed, hidden = folder.is_dir(), _hidden_path(target)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            hidden.mkdir(0o700)
        except OSError as error:
            raise CheckpointError(folder, f'the folder cannot be written ({error.strerror})',
                                  'choose another one with -o') from error
        free_bytes = shutil.disk_usage(hidden).free
        if free_bytes < needed_bytes:
            raise CheckpointError(
                folder, f'the conversion needs {needed_bytes / 1e6:.0f} MB and '
                f'{free_bytes / 1e6:.0f} MB are free',
                'free some space or choose another disk with -o')
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                folder.rmdir()


def publish_model(finished: Path, target: Path) -> None:
    """
    Move a finished .xml or .onnx and its weights to the name ``target``.

    An older .xml or .onnx is removed first, the weights are moved, then the file that refers to
    them: the file never appears beside the weights of another model.
    """
    weights = weights_path(target)
    target.unlink(missing_ok=True)
    if finished.suffix == '.onnx' and not weights_path(finished).exists():
        weights.unlink(missing_ok=True)
    else:
        os.replace(weights_path(finished), weights)
    try:
        os.replace(finished, target)
    except BaseException:
        weights.unlink(missing_ok=True)
        raise
