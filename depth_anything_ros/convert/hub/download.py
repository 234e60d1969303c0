"""Fetching a published checkpoint: continued, verified, recorded, and found again offline."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
import hashlib
import os
from pathlib import Path
import re
import shutil

from depth_anything_ros.convert.hub import client
from depth_anything_ros.convert.hub.catalog import (
    find_published, is_hub_id, nearest_names, Published)
from depth_anything_ros.convert.sources.records import (
    DownloadRecord, read_record, sha256_of, write_record)
from depth_anything_ros.errors import CheckpointError

Report = Callable[[str], None]

_SHA256 = re.compile('[0-9a-f]{64}')
_GIT_BLOB = re.compile('[0-9a-f]{40}')


def find_checkpoint(name: str, offline: bool = False) -> Published:
    """
    Return what a short name or hub id stands for; the hub is asked about foreign repositories.

    CheckpointError names the nearest known names.
    """
    found = find_published(name)
    if found is not None:
        return found
    if name.endswith('vitg'):
        raise CheckpointError(name, 'vitg was announced and never published',
                              'give the path of your own checkpoint')
    if not is_hub_id(name):
        raise CheckpointError(name, 'it is neither a file nor a name of a published checkpoint',
                              f'take one of {", ".join(nearest_names(name))}, or a hub id')
    client.require_client()
    if offline or client.told_to_stay_offline():
        raise CheckpointError(name, 'what this repository holds is unknown without the network',
                              f'take one of {", ".join(nearest_names(name))}, or go online')
    return client.describe_repository(name)


def fetch(checkpoint: Published, directory: Path, *, offline: bool = False,
          report: Report = lambda line: None) -> Path:
    """
    Return the checkpoint as a file or folder in ``directory``, downloaded if it is not there.

    What lies there or in the hub's cache is used where the hub cannot be reached; ``offline`` or
    HF_HUB_OFFLINE never asks it. The sha256 is compared with the hub's. CheckpointError leaves
    nothing under the final name; what came of a broken download is continued the next time.
    """
    client.require_client()
    target = directory / checkpoint.saved_as
    if offline or client.told_to_stay_offline():
        kept = _kept(checkpoint, target, report)
        if kept is None:
            raise CheckpointError(
                target, "it is neither there nor in the hub's cache, and the network is off",
                f'download {checkpoint.repository} once without --offline and HF_HUB_OFFLINE')
        return kept
    try:
        files = client.look_up(checkpoint, directory)
    except CheckpointError as error:
        kept = _kept(checkpoint, target, report)
        if kept is None:
            raise
        report(f'{kept} is used, because {error}')
        return kept
    if not target.exists():
        cached = client.find_cached(checkpoint, files[0].revision)
        if cached is not None:
            return _copy(checkpoint, cached, target, report)
        return _download(checkpoint, files, target, report)
    digests = _verify(_saved(checkpoint, target), {file.name: file.etag for file in files})
    if digests is None:
        raise CheckpointError(target, f'it differs from {checkpoint.repository} on the hub',
                              'remove it or choose another folder')
    report(f'{target} is there already and is what the hub has')
    if read_record(target) is None:
        _record(checkpoint, target, files[0].revision, digests)
    return target


def _download(checkpoint: Published, files: tuple[client.RemoteFile, ...], target: Path,
              report: Report) -> Path:
    with _partial(target) as folder:
        _check_space(files, folder)
        for file in files:
            report(f'{checkpoint.repository}: {file.name}, {file.size / 1e6:.0f} MB')
            if not (folder / file.name).is_file():
                client.fetch_file(file, folder)
        digests = _verify({file.name: folder / file.name for file in files},
                          {file.name: file.etag for file in files})
        if digests is None:
            shutil.rmtree(folder)
            raise CheckpointError(target, 'what was downloaded has not the sha256 that the hub '
                                  'names, and was removed', 'download it again')
        _place(checkpoint, folder, target)
    _record(checkpoint, target, files[0].revision, digests)
    report(f'{target}: the sha256 is the one that the hub names')
    return target


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Yield a folder for the parts of ``target``; it stays only where a part is in it."""
    directory = target.parent
    existed = directory.is_dir()
    folder = target.with_name(f'.{target.name}.partial')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(directory, f'the folder cannot be written ({error.strerror})',
                              'choose another one') from error
    try:
        yield folder
    finally:
        if not any(path.stat().st_size for path in folder.glob('*')):
            shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                directory.rmdir()


def _check_space(files: tuple[client.RemoteFile, ...], partial: Path) -> None:
    there = sum(path.stat().st_size for path in partial.iterdir())
    needed = sum(file.size for file in files) - there
    free = shutil.disk_usage(partial).free
    if free < needed:
        raise CheckpointError(
            partial.parent, f'the download needs {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB '
            'are free', 'free some space or choose another disk')


def _kept(checkpoint: Published, target: Path, report: Report) -> Path | None:
    """Return the checkpoint from its place or from the hub's cache, None if it is in neither."""
    if target.exists():
        record = read_record(target)
        if record and _verify({name: target / name if checkpoint.is_folder else target
                               for name in record.files}, record.files) is None:
            raise CheckpointError(target, 'its sha256 is not that of the download',
                                  'remove it and download it again')
        report(f'{target} is there already, the hub was not asked')
        return target
    cached = client.find_cached(checkpoint)
    return None if cached is None else _copy(checkpoint, cached, target, report)


def _copy(checkpoint: Published, cached: Mapping[str, Path], target: Path,
          report: Report) -> Path:
    """Copy the files that the hub's cache holds."""
    first = next(iter(cached.values()))
    # The cache keeps each file under its ETag and links to it from a folder of the commit.
    digests = _verify(cached, {name: path.resolve().name for name, path in cached.items()})
    if digests is None:
        raise CheckpointError(first, "it lies in the hub's cache and is damaged",
                              'remove it and download it again')
    with _partial(target) as folder:
        for name, path in cached.items():
            shutil.copyfile(path, folder / name)
        _place(checkpoint, folder, target)
    _record(checkpoint, target, first.parent.name, digests)
    report(f"{target}: copied from the hub's cache on this machine")
    return target


def _place(checkpoint: Published, partial: Path, target: Path) -> None:
    if checkpoint.is_folder:
        for leftover in partial.glob('*.part'):
            leftover.unlink()
        os.replace(partial, target)
    else:
        os.replace(partial / checkpoint.files[0], target)
        shutil.rmtree(partial, ignore_errors=True)


def _saved(checkpoint: Published, target: Path) -> dict[str, Path]:
    """Return where each file of the repository lies after the download."""
    if checkpoint.is_folder:
        return {name: target / name for name in checkpoint.files}
    return {checkpoint.files[0]: target}


def _verify(paths: Mapping[str, Path], etags: Mapping[str, str]) -> dict[str, str] | None:
    """Return the sha256 of each file, None if one is missing or is not what its ETag says."""
    digests = {}
    for name, path in paths.items():
        if not path.is_file():
            return None
        digests[name] = sha256_of([path])
        etag = etags[name]
        if _SHA256.fullmatch(etag) and etag != digests[name]:
            return None
        if _GIT_BLOB.fullmatch(etag) and etag != _git_blob(path):
            return None
    return digests


def _git_blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


def _record(checkpoint: Published, target: Path, revision: str,
            digests: Mapping[str, str]) -> None:
    names = digests if checkpoint.is_folder else {target.name: next(iter(digests.values()))}
    write_record(target, DownloadRecord(
        checkpoint.repository, revision, dict(names), checkpoint.licence,
        datetime.now(timezone.utc).date().isoformat()))
