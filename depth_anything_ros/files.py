"""A file appears under its name only when it is complete."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import shutil
import tempfile

from depth_anything_ros.errors import CheckpointError

_KINDS = {'.xml': 'an IR', '.onnx': 'an ONNX file'}


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """
    Yield a hidden name beside ``path``; the file written there, if any, becomes ``path``.

    Whatever goes wrong leaves nothing behind and an older ``path`` as it was. OSError says what
    the disk did not allow.
    """
    staged = path.with_name(f'.{path.stem}-{os.getpid()}{path.suffix}')
    try:
        with readable_os_errors(path):
            yield staged
            if staged.exists():
                os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """
    Yield a free name in a hidden folder beside ``path``; the folder made there becomes ``path``.

    An older ``path`` is removed then and not before. OSError as for ``atomic_file``.
    """
    with readable_os_errors(path):
        hidden = Path(tempfile.mkdtemp(prefix=f'.{path.name}-', dir=path.parent))
    try:
        with readable_os_errors(path):
            yield hidden / path.name
            if path.exists():
                os.replace(path, hidden / 'older')
            os.replace(hidden / path.name, path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Create ``folder`` where it is missing and prove that files can be written into it."""
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


def weights_path(target: Path) -> Path:
    """Return where the weights of an .xml or .onnx lie: NAME.bin or NAME.onnx.data."""
    if target.suffix == '.onnx':
        return target.with_name(f'{target.name}.data')
    return target.with_suffix('.bin')


def check_target(target: Path, overwrite: bool, suffix: str = '.xml') -> None:
    """Raise CheckpointError where a model cannot or must not be written to ``target``."""
    if target.suffix != suffix:
        raise CheckpointError(target, f'the name of {_KINDS[suffix]} ends in {suffix}',
                              f'write -o {target.with_suffix(suffix)}')
    for path in (target, weights_path(target)):
        if path.is_dir():
            raise CheckpointError(path, 'there is a folder of that name', 'choose another -o')
        if path.exists() and not overwrite:
            raise CheckpointError(path, 'the file exists already',
                                  'add --force to replace it or choose another -o')


@contextmanager
def staged(target: Path, needed_bytes: int) -> Iterator[Path]:
    """
    Yield a temporary folder beside ``target``, gone afterwards whatever happens.

    CheckpointError says so where the folder cannot be written or has too little space.
    """
    folder = target.parent
    existed = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f'.{target.stem}-', dir=folder))
    except OSError as error:
        raise CheckpointError(folder, f'the folder cannot be written ({error.strerror})',
                              'choose another one with -o') from error
    try:
        _check_space(temporary, folder, needed_bytes)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                folder.rmdir()


def _check_space(temporary: Path, folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(temporary).free
    if free < needed_bytes:
        raise CheckpointError(
            folder, f'the conversion needs {needed_bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB '
            'are free', 'free some space or choose another disk with -o')


def publish(finished: Path, target: Path) -> None:
    """
    Move a finished .xml or .onnx to its name: weights first, then the file that names them.

    An older model there loses that file first, so that it never stands beside foreign weights.
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
