"""Downloads of published checkpoints: verified, recorded, and found again without a network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
import fcntl
import hashlib
import os
from pathlib import Path
import re
import shutil
from typing import TextIO

from depth_anything_ros.cli.progress import Report
from depth_anything_ros.convert.hub import client
from depth_anything_ros.convert.hub.catalog import (
    find_published, is_hub_id, nearest_names, Published)
from depth_anything_ros.convert.sources.da3_names import refuse_name_of_several_views
from depth_anything_ros.convert.sources.records import (
    DownloadRecord, read_record, sha256_of, write_record)
from depth_anything_ros.errors import CheckpointError

_SHA256 = re.compile('[0-9a-f]{64}')
_GIT_BLOB = re.compile('[0-9a-f]{40}')


def find_checkpoint(name: str, offline: bool = False) -> Published:
    """
    Return the checkpoint of a short name or hub id; the hub describes those not in the catalog.

    CheckpointError names the nearest known names.
    """
    found = find_published(name)
    if found is not None:
        return found
    refuse_name_of_several_views(name)
    if name.endswith('vitg'):
        raise CheckpointError(name, 'vitg was announced and never published',
                              'give the path of your own checkpoint')
    if not is_hub_id(name):
        raise CheckpointError(name, 'it is neither a file nor the name of a published checkpoint',
                              f'choose one of {", ".join(nearest_names(name))}, or a hub id')
    client.require_client()
    if offline or client.is_offline():
        raise CheckpointError(name, 'the files of this repository are unknown without the network',
                              f'choose one of {", ".join(nearest_names(name))}, or go online')
    return client.describe_repository(name)


def fetch(checkpoint: Published, directory: Path, *, offline: bool = False,
          report: Report = lambda line: None) -> Path:
    """
    Return the checkpoint as a file or folder in ``directory``, downloaded if it is not there.

    ``offline`` or HF_HUB_OFFLINE allow only the copy in ``directory`` or in the hub's cache, which
    also serves where the hub cannot be reached. Each file must have the sha256 or git blob id that
    the hub names. CheckpointError leaves nothing under the final name.
    """
    client.require_client()
    target = directory / checkpoint.saved_as
    if offline or client.is_offline():
        local = _local_copy(checkpoint, target, report)
        if local is None:
            raise CheckpointError(
                target, "it is neither there nor in the hub's cache, and the network is off",
                f'download {checkpoint.repository} once without --offline and HF_HUB_OFFLINE')
        return local
    try:
        files = client.remote_files(checkpoint, directory)
    except CheckpointError as error:
        local = _local_copy(checkpoint, target, report)
        if local is None:
            raise
        report(f'{local} is used, because {error}')
        return local
    if not target.exists() and _download(checkpoint, files, target, report):
        return target
    digests = _verify(_files_of(checkpoint, target), {file.name: file.etag for file in files})
    if digests is None:
        raise CheckpointError(target, f'it differs from {checkpoint.repository} on the hub',
                              'remove it or choose another folder')
    report(f'{target} exists already and equals the one on the hub')
    if read_record(target, digests.values()) is None:
        _record(checkpoint, target, files[0].revision, digests)
    return target


def _download(checkpoint: Published, files: tuple[client.RemoteFile, ...], target: Path,
              report: Report) -> bool:
    """Download a checkpoint; False if another process has done so meanwhile."""
    with _partial_folder(target, report) as folder:
        if target.exists():
            return False
        _check_space(files, folder)
        for file in files:
            report(f'{checkpoint.repository}: {file.name}, {file.size / 1e6:.0f} MB')
            client.download_file(file, folder, target.parent)
        if not _finish(checkpoint, folder, target, files[0].revision,
                       {file.name: file.etag for file in files}):
            shutil.rmtree(folder)
            raise CheckpointError(target, 'the downloaded file does not have the sha256 that the '
                                  'hub names, and was removed', 'download it again')
    report(f'{target}: the sha256 is the one that the hub names')
    return True


def _finish(checkpoint: Published, folder: Path, target: Path, revision: str,
            etags: Mapping[str, str]) -> bool:
    """Move the files in ``folder`` to ``target`` and record them; False if a digest is wrong."""
    digests = _verify({name: folder / name for name in checkpoint.files}, etags)
    if digests is None:
        return False
    if checkpoint.is_folder:
        # The notes of the hub's client.
        shutil.rmtree(folder / '.cache', ignore_errors=True)
        os.replace(folder, target)
    else:
        os.replace(folder / checkpoint.files[0], target)
    _record(checkpoint, target, revision, digests)
    return True


@contextmanager
def _partial_folder(target: Path, report: Report) -> Iterator[Path]:
    """
    Yield a hidden folder beside ``target``, always of the same name, to one process at a time.

    It stays after an error while it holds a file, finished or not, with which the next download
    continues.
    """
    directory = target.parent
    existed = directory.is_dir()
    folder = target.with_name(f'.{target.name}.partial')
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = _locked(target, report)
    except OSError as error:
        raise CheckpointError(directory, f'the folder cannot be written ({error.strerror})',
                              'choose another one') from error
    try:
        folder.mkdir(exist_ok=True)
        yield folder
    finally:
        files = [path for path in folder.rglob('*') if path.is_file()]
        if not any(path.parent == folder or path.suffix == '.incomplete' for path in files):
            shutil.rmtree(folder, ignore_errors=True)
        _lock_path(target).unlink(missing_ok=True)
        lock.close()
        if not existed:
            with suppress(OSError):
                directory.rmdir()


def _lock_path(target: Path) -> Path:
    return target.with_name(f'.{target.name}.lock')


def _locked(target: Path, report: Report) -> TextIO:
    """
    Return a file beside ``target`` that this process alone has locked, and wait for others.

    Where the file system has no locks, as some NFS, nobody waits.
    """
    path = _lock_path(target)
    while True:
        lock = path.open('w')
        try:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                report(f'{target}: another process downloads it; waiting for that')
                fcntl.lockf(lock, fcntl.LOCK_EX)
        except OSError:
            return lock
        except BaseException:
            lock.close()
            raise
        # The one before may have removed the file that was locked here.
        with suppress(OSError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()


def _check_space(files: tuple[client.RemoteFile, ...], folder: Path) -> None:
    needed = sum(file.size for file in files if not (folder / file.name).is_file())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            folder.parent, f'the download needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB '
            'are free', 'free some space or choose another disk')


def _local_copy(checkpoint: Published, target: Path, report: Report) -> Path | None:
    """Return the checkpoint at ``target``, or copied there from the hub's cache, else None."""
    if target.exists():
        record = read_record(target)
        if record and _verify({name: target / name if checkpoint.is_folder else target
                               for name in record.files}, record.files) is None:
            raise CheckpointError(target, 'its sha256 is not the one in the record of its '
                                  'download', 'remove it and download it again')
        report(f'{target} exists already; the hub was not contacted')
        return target
    cached = client.cached_files(checkpoint)
    if cached is None:
        return None
    _copy_from_cache(checkpoint, cached, target, report)
    return target


def _copy_from_cache(checkpoint: Published, cached: Mapping[str, Path], target: Path,
                     report: Report) -> None:
    first_name, first = next(iter(cached.items()))
    revision = first.parents[first_name.count('/')].name
    with _partial_folder(target, report) as folder:
        if target.exists():
            return
        for name, path in cached.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
        # The cache keeps each file under its ETag and links to it from a folder of the commit.
        etags = {name: path.resolve().name for name, path in cached.items()}
        if not _finish(checkpoint, folder, target, revision, etags):
            shutil.rmtree(folder)
            raise CheckpointError(first, "this file in the hub's cache is damaged",
                                  'remove it and download it again')
    report(f"{target}: copied from the hub's cache on this machine")


def _files_of(checkpoint: Published, target: Path) -> dict[str, Path]:
    """Return the path of each file of the repository after the download."""
    if checkpoint.is_folder:
        return {name: target / name for name in checkpoint.files}
    return {checkpoint.files[0]: target}


def _verify(paths: Mapping[str, Path], etags: Mapping[str, str]) -> dict[str, str] | None:
    """Return the sha256 of each file, None if one is missing or contradicts its ETag."""
    digests = {}
    for name, path in paths.items():
        if not path.is_file():
            return None
        digests[name] = sha256_of([path])
        etag = etags[name]
        if _SHA256.fullmatch(etag) and etag != digests[name]:
            return None
        if _GIT_BLOB.fullmatch(etag) and etag != _git_blob_id(path):
            return None
    return digests


def _git_blob_id(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


def _record(checkpoint: Published, target: Path, revision: str,
            digests: Mapping[str, str]) -> None:
    names = digests if checkpoint.is_folder else {target.name: next(iter(digests.values()))}
    write_record(target, DownloadRecord(
        checkpoint.repository, revision, dict(names), checkpoint.licence,
        datetime.now(timezone.utc).date().isoformat()))
