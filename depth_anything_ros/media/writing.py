"""A file appears under its name only when it is complete."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import tempfile


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """
    Yield a hidden name beside ``path``; the file written there, if any, becomes ``path``.

    Whatever goes wrong leaves nothing behind and an older ``path`` as it was. OSError says what
    the disk did not allow.
    """
    staged = path.with_name(f'.{path.stem}-{os.getpid()}{path.suffix}')
    try:
        with said_clearly(path):
            yield staged
            if staged.exists():
                os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """
    Yield a free name in a hidden folder beside ``path``; the folder made there becomes ``path``.

    An older ``path`` is removed then and not before. OSError as for ``staged_file``.
    """
    with said_clearly(path):
        hidden = Path(tempfile.mkdtemp(prefix=f'.{path.name}-', dir=path.parent))
    try:
        with said_clearly(path):
            yield hidden / path.name
            if path.exists():
                os.replace(path, hidden / 'older')
            os.replace(hidden / path.name, path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Create ``folder`` where it is missing and prove that files can be written into it."""
    with said_clearly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


@contextmanager
def said_clearly(path: Path) -> Iterator[None]:
    """Turn an OSError of the system into one whose text is a sentence about ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(f'{path} cannot be written ({error.strerror}); free some space or choose '
                      'another folder') from error
