"""
The Hugging Face hub, as far as a download needs it.

The hub names the sha256 of a large file and the git blob id of a small one as the file's ETag.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import errno
import logging
import os
from pathlib import Path, PurePosixPath, PureWindowsPath
import re
import sys

from depth_anything_ros.convert.hub.catalog import nearest_names, Published
from depth_anything_ros.convert.sources.hf_folder import WEIGHTS
from depth_anything_ros.errors import CheckpointError, INSTALL_CONVERT, MissingDependencyError
from depth_anything_ros.networks.models import UNKNOWN_LICENCE

_HUB = 'https://huggingface.co'
_TRUE = ('1', 'ON', 'YES', 'TRUE')
_SHARD = re.compile(r'model-\d+-of-\d+\.safetensors')
_LICENCES = {'apache-2.0': 'Apache-2.0', 'cc-by-nc-4.0': 'CC-BY-NC-4.0', 'mit': 'MIT'}
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one commit; ``size`` in bytes is 0 where it is unknown."""

    repository: str
    name: str
    revision: str
    etag: str
    size: int


def endpoint() -> str:
    """Return the address of the hub; the environment variable HF_ENDPOINT chooses a mirror."""
    return (os.environ.get('HF_ENDPOINT') or _HUB).rstrip('/')


def is_offline() -> bool:
    """Return whether the environment variable HF_HUB_OFFLINE forbids the network."""
    return os.environ.get('HF_HUB_OFFLINE', '').upper() in _TRUE


def require_client() -> None:
    """Raise MissingDependencyError where the hub's client is not installed."""
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError('huggingface_hub', 'downloading a checkpoint',
                                     INSTALL_CONVERT) from error


def remote_files(checkpoint: Published, folder: Path) -> tuple[RemoteFile, ...]:
    """
    Return commit, ETag and size of each file of a checkpoint.

    CheckpointError says how to fetch the file by hand into ``folder``.
    """
    from huggingface_hub import get_hf_file_metadata
    found = []
    for name in checkpoint.files:
        url = _url(checkpoint.repository, name)
        # The hub's client and the transport below it raise several unrelated types.
        try:
            answer = get_hf_file_metadata(url, token=False, timeout=_TIMEOUT_S)
        except Exception as error:
            raise _failed(url, folder, error) from error
        if not answer.commit_hash or not answer.etag:
            raise CheckpointError(url, 'this server is no Hugging Face hub: its answer has no '
                                  'commit or no ETag', 'check HF_ENDPOINT')
        found.append(RemoteFile(checkpoint.repository, name, answer.commit_hash, answer.etag,
                                answer.size or 0))
    return tuple(found)


def describe_repository(repository: str) -> Published:
    """
    Return the checkpoint in a repository that the catalog does not list.

    CheckpointError if the hub cannot be reached or the repository holds no checkpoint.
    """
    from huggingface_hub import HfApi
    url = f'{endpoint()}/{repository}'
    # The hub's client and the transport below it raise several unrelated types.
    try:
        info = HfApi(endpoint=endpoint(), token=False).model_info(repository, timeout=_TIMEOUT_S)
    except Exception as error:
        raise CheckpointError(
            url, f'the hub did not describe it ({_reason(error)})', 'check the network and the '
            f'name; published are, for example, {", ".join(nearest_names(repository))}') from error
    names = sorted(sibling.rfilename for sibling in info.siblings or [])
    files = _checkpoint_files(names)
    for name in files:
        if not _is_plain(name):
            raise CheckpointError(
                url, f'it names a file {name!r}, which is no name inside a repository',
                'check HF_ENDPOINT, or fetch the file by hand and give its path')
    if not files:
        raise CheckpointError(
            url, f'none of its files has the name of a checkpoint ({", ".join(names[:5])})',
            'fetch the file by hand and give its path')
    licences = [tag.removeprefix('license:') for tag in info.tags or [] if 'license:' in tag]
    licence = _LICENCES.get(licences[0], licences[0]) if licences else UNKNOWN_LICENCE
    saved_as = PurePosixPath(files[0]).name if len(files) == 1 else repository.split('/')[1]
    return Published(repository, repository, files, saved_as, licence)


def download_file(remote: RemoteFile, folder: Path, by_hand: Path) -> None:
    """
    Download one file into ``folder`` unless a finished copy of it is there.

    The hub's client copies the file from its own cache where it has it, and resumes a connection
    that breaks. CheckpointError says how to fetch the file by hand into ``by_hand``.
    """
    from huggingface_hub import hf_hub_download
    # The hub's client and the transport below it raise several unrelated types.
    try:
        with _quiet_client():
            hf_hub_download(remote.repository, remote.name, revision=remote.revision,
                            local_dir=folder, endpoint=endpoint(), token=False)
    except Exception as error:
        raise _failed(_url(remote.repository, remote.name), by_hand, error) from error


def cached_files(checkpoint: Published) -> dict[str, Path] | None:
    """Return the path of every file in the hub's cache on this machine, None if one is missing."""
    from huggingface_hub import try_to_load_from_cache
    found = {}
    for name in checkpoint.files:
        path = try_to_load_from_cache(checkpoint.repository, name)
        if not isinstance(path, str):
            return None
        found[name] = Path(path)
    return found


def _checkpoint_files(names: list[str]) -> tuple[str, ...]:
    """Return the files that make the checkpoint, the folder of a Hugging Face model first."""
    shards = tuple(name for name in names if _SHARD.fullmatch(name))
    if 'config.json' in names:
        for weights in WEIGHTS:
            if weights in names:
                return 'config.json', weights
        if shards:
            return ('config.json', 'model.safetensors.index.json', *shards)
    single = [name for name in names if name.endswith(('.pth', '.safetensors'))]
    return (single[0],) if len(single) == 1 else ()


def _is_plain(name: str) -> bool:
    """Return whether a name leads to a file below a folder on every system."""
    parts = name.split('/')
    return (name.isprintable() and '\\' not in name and not PureWindowsPath(name).anchor
            and not any(part in ('', '.', '..') for part in parts))


def _url(repository: str, name: str) -> str:
    return f'{endpoint()}/{repository}/resolve/main/{name}'


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Show the client's progress bars and warnings on a terminal only."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled, disable_progress_bars, enable_progress_bars)
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    logger = logging.getLogger('huggingface_hub')
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
        logger.setLevel(level)


def _failed(url: str, folder: Path, error: Exception) -> CheckpointError:
    """Return what went wrong with a download and how to do it by hand."""
    from huggingface_hub.errors import (
        EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError)
    by_hand = f'fetch that file by hand and put it into {folder}'
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return CheckpointError(folder, 'the disk is full', 'free some space')
    if isinstance(error, GatedRepoError):
        return CheckpointError(url, 'the hub gives it only to users who accepted its terms',
                               f'accept them in a browser, {by_hand}')
    if isinstance(error, (EntryNotFoundError, RepositoryNotFoundError)) and not isinstance(
            error, LocalEntryNotFoundError):
        return CheckpointError(url, 'the hub does not have this file, or not without a login',
                               f'check the name, or {by_hand}')
    return CheckpointError(url, f'the download failed ({_reason(error)})',
                           f'check the network and its proxy, or {by_hand}')


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0].rstrip(".") if lines else "no reason given"}'
