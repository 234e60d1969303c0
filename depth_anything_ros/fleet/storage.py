"""
Files that all machines of a fleet see: on a path of shared storage, or in an object store.

A place is a path, or a URL of fsspec such as s3://bucket/folder; file:// is a path too. Names of
files are relative to a place and have / between their parts. OSError says in a sentence why a
place cannot be reached.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
import os
from pathlib import Path, PurePosixPath
import shutil
from typing import Any
import uuid

from depth_anything_ros.errors import (
    DepthAnythingError, FleetError, ImageError, INSTALL_FLEET, line_of, MissingDependencyError)
from depth_anything_ros.files import atomic_path
from depth_anything_ros.foreign_files import is_url

# The keys with which file systems of fsspec tell when a file was changed.
_TIMES = ('mtime', 'LastModified', 'last_modified', 'updated', 'created')


@dataclass(frozen=True)
class Witness:
    """A file that only this program has written: a machine that reads it sees the same folder."""

    folder: str
    name: str

    @property
    def place(self) -> str:
        """Return the place of the file."""
        return f'{self.folder}/{self.name}'

    def check(self) -> None:
        """Raise FleetError or OSError unless this machine sees the folder."""
        if read(self.place) != self.name.encode():
            raise FleetError(f'it does not see the folder {self.folder} of this program; mount '
                             'the shared storage there')


@contextmanager
def witnessed(folder: str) -> Iterator[Witness]:
    """Yield a witness for a folder; it is removed after the block."""
    witness = Witness(whole(folder), f'.seen-{uuid.uuid4().hex}')
    write(witness.place, witness.name.encode())
    try:
        yield witness
    finally:
        remove(witness.place)


def plain(place: str) -> str:
    """Return a place as it is, but a path instead of file://PATH."""
    return place.removeprefix('file://')


def local_path(place: str) -> Path | None:
    """Return the absolute path of a place, None for an object store."""
    place = plain(place)
    return None if is_url(place) else Path(os.path.abspath(place))


def whole(place: str) -> str:
    """Return a place that means the same in any folder: an absolute path or a URL."""
    path = local_path(place)
    return place.rstrip('/') if path is None else str(path)


def real(place: str | Path) -> PurePosixPath:
    """Return a place without links, to compare it and the folders above it with others."""
    name = plain(str(place))
    # Path.resolve raises an error for links in a circle.
    return PurePosixPath(name if is_url(name) else os.path.realpath(name))


def is_file(place: str) -> bool:
    """Return whether a place is a file."""
    path = local_path(place)
    if path is not None:
        return path.is_file()
    with _readable_errors(place):
        system, name = _file_system(place)
        return bool(system.isfile(name))


def exists(place: str) -> bool:
    """Return whether a place is a file or folder."""
    path = local_path(place)
    if path is not None:
        return path.exists()
    with _readable_errors(place):
        system, name = _file_system(place)
        return bool(system.exists(name))


def list_files(place: str) -> dict[str, float]:
    """
    Return the files below a place, without hidden ones, and when each was changed [s].

    {} if there is no such folder.
    """
    path = local_path(place)
    found = _files_below(path) if path is not None else _objects_below(place)
    return {name: time_s for name, time_s in sorted(found)
            if not any(part.startswith('.') for part in name.split('/'))}


def changed_s(place: str) -> float | None:
    """Return when a file, or the newest file of a folder, was changed [s]; None if missing."""
    path = local_path(place)
    if path is not None and path.is_file():
        return path.stat().st_mtime
    if path is None:
        with _readable_errors(place):
            system, name = _file_system(place)
            if system.isfile(name):
                return _time_s(system, name, system.info(name))
    return max(list_files(place).values(), default=None)


def read(place: str) -> bytes | None:
    """Return the content of a file, None if there is none."""
    path = local_path(place)
    if path is not None:
        return path.read_bytes() if path.is_file() else None
    with _readable_errors(place):
        system, name = _file_system(place)
        return bytes(system.cat_file(name)) if system.isfile(name) else None


def write(place: str, content: bytes) -> None:
    """Write a file, which is complete or absent, and the folders above it."""
    path = local_path(place)
    if path is None:
        with _readable_errors(place):
            system, name = _file_system(place)
            system.makedirs(name.rpartition('/')[0], exist_ok=True)
            system.pipe_file(name, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as staged:
        staged.write_bytes(content)


def fetch(place: str, folder: Path) -> Path:
    """
    Return a path with the content of a place: its own, or that of a copy in ``folder``.

    ImageError if the object store has no such file.
    """
    path = local_path(place)
    if path is not None:
        return path
    target = folder / place.rpartition('/')[2]
    with _readable_errors(place):
        system, name = _file_system(place)
        if not system.exists(name):
            raise ImageError(f'there is no file or folder {place}')
        if not system.isfile(name):
            # A trailing / copies the files of the folder, not the folder itself.
            target.mkdir()
            system.get(f'{name.rstrip("/")}/', f'{target}/', recursive=True)
        else:
            system.get_file(name, str(target))
    return target


def publish(path: Path, place: str) -> None:
    """Move a finished file or folder to its place; an older one is replaced."""
    target = local_path(place)
    if target is None:
        with _readable_errors(place):
            system, name = _file_system(place)
            if path.is_dir():
                remove(place)
                system.put(f'{path}/', f'{name}/', recursive=True)
            else:
                system.put_file(str(path), name)
        remove(str(path))
    elif path.is_dir():
        with atomic_path(target) as staged:
            os.replace(path, staged)
    else:
        os.replace(path, target)


def remove(place: str) -> None:
    """Remove a file or folder, if it is there."""
    path = local_path(place)
    if path is None:
        with _readable_errors(place):
            system, name = _file_system(place)
            if system.exists(name):
                system.rm(name, recursive=True)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _files_below(folder: Path) -> Iterator[tuple[str, float]]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in names:
            file = Path(root, name)
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file.stat().st_mtime


def _objects_below(place: str) -> Iterator[tuple[str, float]]:
    with _readable_errors(place):
        system, folder = _file_system(place)
        found: Mapping[str, Any] = system.find(folder, detail=True)
        start = f'{folder.rstrip("/")}/'
        for name, info in found.items():
            if name.startswith(start):
                yield name.removeprefix(start), _time_s(system, name, info)


def _time_s(system: Any, name: str, info: Mapping[str, Any]) -> float:
    value = next((info[key] for key in _TIMES if info.get(key) is not None), None)
    if value is None:
        value = system.modified(name)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace('Z', '+00:00'))
    return value.timestamp() if isinstance(value, datetime) else float(value)


def _file_system(place: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a URL and the name in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependencyError('fsspec', f'reading {place}', INSTALL_FLEET) from error
    system, name = url_to_fs(place)
    # Another machine may have written since it was listed last.
    system.invalidate_cache()
    return system, name


@contextmanager
def _readable_errors(place: str) -> Iterator[None]:
    """Turn any error of an object store into one sentence."""
    try:
        yield
    except DepthAnythingError:
        raise
    except ImportError as error:
        raise OSError(f'{place} cannot be reached: {line_of(error)}, on every machine') from error
    except Exception as error:  # noqa: B902 - each object store has errors of its own
        raise OSError(f'{place} cannot be reached ({line_of(error)}); check its address and the '
                      'credentials on this machine') from error
