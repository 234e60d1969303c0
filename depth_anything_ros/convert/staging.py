"""An IR appears under its name only when it is complete and proven."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import shutil
import tempfile

from depth_anything_ros.errors import CheckpointError


def check_target(xml_path: Path, overwrite: bool) -> None:
    """Raise CheckpointError where an IR cannot or must not be written to ``xml_path``."""
    if xml_path.suffix != '.xml':
        raise CheckpointError(xml_path, 'the name of an IR ends in .xml',
                              f'write -o {xml_path.with_suffix(".xml")}')
    for path in (xml_path, xml_path.with_suffix('.bin')):
        if path.is_dir():
            raise CheckpointError(path, 'there is a folder of that name', 'choose another -o')
        if path.exists() and not overwrite:
            raise CheckpointError(path, 'the file exists already',
                                  'add --force to replace it or choose another -o')


@contextmanager
def staged(xml_path: Path, needed_bytes: int) -> Iterator[Path]:
    """
    Yield a temporary folder beside ``xml_path``, gone afterwards whatever happens.

    CheckpointError says so where the folder cannot be written or has too little space.
    """
    folder = xml_path.parent
    existed = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f'.{xml_path.stem}-', dir=folder))
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


def publish(staged_xml: Path, xml_path: Path) -> None:
    """
    Move a finished IR to its name: weights first, then the .xml that makes it an IR.

    An older IR there loses its .xml first, so that no .xml ever stands beside foreign weights.
    """
    weights = xml_path.with_suffix('.bin')
    xml_path.unlink(missing_ok=True)
    os.replace(staged_xml.with_suffix('.bin'), weights)
    try:
        os.replace(staged_xml, xml_path)
    except BaseException:
        weights.unlink(missing_ok=True)
        raise
