"""Compiled models on disk, each proven by a sha256 before it runs, together limited in size."""

from collections.abc import Callable, Iterator
from contextlib import suppress
import hashlib
import io
from itertools import chain
import math
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING

from depth_anything_ros.files import atomic_path, unfinished_files
from depth_anything_ros.inference.devices import fingerprint
from depth_anything_ros.inference.ir import error_reason, READING_ERRORS

if TYPE_CHECKING:
    import openvino as ov

# The most that all files of a cache take together.
CACHE_BYTES = 2 * 2 ** 30
_DIGEST_BYTES = hashlib.sha256().digest_size
# Passed self-checks, and how fast variants of a model are: those used longest ago are removed too.
_MARKS = ('self_check_*.passed', 'fastest_*.json')
# A mark is used before the models of the same start.
_SLOWEST_START_S = 3600.0
# Ours, and those of OpenVINO's own cache, which earlier releases used.
_NAME = re.compile(r'(depth_anything_[0-9a-f]{64}|[0-9]{10,20})\.blob')


class CompiledModelCache:
    """
    Compiles models, or loads what an earlier process has compiled into ``folder``.

    OpenVINO's own cache uses damaged files, maps them into memory, and keeps all of them. Here
    every file ends with the sha256 of its name and content; a model whose file does not match is
    compiled again, and ``warn`` gets a line. Where all files take more than CACHE_BYTES, those
    used longest ago are removed. Errors are those of ``compile_model``: a file that cannot be
    read or written is a line for ``warn``.
    """

    def __init__(self, core: 'ov.Core', folder: Path, warn: Callable[[str], None]) -> None:
        self._core = core
        self._folder = folder
        self._warn = warn

    def compiled_model(self, build: Callable[[], 'ov.Model'], facts: tuple[object, ...],
                       device: str, options: dict[str, str]) -> 'ov.CompiledModel':
        """Return the compiled model of the graph that ``build`` makes of ``facts``."""
        if not self._can_export(device):
            return self._core.compile_model(build(), device, options)
        key = fingerprint(self._core, device, *facts, *sorted(options.items()))
        path = self._folder / f'depth_anything_{key}.blob'
        compiled = self._load(path, device, options)
        if compiled is None:
            compiled = self._core.compile_model(build(), device, options)
            self._store(path, compiled)
        return compiled

    def _can_export(self, device: str) -> bool:
        return 'EXPORT_IMPORT' in self._core.get_property(device, 'OPTIMIZATION_CAPABILITIES')

    def _load(self, path: Path, device: str, options: dict[str, str]) -> 'ov.CompiledModel | None':
        try:
            content = _read(path)
            if content is not None:
                with suppress(OSError):
                    os.utime(path)
                return self._import(content, device, options)
            problem = 'is damaged'
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = f'cannot be read ({error.strerror})'
        except READING_ERRORS as error:
            problem = f'is refused by {device} ({error_reason(error)})'
        self._warn(f'the compiled model {path} {problem}; it is compiled again')
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None

    def _import(self, content: 'ov.Tensor', device: str,
                options: dict[str, str]) -> 'ov.CompiledModel':
        try:
            return self._core.import_model(content, device, options)
        except TypeError:
            # OpenVINO releases that import from bytes only.
            return self._core.import_model(content.data.tobytes(), device, options)

    def _store(self, path: Path, compiled: 'ov.CompiledModel') -> None:
        try:
            exported = io.BytesIO()
            compiled.export_model(exported)
            # The view is released here: Python 3.12 crashes where it collects one of an error.
            with exported.getbuffer() as content, atomic_path(path) as file, \
                    file.open('wb') as opened:
                opened.write(content)
                opened.write(_digest(path, content))
        except (OSError, RuntimeError) as error:
            self._warn('the compiled model is not stored, so the next start takes longer: '
                       f'{error_reason(error)}')
            return
        try:
            self._remove_oldest(path)
        except OSError as error:
            self._warn(f'old compiled models stay in {path.parent}, which may grow: '
                       f'{error_reason(error)}')

    def _remove_oldest(self, newest: Path) -> None:
        total, oldest_kept, removed = 0, math.inf, False
        for used_at, size, file in sorted(_files(newest.parent), reverse=True):
            total += size
            if total <= CACHE_BYTES or file == newest:
                oldest_kept = min(oldest_kept, used_at)
                continue
            removed = True
            _remove(newest.parent, file)
        if removed:
            _remove_marks(newest.parent, oldest_kept - _SLOWEST_START_S)


def _remove_marks(folder: Path, before: float) -> None:
    """Remove the marks that no start has used since ``before``."""
    for mark in chain.from_iterable(_all_files(folder, pattern) for pattern in _MARKS):
        with suppress(FileNotFoundError):
            if mark.stat().st_mtime < before:
                _remove(folder, mark)


def _remove(folder: Path, file: Path) -> None:
    """Remove a file in ``folder``, or an unfinished one with its hidden folder."""
    file.unlink(missing_ok=True)
    if file.parent != folder:
        with suppress(OSError):
            file.parent.rmdir()


def _all_files(folder: Path, pattern: str) -> Iterator[Path]:
    """Return the files like ``pattern``, unfinished ones included."""
    return chain(folder.glob(pattern), unfinished_files(folder, pattern))


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Yield time of the last use, bytes and path of each compiled model."""
    for file in _all_files(folder, '*.blob'):
        with suppress(FileNotFoundError):
            if _NAME.fullmatch(file.name):
                found = file.stat()
                yield found.st_mtime, found.st_size, file


def _read(path: Path) -> 'ov.Tensor | None':
    """Return the compiled model in a file, in memory, or None where its sha256 does not match."""
    import openvino as ov
    with path.open('rb') as file:
        size = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
        if size <= 0:
            return None
        content = ov.Tensor(ov.Type.u8, [size])
        file.readinto(content.data)
        return content if file.read() == _digest(path, content.data.data) else None


def _digest(path: Path, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(path.name.encode())
    digest.update(content)
    return digest.digest()
